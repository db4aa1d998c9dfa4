"""The collector's own metrics, for Prometheus: above all ``accepted = delivered + spooled + dead-lettered``, of one moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from collector.observed import Timed
from collector.service import Collector
from scrapewatch import histogram

TIMED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "ack": ("scrapewatch_ack_seconds", "Time from a whole body to its events being durable"),
        "commit": ("scrapewatch_spool_commit_seconds", "Time of a commit of the spool, fsync included"),
        "fold": ("scrapewatch_fold_seconds", "Time to cut, fold and persist a flush"),
        "write_series": ("scrapewatch_series_write_seconds", "Time of a write to the store of points"),
        "apply_records": ("scrapewatch_records_apply_seconds", "Time of an application to the records"),
    }
)
"""Timing of :class:`collector.observed.Observed` → name of its metric, and what it says."""

_LE = (*(f"{edge:.6g}" for edge in histogram.EDGES), "+Inf")


def metric_families(collector: Collector) -> Iterator[Metric]:
    """The metrics as they are now; those of the spool are all of one moment, so that they add up."""
    status, problems = collector.status()
    for name, value, text in (
        ("accepted", status.accepted, "Events made durable and acknowledged"),
        ("delivered", status.delivered, "Events that both stores have"),
    ):
        yield CounterMetricFamily(f"scrapewatch_events_{name}", text, value=value)
    for name, figure, text in (
        (
            "events_dead_lettered",
            status.dead_lettered,
            "Events whose point a store rejected for good, less those that were replayed since",
        ),
        ("events_spooled", status.spooled, "Events that wait in the spool"),
        ("spool_oldest_age_seconds", status.oldest_age, "Age of the oldest event that waits"),
        (
            "spool_unrecorded_age_seconds",
            status.unrecorded_age,
            "Age of the oldest event that the records do not have",
        ),
        ("spool_size_bytes", status.size_bytes, "Size of the spool"),
        ("flushes_pending", status.flushes_pending, "Flushes that a store has not passed"),
        ("collector_ready", int(not problems), "Whether nothing is wrong"),
        ("collector_problems", len(problems), "How many things readiness says are wrong"),
    ):
        yield GaugeMetricFamily(f"scrapewatch_{name}", text, value=figure)

    held = GaugeMetricFamily(
        "scrapewatch_events_held",
        "Events that wait because the store of points refuses the token or a bucket of their tenant; others go on",
        labels=["tenant"],
    )
    for tenant, events in sorted(status.held.items()):
        held.add_metric([tenant], events)
    yield held

    observed = collector.observed
    yield CounterMetricFamily("scrapewatch_requests", "Requests with events", value=observed.requests)
    yield _by("scrapewatch_requests_refused", "Requests turned away as a whole", "reason", observed.refused)
    yield _by(
        "scrapewatch_items_rejected", "Items of requests that were no events", "field", observed.rejected
    )
    yield CounterMetricFamily(
        "scrapewatch_events_duplicate", "Events that were known", value=observed.duplicates
    )
    for timing, (name, text) in TIMED.items():
        yield _histogram(name, text, observed.timings()[timing].snapshot())

    seconds = CounterMetricFamily(
        "scrapewatch_sink_seconds",
        "Time spent on bringing flushes to a sink, waits included",
        labels=["sink"],
    )
    flushes = CounterMetricFamily("scrapewatch_sink_flushes", "Flushes brought to a sink", labels=["sink"])
    forwarding = collector.forwarding.state()
    for name, state in forwarding.sinks.items():
        seconds.add_metric([name], state.seconds)
        flushes.add_metric([name], state.flushes)
    yield seconds
    yield flushes
    yield CounterMetricFamily("scrapewatch_windows_rolled", "Windows rolled up", value=forwarding.rolled)
    if forwarding.cpu_seconds is not None:
        yield CounterMetricFamily(
            "scrapewatch_forwarding_cpu_seconds",
            "Processor time of the process that forwards, since it was started",
            value=forwarding.cpu_seconds,
        )
    yield CounterMetricFamily(
        "scrapewatch_live_dropped",
        "Live messages dropped before they reached a subscriber's queue",
        value=collector.live_dropped,
    )
    yield CounterMetricFamily(
        "scrapewatch_sampler_cpu_seconds", "Processor time of the sampler", value=observed.sampler_seconds
    )
    if collector.sampler is not None:
        yield GaugeMetricFamily(
            "scrapewatch_sampler_watched",
            "Sessions whose processes are sampled",
            value=collector.sampler.watched,
        )


def _by(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, f"{text}, by {label}", labels=[label])
    # A copy in one step: the loop's thread may add a name meanwhile.
    for value, count in sorted(dict(counts).items()):
        family.add_metric([value], count)
    return family


def _histogram(name: str, text: str, timed: Timed) -> Metric:
    family = HistogramMetricFamily(name, text)
    seen = 0
    buckets: list[tuple[str, float]] = []
    for edge, count in zip(_LE, timed.buckets, strict=True):
        seen += count
        buckets.append((edge, seen))
    family.add_metric([], buckets, timed.total)
    return family
