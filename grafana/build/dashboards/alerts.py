"""Alerts: what fires, whether that is usual, which rules and sites it comes from, and how fast people see to it."""

from __future__ import annotations

from grafana.build import colours, words
from grafana.build.dashboard import Dashboard
from grafana.build.panels import ANY_IS_BAD, BARS, NARROW, Panel, Row, Sql, steps

_NONE_OPEN = (
    "No alert is open. Rules that never fired and rules that do not run look the same: see whether "
    "alerting is set up (docs/alerts.md)."
)
_NONE = (
    "No alert started in this time. Choose a longer one, or see whether alerting is set up (docs/alerts.md)."
)
_SEVERITIES = colours.series(colours.SEVERITIES)
_WORDS = [colours.cells("severity", colours.SEVERITIES), colours.cells("status", colours.STATUSES)]
_COUNTED = {
    "told": "told",
    "open": "open",
    "mean_time_to_resolve": "mean time",
    "latest_at": "latest",
}

DASHBOARD = Dashboard(
    uid="scrapewatch-alerts",
    title="Alerts",
    description="What fires now, whether that is more than usual, where it comes from, and how fast it is seen to.",
    time_from="now-7d",
    sessions_marked=False,
    breakers_marked=False,
    panels=(
        Row("What is happening"),
        Panel(
            "Not resolved now",
            "stat",
            "The alerts that are not resolved now, by severity, and those that somebody sees to.",
            (Sql("alerts_firing"),),
            empty="0",
            width=12,
            height=4,
            thresholds=ANY_IS_BAD,
            names={"firing": "all", "acknowledged": "seen to"},
            options={"reduceOptions": {"fields": "/.*/"}, "graphMode": "none"},
            overrides=[
                {
                    "matcher": {"id": "byName", "options": "acknowledged"},
                    "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colours.PLAIN}}],
                },
            ],
        ),
        Panel(
            "In this time",
            "stat",
            "The alerts that started in this time, and those from before that are still open. Of the former: "
            "in what time, on average, somebody saw to them and they were resolved, and in what time half were.",
            (Sql("alerts_statistics"),),
            empty="–",
            width=12,
            height=4,
            columns=(
                "total",
                "mean_time_to_acknowledge",
                "mean_time_to_resolve",
                "median_time_to_resolve",
            ),
            names={
                "total": "alerts",
                "mean_time_to_acknowledge": "seen to in",
                "mean_time_to_resolve": "resolved in",
                "median_time_to_resolve": "half in",
            },
            options={"reduceOptions": {"fields": "/.*/"}, "graphMode": "none"},
        ),
        Panel(
            "Alerts that are open",
            "table",
            "The alerts that are not resolved now, the most severe first. Silenced: nobody is told of it for now.",
            (Sql("alerts_open"),),
            empty=_NONE_OPEN,
            custom=NARROW,
            width=24,
            height=8,
            columns=(
                "severity",
                "rule",
                "resource",
                "message",
                "time",
                "open_seconds",
                "status",
                "silenced",
                "acknowledged_by",
                "value",
                "count",
                "session_id",
            ),
            names={
                "time": "since",
                "open_seconds": "for",
                "acknowledged_by": "seen to by",
                "count": "told",
                "session_id": "session",
            },
            overrides=[
                *_WORDS,
                words.yes("silenced"),
                words.linked("session_id", words.TO_SESSION),
                words.wide("severity", 90),
                words.wide("status", 125),
                words.wide("rule", 200),
                words.wide("message", 400),
                words.wide("time", 160),
                words.wide("acknowledged_by", 95),
                words.wide("resource", 95),
            ],
        ),
        Row("Is it normal"),
        Panel(
            "Alerts over time",
            "timeseries",
            "Alerts by when they started and their severity.",
            (Sql("alerts_over_time"),),
            empty=_NONE,
            points=60,
            custom={**BARS, "axisSoftMax": 4},
            overrides=_SEVERITIES,
        ),
        Panel(
            "Time to resolve",
            "timeseries",
            "How long alerts lasted on average, by when they started and their severity.",
            (Sql("alerts_resolve_times"),),
            empty="No alert that started in this time was resolved.",
            points=60,
            custom={"drawStyle": "points", "pointSize": 8, "showPoints": "always"},
            overrides=_SEVERITIES,
        ),
        Row("Where is it wrong"),
        Panel(
            "Rules",
            "table",
            "The ten rules with most alerts. One that is told again and again without being resolved "
            "wants another threshold, or mending.",
            (Sql("alerts_by_rule"),),
            empty=_NONE,
            height=9,
            custom=NARROW,
            names=_COUNTED,
            overrides=[words.wide("latest_at", 160), words.wide("rule", 220)],
        ),
        Panel(
            "Sites, machines and services",
            "table",
            "The ten resources with most alerts.",
            (Sql("alerts_by_resource"),),
            empty=_NONE,
            height=9,
            custom=NARROW,
            names={"resource": "what", **_COUNTED},
            overrides=[words.wide("latest_at", 160), words.wide("resource", 220)],
        ),
        Row("Why"),
        Panel(
            "Alerts of this time",
            "table",
            "The 200 newest alerts that started in this time: what they said, who saw to them, how "
            "long they lasted, and what people noted.",
            (Sql("alerts"),),
            empty=_NONE,
            custom=NARROW,
            width=24,
            height=12,
            columns=(
                "time",
                "severity",
                "status",
                "rule",
                "resource",
                "message",
                "value",
                "resolve_seconds",
                "acknowledged_by",
                "resolved_by",
                "notes",
                "session_id",
            ),
            names={
                "time": "started",
                "resolve_seconds": "lasted",
                "acknowledged_by": "seen to by",
                "resolved_by": "resolved by",
                "session_id": "session",
            },
            overrides=[
                *_WORDS,
                words.linked("session_id", words.TO_SESSION),
                words.wide("time", 160),
                words.wide("severity", 90),
                words.wide("status", 125),
                words.wide("rule", 200),
                words.wide("message", 400),
                words.wide("acknowledged_by", 95),
                words.wide("resolved_by", 95),
                words.wide("resource", 95),
            ],
        ),
        Panel(
            "Silences",
            "table",
            "For which alerts nobody is told, why, and until when.",
            (Sql("silences"),),
            empty="Nothing is silenced. Silences are made by `POST /api/v1/monitoring/silences` (docs/alerts.md).",
            width=24,
            height=7,
            columns=("state", "matchers", "comment", "created_by", "starts_at", "ends_at"),
            names={
                "matchers": "for alerts whose",
                "comment": "why",
                "created_by": "by",
                "starts_at": "from",
                "ends_at": "until",
            },
            overrides=[
                colours.cells(
                    "state", {"active": colours.WARN, "pending": colours.INFO, "expired": colours.QUIET}
                ),
                words.wide("state", 90),
                words.wide("starts_at", 160),
                words.wide("ends_at", 160),
            ],
            thresholds=steps(colours.PLAIN),
        ),
    ),
)
