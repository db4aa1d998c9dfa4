"""Collector: the product watching itself. What came in is delivered, waits in the spool, or is a dead letter; and how fast that goes."""

from __future__ import annotations

from typing import Any, Final

from grafana.build import colours, words
from grafana.build.dashboard import Dashboard
from grafana.build.panels import ANY_IS_BAD, BARS, PLAIN, Flux, Panel, Row, Step, steps

_STEPS: Final = ("commit", "fold", "write_series", "apply_records")
_WORDS: Final = {"write_series": "write points", "apply_records": "apply records"}
_EACH: Final = "collector ${__field.labels.collector}"
_LATE: Final = steps(colours.GOOD, (60, colours.WARN), (600, colours.BAD))


def _sum(
    title: str,
    description: str,
    column: str,
    thresholds: tuple[Step, ...] = PLAIN,
    *,
    decimals: int = 1,
    **more: Any,
) -> Panel:
    """How many in the whole range."""
    return Panel(
        title,
        "stat",
        description,
        (Flux("collector_throughput", (column,), steps=("together", "total")),),
        empty="–",
        width=4,
        height=4,
        decimals=decimals,
        thresholds=thresholds,
        options={"graphMode": "none"},
        **more,
    )


def _latest(
    title: str, description: str, column: str, thresholds: tuple[Step, ...] = PLAIN, **more: Any
) -> Panel:
    """The worst collector as it was last."""
    return Panel(
        title,
        "stat",
        description,
        (Flux("collector_backlog", (column,), steps=("worst",)),),
        empty="–",
        width=4,
        height=4,
        thresholds=thresholds,
        options={"graphMode": "none"},
        **more,
    )


def _over_time(title: str, description: str, target: Flux, **more: Any) -> Panel:
    return Panel(
        title, "timeseries", description, (target,), **{"empty": words.NO_COLLECTOR, "low": 0, **more}
    )


DASHBOARD = Dashboard(
    uid="scrapewatch-collector",
    title="Collector",
    description="The product watching itself: accepted = delivered + spooled + dead-lettered, and how fast.",
    variables=("collector",),
    time_from="now-3h",
    sessions_marked=False,
    breakers_marked=False,
    panels=(
        Row("What is happening"),
        _sum("Accepted", "Events made durable and acknowledged in this time.", "accepted"),
        _sum("Delivered", "Events that came to both stores in this time.", "delivered"),
        _latest(
            "Spooled", "Events that wait in the spool; the most of the last window.", "spooled", decimals=0
        ),
        _sum(
            "Dead letters",
            "Events whose point a store rejected for good, less those replayed. `scrapewatch spool` shows and replays them.",
            "dead_lettered",
            ANY_IS_BAD,
            decimals=0,
        ),
        _latest(
            "Oldest waiting",
            "Age of the oldest event that waits for a store.",
            "oldest_age",
            _LATE,
        ),
        _latest(
            "Problems",
            "Things that readiness says are wrong; /readyz names them.",
            "problems",
            ANY_IS_BAD,
            decimals=0,
        ),
        Row("Is it normal"),
        _over_time(
            "Events a minute",
            "Events accepted and delivered a minute: the two lines go together, or the spool grows.",
            Flux(
                "collector_throughput",
                ("accepted", "delivered"),
                steps=("together", "dense", "per_minute"),
                whole_windows=True,
            ),
        ),
        _over_time(
            "Acknowledgements",
            "How long a request waits from its whole body to the answer: half, 95 % and 99 % waited no longer.",
            Flux("collector_latencies", (), steps=("together", "quantiles")),
            points=120,
            custom={"fillOpacity": 0},
            overrides=colours.series(colours.QUANTILES),
        ),
        Row("Where is it wrong"),
        _over_time(
            "Waiting in the spool",
            "Events that wait in the spool: the most of each window.",
            Flux("collector_backlog", ("spooled",)),
            series=_EACH,
        ),
        _over_time(
            "How far behind",
            "Age of the oldest event that waits, and of the oldest that the records do not have: the highest of each window.",
            Flux("collector_backlog", ("oldest_age", "unrecorded_age"), steps=("worst",)),
            names={"oldest_age": "waits", "unrecorded_age": "not in the records"},
        ),
        _over_time(
            "Turned away",
            "Known events, items that were no events, requests refused as a whole, and live messages dropped, in each window.",
            Flux(
                "collector_throughput",
                ("duplicates", "rejected", "refused", "live_dropped"),
                steps=("together",),
            ),
            points=100,
            custom={**BARS, "axisSoftMax": 4},
            names={"live_dropped": "live messages dropped"},
        ),
        _over_time(
            "Dead letters over time",
            "Events whose point a store rejected for good in each window, less those replayed.",
            Flux("collector_throughput", ("dead_lettered",), steps=("together",)),
            custom={**BARS, "axisSoftMax": 4},
            low=None,
            names={"dead_lettered": "dead letters"},
        ),
        Row("Why"),
        _over_time(
            "Mean time of the steps",
            "How long a commit of the spool, a fold, and a write to each store took on average.",
            Flux(
                "collector_latencies",
                tuple(f"{step}_{part}" for step in _STEPS for part in ("sum", "count")),
                steps=("together", "means"),
            ),
            custom={"fillOpacity": 0},
            names=_WORDS,
        ),
        _over_time(
            "Longest time of the steps",
            "The longest commit, fold and write of each window.",
            Flux("collector_latencies", tuple(f"{step}_max" for step in _STEPS), steps=("worst",)),
            custom={"fillOpacity": 0},
            names={f"{step}_max": _WORDS.get(step, step) for step in _STEPS},
        ),
        Panel(
            "Acknowledgements as they spread",
            "heatmap",
            "How many acknowledgements took how long: the brighter, the more.",
            (Flux("collector_latencies", (), steps=("heatmap",)),),
            empty=words.NO_COLLECTOR,
            points=120,
        ),
        _over_time(
            "Size of the spool",
            "The spool's file on disk.",
            Flux("collector_backlog", ("spool_bytes",)),
            series=_EACH,
        ),
        _over_time(
            "Flushes under way",
            "Flushes that a store has not passed: one or two are usual.",
            Flux("collector_backlog", ("flushes_pending",)),
            series=_EACH,
        ),
        _over_time(
            "Requests a minute",
            "Requests answered a minute; fewer and larger ones are cheaper.",
            Flux(
                "collector_throughput",
                ("requests",),
                steps=("together", "dense", "per_minute"),
                whole_windows=True,
            ),
        ),
        _over_time(
            "Processor it takes",
            "Use of one core by scrapewatch's own process, the mean of each window.",
            Flux("machines", ("process_cpu_percent",), named_by="host"),
            width=8,
        ),
        _over_time(
            "Memory it takes",
            "Resident memory of scrapewatch's own process, the mean of each window.",
            Flux("machines", ("process_memory",), named_by="host"),
            width=8,
        ),
        _over_time(
            "Time of the sampler",
            "Processor time that reading the machine takes a second.",
            Flux(
                "collector_throughput",
                ("sampler_seconds",),
                steps=("together", "dense", "per_second"),
                whole_windows=True,
            ),
            names={"sampler_seconds": "sampler"},
            width=8,
        ),
    ),
)
