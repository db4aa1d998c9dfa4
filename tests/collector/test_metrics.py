from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector as PrometheusCollector

from collector.metrics import TIMED, metric_families
from collector.observed import TIMINGS, Observed, Timing
from collector.reporting import Reporter
from collector.service import Collector
from embedded.store import EmbeddedStore
from scrapewatch import histogram
from scrapewatch.answers import ask, quantiles
from scrapewatch.events import validate
from scrapewatch.live import MemoryHub
from scrapewatch.measurements import MEASUREMENTS
from scrapewatch.ports import DEFAULT_TENANT, TimeRange
from scrapewatch.settings import Settings
from scrapewatch.time import MINUTE, SECOND, now_ns
from tests.collector.conftest import Running
from tests.new_records import records_in

JOB = {"session_id": "s1", "metric": "job_scraped", "value": {"site": "indeed", "count": 1}}

durations = st.lists(st.floats(0, 2_000), min_size=1, max_size=100)


class _Made(PrometheusCollector):
    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def collect(self) -> Any:
        return self._make()

    def describe(self) -> Any:
        return ()


def exposed(collector: Collector) -> dict[str, Metric]:
    """The metrics as Prometheus reads them."""
    registry = CollectorRegistry()
    registry.register(_Made(lambda: metric_families(collector)))
    text = generate_latest(registry).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(families: Mapping[str, Metric], name: str, **labels: str) -> float:
    (found,) = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    return found


def reporter(collector: Collector, send: Callable[[Sequence[Mapping[str, Any]]], bool]) -> Reporter:
    return Reporter(
        collector.observed,
        collector_no=collector.number,
        host="worker-1",
        status=collector.status,
        dropped=lambda: collector.live_dropped,
        send=send,
    )


def answers(running: Running, question: str) -> list[dict[str, Any]]:
    running.drain()
    now = now_ns()
    time_range = TimeRange.widened(now - MINUTE, now + SECOND, MINUTE)
    return list(ask(running.series, question, {}, time_range, tenant=DEFAULT_TENANT).dicts())


# --- timings


@given(durations)
def test_a_timing_counts_every_time_once_and_knows_the_longest(times: list[float]) -> None:
    timing = Timing()
    for seconds in times:
        timing.add(seconds)
    timed = timing.snapshot()
    assert timed.count == sum(timed.buckets) == len(times)
    assert timed.total == pytest.approx(sum(times))
    assert timed.highest == max(times)
    for k, count in enumerate(timed.buckets):
        assert count == sum(histogram.bucket_of(seconds) == k for seconds in times)


@given(durations, durations)
def test_the_longest_since_it_was_asked_for_leaves_out_what_was_before(
    before: list[float], after: list[float]
) -> None:
    timing = Timing()
    for seconds in before:
        timing.add(seconds)
    assert timing.take_recent() == max(before)
    assert timing.take_recent() == 0
    for seconds in after:
        timing.add(seconds)
    assert timing.take_recent() == max(after)
    assert timing.snapshot().highest == max(before + after)


def test_every_timing_has_a_metric_and_fields_of_its_own() -> None:
    assert set(TIMED) == set(TIMINGS) == set(Observed().timings())
    fields = {field.name for field in MEASUREMENTS["collector"].fields}
    assert {f"{name}_{what}" for name in TIMINGS for what in ("sum", "count", "max")} <= fields


# --- Prometheus


def test_accepted_is_delivered_and_spooled_and_dead_lettered_whenever_it_is_read(running: Running) -> None:
    done = threading.Event()
    read: list[tuple[float, ...]] = []

    def look() -> None:
        while not done.is_set():
            families = exposed(running.collector)
            read.append(
                (
                    value(families, "scrapewatch_events_accepted_total"),
                    value(families, "scrapewatch_events_delivered_total"),
                    value(families, "scrapewatch_events_spooled"),
                    value(families, "scrapewatch_events_dead_lettered"),
                )
            )

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(60):
            assert running.post([JOB] * 20).status_code == 202
        running.drain()
    finally:
        done.set()
        looking.join()
    assert len(read) > 1
    for accepted, delivered, spooled, dead in read:
        assert accepted == delivered + spooled + dead
    assert value(exposed(running.collector), "scrapewatch_events_delivered_total") == 1200


def test_acknowledgements_are_a_histogram(running: Running) -> None:
    for _ in range(7):
        running.post(JOB)
    families = exposed(running.collector)
    assert value(families, "scrapewatch_ack_seconds_count") == 7
    assert value(families, "scrapewatch_ack_seconds_sum") > 0
    buckets = [
        (float(sample.labels["le"]), sample.value)
        for sample in families["scrapewatch_ack_seconds"].samples
        if sample.name.endswith("_bucket")
    ]
    assert [edge for edge, _ in buckets] == pytest.approx([*histogram.EDGES, float("inf")], rel=1e-5)
    assert [count for _, count in buckets] == sorted(count for _, count in buckets)
    assert buckets[-1][1] == 7


def test_every_step_of_an_events_way_is_timed(running: Running) -> None:
    running.post([JOB] * 5)
    running.drain()
    families = exposed(running.collector)
    for name, _ in TIMED.values():
        assert value(families, f"{name}_count") >= 1, name


def test_what_was_turned_away_is_counted_by_reason(running: Running) -> None:
    assert running.post([JOB, {**JOB, "value": {"site": 7}}, {"metric": "none"}]).status_code == 202
    assert running.http.post("/api/v1/monitoring/metrics", content=b"{").status_code == 400
    families = exposed(running.collector)
    assert value(families, "scrapewatch_requests_total") == 2
    assert value(families, "scrapewatch_requests_refused_total", reason="not-json") == 1
    rejected = [
        sample
        for sample in families["scrapewatch_items_rejected"].samples
        if sample.name == "scrapewatch_items_rejected_total"
    ]
    assert sum(sample.value for sample in rejected) == 2
    assert {"field": "site"} in [sample.labels for sample in rejected]


def test_every_metric_of_the_collector_that_the_operators_page_names_is_exposed(running: Running) -> None:
    # What is counted by a label shows once there is something to count.
    assert running.http.post("/api/v1/monitoring/metrics", content=b"{").status_code == 400
    assert running.post([JOB, {}]).status_code == 202
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    before, _, behind = page.partition("\n## The API's figures\n")
    named = set(re.findall(r"`(scrapewatch_(?!api_)\w+)`", before + behind.partition("\n## ")[2]))
    families = exposed(running.collector)
    # As Prometheus names them: a counter's samples end in _total, a histogram has a name for all of its.
    there = {sample.name for family in families.values() for sample in family.samples} | families.keys()
    assert len(named) > 10
    assert named <= there


# --- reports


def test_reports_add_up_to_what_the_collector_did(running: Running) -> None:
    reports = reporter(running.collector, running.collector.report)
    for sent in (3, 5):
        for _ in range(sent):
            running.post([JOB] * 10)
        running.drain()
        reports.report()
    # Each report is an event like all others: the second counts the first.
    (row,) = answers(running, "collector_throughput")
    assert (row["collector"], row["accepted"], row["delivered"], row["dead_lettered"]) == (
        str(running.collector.number),
        81,
        81,
        0,
    )
    assert row["requests"] == 8
    (timed,) = answers(running, "collector_latencies")
    assert timed["ack_count"] == 8
    assert sum(timed[name] or 0 for name in histogram.FIELDS) == 8
    assert 0 < timed["ack_sum"] / 8 <= timed["ack_max"]
    p99 = quantiles(timed, timing="ack")["p99"]
    assert p99 is not None
    assert p99 <= timed["ack_max"]
    assert timed["commit_count"] >= 1
    assert timed["fold_count"] >= 2
    (backlog,) = answers(running, "collector_backlog")
    assert backlog["problems"] == 0
    assert backlog["spool_bytes"] > 0
    status, _ = running.collector.status()
    assert status.accepted == status.delivered == 82


def test_what_a_report_said_that_was_not_taken_is_in_the_next(running: Running) -> None:
    taken: list[Mapping[str, Any]] = []
    room = False

    def send(items: Sequence[Mapping[str, Any]]) -> bool:
        if room:
            taken.extend(items)
        return room

    reports = reporter(running.collector, send)
    running.collector.observed.ack.add(7.0)
    running.post([JOB] * 10)
    running.drain()
    reports.report()
    running.post([JOB] * 10)
    running.drain()
    room = True
    reports.report()
    reports.report()
    first, second = (validate(item)["value"] for item in taken)
    assert (first["accepted"], first["ack_count"], first["ack_max"]) == (20, 3, 7.0)
    assert (second["accepted"], second["ack_count"]) == (0, 0)
    assert "ack_max" not in second


def test_a_report_has_every_figure_of_its_measurement(running: Running) -> None:
    taken: list[Mapping[str, Any]] = []

    def send(items: Sequence[Mapping[str, Any]]) -> bool:
        taken.extend(items)
        return True

    reports = reporter(running.collector, send)
    running.post(JOB)
    running.drain()
    reports.report()
    (item,) = taken
    measurement = MEASUREMENTS["collector"]
    tags, fields = ({part.name for part in parts} for parts in (measurement.tags, measurement.fields))
    assert item["value"].keys() == tags | fields


# --- with a sampler at work


def test_the_process_of_a_session_is_sampled_on_its_way_and_is_no_sign_of_life(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, flush_interval=0.05)
    series = EmbeddedStore(tmp_path / "series.duckdb")
    records = records_in(tmp_path)
    scraper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    started = now_ns() // SECOND * SECOND + SECOND

    def event(metric: str, **figures: Any) -> bytes:
        return orjson.dumps(
            {"session_id": "s1", "metric": metric, "value": figures, "timestamp": started // SECOND}
        )

    def session() -> tuple[Any, ...]:
        with records.engine.connect() as db:
            found = db.exec_driver_sql("SELECT last_event_at, events, status FROM scrape_sessions").fetchone()
            return tuple(found) if found is not None else ()

    def rows(question: str, parameters: Mapping[str, str]) -> list[dict[str, Any]]:
        now = now_ns()
        time_range = TimeRange.widened(now - MINUTE, now + MINUTE, MINUTE)
        return list(ask(series, question, parameters, time_range, tenant=DEFAULT_TENANT).dicts())

    async def until(holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)

    async def life() -> None:
        collector = Collector(settings, series, records, MemoryHub())
        collector.start()
        sampler = collector.sampler
        assert sampler is not None
        try:
            opening = event("session_started", pid=scraper.pid, host=socket.gethostname())
            await collector.accept(DEFAULT_TENANT, opening)
            await until(lambda: sampler.watched)
            await until(session)
            before = session()
            await until(
                lambda: any(row["memory_mb"] for row in rows("session_metrics", {"session_id": "s1"}))
            )
            await until(lambda: not collector.status()[0].spooled)
            assert session() == before
            await collector.accept(DEFAULT_TENANT, event("session_finished"))
            await until(lambda: not sampler.watched)
            # And the collector told of itself meanwhile.
            for question in ("collector_backlog", "resources"):
                await until(partial(rows, question, {}))
        finally:
            await asyncio.to_thread(collector.stop)

    try:
        asyncio.run(life())
    finally:
        scraper.kill()
        scraper.wait()
        series.close()
        records.close()
