"""The collector's own metrics, for Prometheus: above all ``accepted = delivered + spooled + dead-lettered``."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from collector.service import Collector


def metric_families(collector: Collector) -> Iterator[Metric]:
    """The metrics as they are now."""
    status, problems = collector.status()
    for name, value, text in (
        ("accepted", status.accepted, "Events made durable and acknowledged"),
        ("delivered", status.delivered, "Events that both stores have"),
        ("dead_lettered", status.dead_lettered, "Events whose point a store rejected for good"),
    ):
        yield CounterMetricFamily(f"scrapewatch_events_{name}", text, value=value)
    yield GaugeMetricFamily(
        "scrapewatch_events_spooled", "Events that wait in the spool", value=status.spooled
    )
    yield GaugeMetricFamily(
        "scrapewatch_spool_oldest_age_seconds", "Age of the oldest event that waits", value=status.oldest_age
    )
    yield GaugeMetricFamily("scrapewatch_spool_size_bytes", "Size of the spool", value=status.size_bytes)
    yield GaugeMetricFamily(
        "scrapewatch_flushes_pending", "Flushes that a store has not passed", value=status.flushes_pending
    )
    yield GaugeMetricFamily(
        "scrapewatch_collector_ready", "Whether nothing is wrong", value=int(not problems)
    )
    rejected = CounterMetricFamily(
        "scrapewatch_items_rejected",
        "Items of requests that were no events, by field at fault",
        labels=["field"],
    )
    for field, count in sorted(collector.rejected.items()):
        rejected.add_metric([field], count)
    yield rejected
    seconds = CounterMetricFamily(
        "scrapewatch_sink_seconds",
        "Time spent on bringing flushes to a sink, waits included",
        labels=["sink"],
    )
    flushes = CounterMetricFamily("scrapewatch_sink_flushes", "Flushes brought to a sink", labels=["sink"])
    for name, state in (
        ("series", collector.forwarder.series_state),
        ("records", collector.forwarder.records_state),
        ("windows", collector.forwarder.windows_state),
    ):
        seconds.add_metric([name], state.seconds)
        flushes.add_metric([name], state.flushes)
    yield seconds
    yield flushes
    yield CounterMetricFamily(
        "scrapewatch_windows_rolled", "Windows rolled up", value=collector.roller.rolled
    )
