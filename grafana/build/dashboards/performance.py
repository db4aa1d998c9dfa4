"""Performance analytics: this time against the time before, how long pages take, and at which hours it goes well."""

from __future__ import annotations

from typing import Any, Final

from grafana.build import colours, words
from grafana.build.dashboard import Dashboard
from grafana.build.panels import NARROW, NEAR_ONE, SPARSE, SUCCESS, Flux, Panel, Row, Sql, Step, steps

_PERIOD: Final = "duration(v: int(v: v.timeRangeStop) - int(v: v.timeRangeStart))"
"""As long as the range: what was before is the range that ends where this one begins."""

_BEFORE: Final = (
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
)
_TWO: Final = {"now": "this time", "before": "the time before"}

_MORE_IS_BETTER: Final = steps(colours.BAD, (-25, colours.WARN), (-5, colours.GOOD))
_LESS_IS_BETTER: Final = steps(colours.GOOD, (5, colours.WARN), (25, colours.BAD))


def _figure(
    title: str,
    description: str,
    target: Flux,
    *,
    change: tuple[Step, ...],
    name: str,
    decimals: int | None = None,
    thresholds: tuple[Step, ...] = steps(colours.PLAIN),
) -> Panel:
    """A figure of the whole range, beside by how much it changed."""
    shown: list[dict[str, Any]] = [{"color": step.colour, "value": step.at} for step in change]
    return Panel(
        title,
        "stat",
        f"{description} Beside it by how much it is more than in the time before, which is as long.",
        (target,),
        empty="–",
        width=6,
        height=4,
        decimals=decimals,
        thresholds=thresholds,
        names={"now": name, "than_before": "than before"},
        overrides=[
            {
                "matcher": {"id": "byName", "options": "than_before"},
                "properties": [
                    {"id": "unit", "value": "percent"},
                    {"id": "decimals", "value": 0},
                    {"id": "thresholds", "value": {"mode": "absolute", "steps": shown}},
                ],
            }
        ],
        options={"graphMode": "none", "textMode": "value_and_name"},
    )


def _trend(title: str, description: str, target: Flux, *, near_one: bool = False, **more: Any) -> Panel:
    """A figure over time, and the same of the time before."""
    return Panel(
        title,
        "timeseries",
        f"{description} Dashed: the time before, which is as long, drawn as if it were now.",
        (target,),
        empty=words.NO_EVENTS,
        names=_TWO,
        overrides=_BEFORE,
        custom={**SPARSE, **NEAR_ONE} if near_one else SPARSE,
        **more,
    )


def _hours(title: str, description: str, target: Flux, scheme: str, **more: Any) -> Panel:
    """A figure by hour of the day and weekday."""
    return Panel(
        title,
        "table",
        f"{description} Of the last four weeks, by hour and weekday in UTC.",
        (target,),
        empty="Nothing was reported in the last four weeks.",
        height=26,
        time_from="28d",
        points=672,
        mappings=colours.blank(),
        defaults={
            "color": {"mode": scheme},
            "custom": {"align": "center", "displayMode": "color-background", "minWidth": 40},
        },
        overrides=[
            {
                "matcher": {"id": "byName", "options": "hour"},
                "properties": [
                    {"id": "unit", "value": "none"},
                    {"id": "custom.displayMode", "value": "auto"},
                    {"id": "custom.width", "value": 48},
                ],
            },
        ],
        **more,
    )


DASHBOARD = Dashboard(
    uid="scrapewatch-performance",
    title="Performance analytics",
    description="How much, how well and how fast: this time against the time before, by percentile, by hour and weekday.",
    time_from="now-24h",
    refresh="1m",
    marked=False,
    panels=(
        Row("What is happening, against the time before"),
        _figure(
            "Postings",
            "Job postings found.",
            Flux(
                "throughput",
                ("scraped",),
                steps=("together", "total"),
                against=_PERIOD,
                compared=("now_and_change",),
            ),
            name="postings",
            change=_MORE_IS_BETTER,
            decimals=1,
        ),
        _figure(
            "Success rate",
            "Share of attempts that brought a good page.",
            Flux(
                "success_rate",
                ("pages", "ok", "errors"),
                steps=("together", "total", "success_rate"),
                against=_PERIOD,
                compared=("now_and_change",),
            ),
            name="of attempts",
            change=_MORE_IS_BETTER,
            decimals=1,
            thresholds=SUCCESS,
        ),
        _figure(
            "Mean page time",
            "Mean time of a page, from request to the end of the answer.",
            Flux(
                "page_times",
                ("duration_count", "duration_sum"),
                steps=("together", "total", "mean_time"),
                against=_PERIOD,
                compared=("now_and_change",),
            ),
            name="a page",
            change=_LESS_IS_BETTER,
        ),
        _figure(
            "Valid items",
            "Share of the items looked at that were valid.",
            Flux(
                "data_quality",
                ("items", "valid"),
                steps=("together", "total", "valid_share"),
                against=_PERIOD,
                compared=("now_and_change",),
            ),
            name="of items",
            change=_MORE_IS_BETTER,
            decimals=1,
            thresholds=SUCCESS,
        ),
        Row("Is it normal"),
        _trend(
            "Postings a minute",
            "Job postings found a minute, all sites together; silence counts as none.",
            Flux("throughput", ("scraped",), steps=("together", "dense", "per_minute"), against=_PERIOD),
        ),
        _trend(
            "Success rate over time",
            "Share of attempts that brought a good page.",
            Flux(
                "success_rate",
                ("pages", "ok", "errors"),
                steps=("together", "success_rate", "gaps"),
                against=_PERIOD,
            ),
            low=0,
            high=1,
        ),
        _trend(
            "Mean page time over time",
            "Mean time of a page.",
            Flux(
                "page_times",
                ("duration_count", "duration_sum"),
                steps=("together", "mean_time", "gaps"),
                against=_PERIOD,
            ),
            low=0,
        ),
        _trend(
            "Valid items over time",
            "Share of the items looked at that were valid.",
            Flux(
                "data_quality", ("items", "valid"), steps=("together", "valid_share", "gaps"), against=_PERIOD
            ),
            high=1,
            near_one=True,
        ),
        Row("How long pages take"),
        Panel(
            "Percentiles of page times",
            "timeseries",
            "The time that half, 95 % and 99 % of pages did not exceed, read from a histogram whose edges are √2 apart.",
            (Flux("response_times", (), steps=("together", "quantiles", "gaps")),),
            empty=words.NO_EVENTS,
            points=120,
            low=0,
            custom=SPARSE,
            overrides=colours.series(colours.QUANTILES),
        ),
        Panel(
            "Page times",
            "heatmap",
            "How many pages took how long: the brighter, the more.",
            (Flux("response_times", (), steps=("heatmap",)),),
            empty=words.NO_EVENTS,
            points=120,
        ),
        Panel(
            "Distribution of page times",
            "bargauge",
            "How many pages took at most how long, in the whole time. Each edge is twice the one before.",
            (Flux("site_totals", (), steps=("together", "distribution")),),
            empty=words.NO_EVENTS,
            height=10,
            unit="short",
            options={"reduceOptions": {"values": True, "calcs": [], "fields": "/^pages$/"}},
        ),
        Panel(
            "95th percentile by site",
            "timeseries",
            "The time that 95 % of a site's pages did not exceed.",
            (Flux("response_times", (), steps=("quantiles", "p95", "gaps"), named_by="site"),),
            empty=words.NO_EVENTS,
            height=10,
            low=0,
            points=120,
            custom=SPARSE,
            overrides=colours.series(colours.SITES),
            link=words.TO_SITE,
        ),
        Row("When it goes well"),
        _hours(
            "Postings by hour and weekday",
            "Job postings found.",
            Flux("throughput", ("scraped",), steps=("together", "week", "week_table")),
            "continuous-blues",
            unit="short",
            decimals=0,
        ),
        _hours(
            "Success rate by hour and weekday",
            "Share of attempts that brought a good page.",
            Flux(
                "success_rate",
                ("pages", "ok", "errors"),
                steps=("together", "week", "success_rate", "week_table"),
            ),
            "continuous-RdYlGr",
            unit="percentunit",
            decimals=0,
            low=0,
            high=1,
        ),
        Row("Why"),
        Panel(
            "What searches brought",
            "table",
            "Each search of the sessions that began in this time, the one with most postings first.",
            (Sql("jobs_by_search"),),
            empty=words.NO_SESSIONS,
            width=24,
            names={
                "search_term": "search",
                "total_jobs_found": "jobs",
                "total_jobs_saved": "saved",
                "saved_share": "% saved",
                "healthy_share": "% healthy",
                "mean_duration_seconds": "mean time",
                "latest_at": "latest",
            },
            overrides=[words.wide("search_term", 180), words.wide("latest_at", 160)],
            custom=NARROW,
        ),
    ),
)
