"""Sites and errors: any sites beside each other, what goes wrong at which, and what the errors say."""

from __future__ import annotations

from typing import Any

from grafana.build import colours, words
from grafana.build.dashboard import Dashboard
from grafana.build.panels import BARS, FAILURE, SPARSE, SUCCESS, Flux, Panel, Row, Sql, coloured, steps


def _by_site(title: str, description: str, target: Flux | Sql, **more: Any) -> Panel:
    """A figure over time, a line for each site."""
    return Panel(
        title,
        "timeseries",
        description,
        (target,),
        **{
            "empty": words.NO_EVENTS,
            "low": 0,
            "custom": SPARSE,
            "overrides": colours.series(colours.SITES),
            "link": words.TO_SITE,
            **more,
        },
    )


DASHBOARD = Dashboard(
    uid="scrapewatch-sites",
    title="Sites and errors",
    description="Any sites beside each other: success, response times, blocks, errors and retries.",
    time_from="now-24h",
    sessions_marked=False,
    panels=(
        Row("What is happening"),
        Panel(
            "Sites beside each other",
            "table",
            "What each site came to in the whole time. p95 is the time that 95 % of its pages did not exceed.",
            (Flux("site_totals", (), steps=("site_table",)),),
            empty=words.NO_EVENTS,
            width=24,
            height=8,
            columns=(
                *("site", "success_rate", "block_share", "scraped", "pages"),
                *("mean_time", "p95", "duration_max", "errors"),
            ),
            names={
                "scraped": "postings",
                "success_rate": "success",
                "block_share": "blocked",
                "mean_time": "mean time",
                "duration_max": "slowest",
            },
            custom={"minWidth": 80},
            overrides=[
                coloured("success_rate", SUCCESS, decimals=1),
                coloured("block_share", FAILURE, decimals=1),
                words.linked("site", words.TO_SITE_OF_CELL),
            ],
        ),
        Row("Is it normal"),
        _by_site(
            "Success rate",
            "Share of attempts that brought a good page. A failed attempt is a page with a bad status or an error, whichever are more.",
            Flux("success_rate", ("pages", "ok", "errors"), steps=("success_rate", "gaps"), named_by="site"),
            high=1,
        ),
        _by_site(
            "Postings a minute",
            "Job postings found a minute; silence counts as none.",
            Flux(
                "throughput",
                ("scraped",),
                steps=("dense", "per_minute"),
                named_by="site",
                whole_windows=True,
            ),
        ),
        _by_site(
            "Mean page time",
            "Mean time of a page, from request to the end of the answer.",
            Flux(
                "page_times", ("duration_count", "duration_sum"), steps=("mean_time", "gaps"), named_by="site"
            ),
        ),
        _by_site(
            "Blocked pages",
            "Share of pages that were a block, captcha or consent wall.",
            Flux("success_rate", ("pages", "blocked"), steps=("block_share", "gaps"), named_by="site"),
            custom={**SPARSE, "axisSoftMax": 0.1},
        ),
        Row("Where is it wrong"),
        Panel(
            "Errors by type",
            "timeseries",
            "Errors reported in each window, the chosen sites together.",
            (Flux("errors", ("count",), steps=("by_type",), named_by="type"),),
            empty=words.NO_ERRORS,
            points=100,
            custom=BARS,
            overrides=colours.series(colours.ERRORS),
        ),
        Panel(
            "Errors by site and type",
            "table",
            "Errors reported in the whole time: the redder, the more.",
            (Flux("error_totals", ("count",), steps=("error_table",)),),
            empty=words.NO_ERRORS,
            unit="short",
            mappings=colours.blank(),
            defaults={
                "color": {"mode": "continuous-YlRd"},
                "custom": {"align": "center", "displayMode": "color-background", "minWidth": 60},
            },
            overrides=[
                {
                    "matcher": {"id": "byName", "options": "site"},
                    "properties": [
                        {"id": "custom.displayMode", "value": "auto"},
                        {"id": "custom.align", "value": "left"},
                        *words.linked("site", words.TO_SITE_OF_CELL)["properties"],
                    ],
                }
            ],
        ),
        _by_site(
            "Attempts that failed",
            "Share of the attempts at a site that ended badly, of those that ended in the window.",
            Flux("site_runs", ("succeeded", "failed"), steps=("failed_share",), named_by="site"),
            high=1,
            custom={"drawStyle": "points", "pointSize": 6},
        ),
        _by_site(
            "Retries",
            "Attempts at a site after the first of a session, by when they began.",
            Sql("site_retries"),
            empty="No site was tried again in this time.",
            points=100,
            custom={**BARS, "axisSoftMax": 4},
        ),
        _by_site(
            "Time of an attempt",
            "The longest attempt at a site of those that ended in the window.",
            Flux("site_runs", ("duration_max",), named_by="site"),
            custom={"drawStyle": "points", "pointSize": 6},
        ),
        Panel(
            "Circuit breakers",
            "state-timeline",
            "The state of each site's circuit breaker as it was last reported.",
            (Flux("breaker_states", ("state",), named_by="site", early="1d"),),
            empty=words.NO_BREAKERS,
            unit="none",
            thresholds=steps(colours.GOOD, (1, colours.WARN), (2, colours.BAD)),
            mappings=colours.breaker_codes(),
            options={"legend": {"showLegend": False}},
        ),
        Row("Why"),
        Panel(
            "Error groups",
            "table",
            "Errors of one cause together, the most frequent first, with a message and an address of one of them.",
            (Sql("error_groups"),),
            empty=words.NO_ERRORS,
            width=24,
            height=10,
            columns=(
                "site_name",
                "type",
                "count",
                "sessions",
                "message",
                "url",
                "last_seen",
                "latest_session_id",
            ),
            names={"site_name": "site", "latest_session_id": "latest session"},
            overrides=[
                words.linked("site_name", words.TO_SITE_OF_CELL, 110),
                words.wide("type", 90),
                words.wide("count", 80),
                words.wide("sessions", 90),
                words.wide("last_seen", 160),
                words.linked("latest_session_id", words.TO_SESSION, 220),
            ],
        ),
    ),
)
