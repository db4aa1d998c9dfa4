"""Data quality: whether postings come with what is asked of them, since when not, at which site, and in which session."""

from __future__ import annotations

from grafana.build import colours, words
from grafana.build.dashboard import Dashboard
from grafana.build.panels import (
    BARS,
    FAILURE,
    NARROW,
    NEAR_ONE,
    SPARSE,
    SUCCESS,
    Flux,
    Panel,
    Row,
    Sql,
    coloured,
    steps,
)

_NOTHING = (
    "No quality was reported in this time. Let scrapers report `data_quality` events, or send them to "
    "/data-quality-metrics (docs/events.md)."
)
_BY_SITE = colours.series(colours.SITES)
_COVERAGE = steps(colours.BAD, (0.5, colours.WARN), (0.8, colours.GOOD))

DASHBOARD = Dashboard(
    uid="scrapewatch-quality",
    title="Data quality",
    description=(
        "Whether postings come with what is asked of them: valid, new, and with their fields filled; "
        "since when not, where, and in which session."
    ),
    time_from="now-24h",
    sessions_marked=False,
    breakers_marked=False,
    panels=(
        Row("What is happening"),
        Panel(
            "Items of this time",
            "stat",
            "How many items were looked at, and what share of them was valid, and was seen before, "
            "all sites together.",
            (Flux("data_quality", ("items", "valid", "duplicates"), steps=("together", "quality")),),
            empty="no items yet",
            width=8,
            height=9,
            decimals=1,
            columns=("items", "valid_share", "duplicate_share"),
            names={"items": "items", "valid_share": "valid", "duplicate_share": "seen before"},
            options={
                "graphMode": "none",
                "orientation": "horizontal",
                "text": {"titleSize": 20, "valueSize": 40},
            },
        ),
        Panel(
            "Coverage of this time",
            "table",
            "Share of items of this time that have a field filled, all sites together, the one that is filled least first.",
            (Flux("field_coverage", (), steps=("coverage_rows",)),),
            empty=_NOTHING,
            width=16,
            height=9,
            low=0,
            high=1,
            decimals=0,
            thresholds=_COVERAGE,
            columns=("field", "coverage"),
            overrides=[
                words.wide("field", 140),
                {
                    "matcher": {"id": "byName", "options": "coverage"},
                    "properties": [{"id": "custom.displayMode", "value": "basic"}],
                },
            ],
        ),
        Row("Is it normal"),
        Panel(
            "Coverage by field",
            "timeseries",
            "Share of items that have a field filled, all sites together. A field that drops while "
            "others stay was renamed or hidden by a site.",
            (
                Flux(
                    "field_coverage",
                    ("items", "covered"),
                    steps=("by_field", "coverage", "gaps"),
                    named_by="field",
                ),
            ),
            empty=_NOTHING,
            height=9,
            low=0,
            high=1,
            points=100,
            custom={"fillOpacity": 0},
        ),
        Panel(
            "Valid share against a day before",
            "timeseries",
            "Share of items that were valid, all sites together, and what it was a day before.",
            (
                Flux(
                    "data_quality",
                    ("items", "valid"),
                    steps=("together", "valid_share", "gaps"),
                    against="1d",
                ),
            ),
            empty=_NOTHING,
            height=9,
            high=1,
            points=100,
            custom={**SPARSE, **NEAR_ONE},
            unit="percentunit",
            names={"now": "now", "before": "a day before"},
            overrides=[
                {
                    "matcher": {"id": "byName", "options": "before"},
                    "properties": [
                        {"id": "color", "value": {"mode": "fixed", "fixedColor": colours.QUIET}},
                        {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}},
                        {"id": "custom.fillOpacity", "value": 0},
                    ],
                },
                {
                    "matcher": {"id": "byName", "options": "now"},
                    "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colours.PLAIN}}],
                },
            ],
        ),
        Row("Where is it wrong"),
        Panel(
            "Coverage by site and field",
            "table",
            "Share of items that have a field filled, of the whole time: a row for each site, a "
            "column for each field.",
            (Flux("field_coverage", (), steps=("coverage_table",)),),
            empty=_NOTHING,
            width=24,
            height=8,
            unit="percentunit",
            decimals=0,
            low=0,
            high=1,
            thresholds=_COVERAGE,
            custom={"displayMode": "color-background", "align": "center", "minWidth": 84},
            overrides=[
                {
                    "matcher": {"id": "byName", "options": "site"},
                    "properties": [
                        {"id": "custom.displayMode", "value": "auto"},
                        {"id": "custom.align", "value": "left"},
                        {"id": "unit", "value": "string"},
                        {"id": "custom.width", "value": 110},
                    ],
                }
            ],
        ),
        Panel(
            "Valid share by site",
            "timeseries",
            "Share of items that were valid.",
            (Flux("data_quality", ("items", "valid"), steps=("valid_share", "gaps"), named_by="site"),),
            empty=_NOTHING,
            high=1,
            points=100,
            custom={**SPARSE, **NEAR_ONE},
            overrides=_BY_SITE,
            link=words.TO_SITE,
        ),
        Panel(
            "Seen before, by site",
            "timeseries",
            "Share of items that were seen before. More than usual: pages repeat, or a search brings nothing new.",
            (
                Flux(
                    "data_quality",
                    ("items", "duplicates"),
                    steps=("duplicate_share", "gaps"),
                    named_by="site",
                ),
            ),
            empty=_NOTHING,
            low=0,
            points=100,
            custom=SPARSE,
            overrides=_BY_SITE,
            link=words.TO_SITE,
        ),
        Panel(
            "Sites",
            "table",
            "Items of the whole time by site, the one with the least valid ones first.",
            (Flux("data_quality", (), steps=("quality_table",)),),
            empty=_NOTHING,
            height=8,
            decimals=1,
            columns=("site", "items", "valid_share", "duplicate_share"),
            names={"valid_share": "valid", "duplicate_share": "seen before"},
            overrides=[
                coloured("valid_share", SUCCESS),
                coloured("duplicate_share", steps(colours.GOOD, (0.3, colours.WARN), (0.6, colours.BAD))),
            ],
        ),
        Panel(
            "What became of postings",
            "timeseries",
            "Postings of each window: stored, seen before, left out or invalid, as scrapers say with `job_scraped`.",
            (Flux("throughput", ("saved", "duplicate", "dropped", "invalid"), steps=("together",)),),
            empty=words.NO_EVENTS,
            height=8,
            points=60,
            custom=BARS,
            overrides=colours.series(
                {
                    "saved": colours.GOOD,
                    "duplicate": colours.INFO,
                    "dropped": colours.QUIET,
                    "invalid": colours.BAD,
                }
            ),
        ),
        Row("Why"),
        Panel(
            "Sessions that lost most",
            "table",
            "The 50 sessions of this time that lost the greatest share of what they found. A "
            "session's name leads to it.",
            (Sql("session_losses"),),
            empty="No session of this time lost any posting to duplicates, filters or missing fields.",
            width=24,
            height=10,
            custom=NARROW,
            names={
                "time": "began",
                "session_id": "session",
                "search_term": "search",
                "total_jobs_found": "jobs",
                "total_jobs_saved": "saved",
                "duplicates_skipped": "seen before",
                "jobs_dropped": "left out",
                "jobs_invalid": "invalid",
                "invalid_share": "% invalid",
                "duplicate_share": "% seen before",
            },
            overrides=[
                words.linked("session_id", words.TO_SESSION, 220),
                words.wide("time", 160),
                words.wide("search_term", 170),
                colours.cells("verdict", colours.VERDICTS),
                coloured("invalid_share", FAILURE),
            ],
        ),
    ),
)
