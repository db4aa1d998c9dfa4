"""Crashes between any two steps, on both pairs of stores: what was acknowledged is counted once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from collector.fold import Folding, fold
from collector.forward import Forwarder
from collector.roller import Roller, rolled
from collector.spool import Spool
from records.store import SqlRecords
from scrapewatch.measurements import Tier
from scrapewatch.ports import DEFAULT_TENANT, Flush, Rejected, SeriesStore, TimeRange, WriteResult
from scrapewatch.time import DAY, HOUR, MINUTE, SECOND, now_ns
from stack.stores import open_records, open_series
from tests.collector.events import event, request
from tests.collector.outboxes import outbox_of
from tests.stack.conftest import Stores


@dataclass
class Parts:
    """A collector's parts on real stores, to be driven step by step."""

    stores: Stores
    spool: Spool
    series: SeriesStore
    records: SqlRecords
    number: int

    def append(self, events: list[dict[str, Any]], *, source: str | None = None) -> None:
        """Make ``events`` durable."""
        sent = request(events, at=now_ns())
        kept = self.spool.append(
            DEFAULT_TENANT,
            sent.times,
            sent.events,
            key=source,
            body=b"",
            source=source,
            received_at=sent.received_at,
        ).result(10)
        assert kept.accepted == len(events)

    def persist(self) -> int:
        """Cut and persist one flush, as if the process died right after."""
        cut = outbox_of(self.spool).uncut(10_000)
        assert cut is not None
        number = outbox_of(self.spool).next_number()
        outbox_of(self.spool).persist(
            number, cut, fold(cut.requests, {}, collector_no=self.number, number=number)
        )
        return number

    @contextlib.contextmanager
    def forwarding(self, *, interval: float = 0.05) -> Iterator[Forwarder]:
        """Forward while the block lasts."""
        outbox = outbox_of(self.spool)
        self.spool.arrived = outbox.arrived.set
        forwarder = Forwarder(outbox, self.series, self.records, collector_no=self.number, interval=interval)
        forwarder.start()
        try:
            yield forwarder
        finally:
            forwarder.stop()

    def drain(self, seconds: float = 60) -> None:
        """Wait until everything is delivered."""
        deadline = time.monotonic() + seconds
        while self.spool.status().spooled:
            assert time.monotonic() < deadline, self.spool.status()
            time.sleep(0.02)

    def scraped(self, tier: Tier = Tier.FLEET, *, back: int = DAY, every: int = SECOND) -> int:
        """Jobs in the series store."""
        now = now_ns()
        time_range = TimeRange.widened(now - back, now + MINUTE, every)
        table = self.series.ask("throughput", {"site": ""}, time_range, tier=tier, tenant=DEFAULT_TENANT)
        return sum(row["scraped"] for row in table.dicts())

    def recorded(self) -> int:
        """Jobs in the records."""
        with self.records.engine.connect() as db:
            return int(
                db.exec_driver_sql(
                    "SELECT coalesce(sum(total_jobs_found), 0) FROM scrape_sessions"
                ).scalar_one()
            )

    def roll(self) -> None:
        """Roll up until nothing is dirty."""
        roller = Roller(self.series, self.records, holder="test")
        deadline = time.monotonic() + 60
        while self.records.dirty_windows(1, settled_before={}):
            roller.roll(hours=True)
            assert time.monotonic() < deadline


@pytest.fixture
def parts(stores: Stores) -> Iterator[Parts]:
    settings = stores.settings()
    series, records = open_series(settings), open_records(settings)
    spool = Spool(settings.data_dir / "spool")
    yield Parts(stores, spool, series, records, records.lease_collector(spool.id))
    spool.close()
    series.close()
    records.close()


def jobs(count: int, *, age: int = 10 * SECOND, n: int = 1) -> list[dict[str, Any]]:
    at = now_ns() - age
    return [event("job_scraped", {"site": "a", "count": count}, time=at) for _ in range(n)]


def test_a_flush_that_was_persisted_is_sent_as_it_was_whatever_the_code_has_become(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.append(jobs(3, n=4))
    parts.persist()

    finish = Folding.finish

    def other_code(*arguments: Any, **options: Any) -> Any:
        folded = finish(*arguments, **options)
        return replace(
            folded,
            batches=[
                replace(b, lines=[line.replace("scraped=", "scraped=9") for line in b.lines])
                for b in folded.batches
            ],
        )

    monkeypatch.setattr(Folding, "finish", other_code)
    with parts.forwarding():
        parts.drain()
    assert parts.scraped() == parts.recorded() == 12


class Choosy:
    """A series store that refuses lines of the site ``refused``, and notes which flush each write was called after."""

    def __init__(self, series: SeriesStore) -> None:
        self._series = series
        self.writes: list[int] = []

    def write(self, flush: Flush) -> WriteResult:
        self.writes.append(flush.number)
        good, rejected = [], []
        for batch in flush.batches:
            told = list(zip(batch.lines, batch.events, strict=True))
            kept = [(line, events) for line, events in told if "site=refused" not in line]
            good.append(
                replace(batch, lines=[line for line, _ in kept], events=[events for _, events in kept])
            )
            rejected += [
                Rejected(batch.tenant, batch.tier, line, events, "refused")
                for line, events in told
                if "site=refused" in line
            ]
        result = self._series.write(replace(flush, batches=good))
        return replace(result, rejected=rejected)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._series, name)


def test_a_lone_event_is_stored_long_before_an_interval_is_over(parts: Parts) -> None:
    with parts.forwarding(interval=60.0):
        parts.append([event("job_scraped", {"site": "a"}, time=now_ns())])
        parts.drain(seconds=10)
    assert parts.scraped() == parts.recorded() == 1


def test_small_flushes_that_were_held_up_go_together_and_what_is_refused_stays_with_its_own(
    parts: Parts,
) -> None:
    at = now_ns() - 10 * SECOND
    for n in range(1, 21):
        parts.append([event("job_scraped", {"site": "a", "count": n}, time=at)])
        if n in (3, 17):
            parts.append([event("job_scraped", {"site": "refused"}, time=at)])
            # The same line in two flushes, since a gauge keeps its own time.
            parts.append([event("queue", {"site": "refused", "depth": 4}, time=at)])
        assert parts.persist() == n
    choosy = Choosy(parts.series)
    with replace(parts, series=choosy).forwarding():
        parts.drain()
    assert len(choosy.writes) < 5
    assert parts.scraped() == 210
    letters = parts.spool.dead_letters()
    by_flush = {
        number: sorted(x.letter.line.split(",")[0] for x in letters if x.flush == number)
        for number in (3, 17)
    }
    assert by_flush == {n: ["jobs", "jobs", "queue"] for n in (3, 17)}
    assert len(letters) == 6
    status = parts.spool.status()
    assert (status.delivered, status.dead_lettered, status.spooled) == (20, 4, 0)


def test_a_flush_that_reached_the_stores_before_the_crash_is_not_added_again(parts: Parts) -> None:
    parts.append(jobs(5))
    number = parts.persist()
    (flush,) = outbox_of(parts.spool).pending("series")
    assert parts.series.write(Flush(parts.number, flush.number, flush.batches)).kept is None
    assert parts.records.apply(parts.number, number, flush.changes)
    with parts.forwarding():
        parts.drain()
    assert parts.scraped() == parts.recorded() == 5


def test_a_new_spool_neither_overwrites_the_points_of_the_lost_one_nor_is_taken_for_it(parts: Parts) -> None:
    at = now_ns() - 10 * SECOND
    one = [event("job_scraped", {"site": "a", "count": 2}, time=at)]
    parts.append(one)
    with parts.forwarding():
        parts.drain()
    new = Spool(parts.stores.folder / "another spool")
    other = replace(parts, spool=new, number=parts.records.lease_collector(new.id))
    assert other.number != parts.number
    other.append(one)
    with other.forwarding():
        other.drain()
    new.close()
    assert parts.scraped() == parts.recorded() == 4


@pytest.mark.parametrize("age", [DAY, 30 * DAY, 400 * DAY])
def test_history_lost_with_its_spool_between_any_two_steps_is_whole_once_it_is_sent_again(
    parts: Parts, age: int
) -> None:
    history = jobs(7, age=age)
    parts.append(history, source="log")
    number = parts.persist()
    for step in ("nothing", "series", "windows", "records"):
        (flush,) = outbox_of(parts.spool).pending("series")
        if step in ("series", "windows", "records"):
            assert parts.series.write(Flush(parts.number, flush.number, flush.batches)).kept is None
        if step in ("windows", "records"):
            parts.records.mark_windows(flush.changes)
        if step == "records":
            parts.records.apply(parts.number, number, flush.changes)
        # The spool is lost here, and the history comes again by another.
        new = Spool(parts.stores.folder / f"after {step}")
        parts = replace(parts, spool=new, number=parts.records.lease_collector(new.id))
        if not parts.records.source_applied(DEFAULT_TENANT, "log"):
            parts.append(history, source="log")
            number = parts.persist()
    parts.spool.close()
    parts.roll()
    assert parts.recorded() == 7
    assert parts.scraped(Tier.FLEET_1H, back=500 * DAY, every=HOUR) == 7
    if age < 90 * DAY:
        assert parts.scraped(Tier.FLEET_1M, back=40 * DAY, every=HOUR) == 7


def test_rollups_are_the_sums_of_their_points_also_after_late_events_and_rolling_twice(parts: Parts) -> None:
    total = 0
    for age in (5 * SECOND, 3 * HOUR, 3 * HOUR, 6 * DAY):
        parts.append(jobs(2, age=age, n=3))
        total += 6
        with parts.forwarding():
            parts.drain()
        parts.roll()
        for tier in (Tier.FLEET_1M, Tier.FLEET_1H):
            assert parts.scraped(tier, back=7 * DAY, every=HOUR) == total


def test_rollups_carry_the_quantiles_of_their_window(parts: Parts) -> None:
    at = now_ns() - 2 * HOUR
    parts.append([event("page_processed", {"site": "a", "duration": d / 10}, time=at) for d in range(1, 101)])
    with parts.forwarding():
        parts.drain()
    time_range = TimeRange.widened(at, at + SECOND, HOUR)
    (window,) = parts.series.windows("pages", time_range, tier=Tier.FLEET, tenant=DEFAULT_TENANT)
    point = rolled(window)
    assert point.fields["count"] == 100
    # A histogram's quantile is off by at most its bucket's width, a factor of the square root of two.
    assert 5.0 / 1.42 < float(point.fields["duration_p50"]) < 5.0 * 1.42
    assert 9.5 / 1.42 < float(point.fields["duration_p95"]) <= 10.0


servers = pytest.mark.parametrize("stores", ["influx"], indirect=True)


@servers
def test_a_series_store_that_is_away_holds_up_neither_an_ack_nor_the_records(parts: Parts) -> None:
    assert parts.stores.influxd is not None
    with parts.forwarding() as forwarder:
        parts.stores.influxd.kill()
        parts.append(jobs(1, n=4))
        deadline = time.monotonic() + 30
        while parts.recorded() != 4 or forwarder.series_state.problem is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert parts.records.dirty_windows(9, settled_before={}) == []
        assert parts.spool.status().spooled == 4
        parts.stores.influxd.restart()
        parts.drain()
    assert parts.scraped() == 4


@servers
def test_a_database_that_is_away_holds_up_neither_an_ack_nor_the_points(parts: Parts) -> None:
    assert parts.stores.postgres is not None
    with parts.forwarding() as forwarder:
        parts.stores.postgres.stop()
        parts.append(jobs(1, n=4))
        deadline = time.monotonic() + 30
        while parts.scraped() != 4 or forwarder.records_state.problem is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        parts.stores.postgres.restart()
        parts.drain()
    assert parts.recorded() == 4
    assert parts.spool.status().delivered == 4
