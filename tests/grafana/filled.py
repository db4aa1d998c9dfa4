"""Stores that hold a history: points in InfluxDB, rolled up as the roller would have while it happened, and records in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import orjson

from collector.decode import Event, decode
from collector.fold import Memory, Request, fold
from collector.roller import rolled
from influx.store import InfluxStore
from records.alerts import AlertRecords, Matcher, Telling
from records.store import SqlRecords
from scrapewatch.line_protocol import encode
from scrapewatch.measurements import KEEPING, MEASUREMENTS, Tier
from scrapewatch.ports import DEFAULT_TENANT, Batch, Flush, RecordChanges, TimeRange
from scrapewatch.time import DAY, HOUR, MINUTE, to_datetime
from tests.grafana.history import Said

PAST: Final = "past"
"""The tenant whose bucket holds the fleet as it was."""

_FLUSHES: Final = 8


def fill(history: Sequence[Said], now: int, series: InfluxStore, records: SqlRecords) -> None:
    """Bring ``history`` into empty stores, as if they had been there all the time until ``now`` (ns).

    The store must have a bucket of :data:`PAST` for the fleet that keeps everything: InfluxDB refuses what it would not keep any more,
    and what was fine once, and lies in the rollups by now, must be rolled up somewhere.
    """
    events = decode(orjson.dumps([said.event for said in history]))
    assert events is not None, "the history is no list of events"
    times = [said.time for said in history]
    kept = now - KEEPING[Tier.FLEET].retention + HOUR
    memory: Memory = {}
    size = -(-len(history) // _FLUSHES)
    for number in range(_FLUSHES):
        part = slice(number * size, (number + 1) * size)
        batches, changes = _folded(times[part], events[part], memory, number + 1)
        _write(series, [*(_from(batch, kept) for batch in batches), *map(_past, batches)])
        assert records.apply(1, number + 1, changes)
    for tier in (Tier.FLEET_1M, Tier.FLEET_1H):
        # Longer ranges than those of the finer tier's days read hours.
        start = max(times[0], now - 10 * DAY) if tier is Tier.FLEET_1M else times[0]
        whole = TimeRange.widened(start, now, KEEPING[tier].window)
        lines = [
            encode(rolled(point))
            for name, measurement in MEASUREMENTS.items()
            if (source := measurement.rolled_from) is not None
            for point in series.windows(
                name, whole, tier=source, tenant=PAST if source is Tier.FLEET else DEFAULT_TENANT
            )
        ]
        _write(series, [Batch(DEFAULT_TENANT, tier, lines, [0] * len(lines))])
    records.watch_sessions(now, stall_after=600.0, abandon_after=6 * 3600.0)
    _alert(records, now)


def _folded(
    times: Sequence[int], events: Sequence[Event], memory: Memory, number: int
) -> tuple[Sequence[Batch], Sequence[RecordChanges]]:
    folded = fold(
        [Request(DEFAULT_TENANT, None, times[0], times, events)], memory, collector_no=1, number=number
    )
    memory |= folded.memory
    return folded.batches, folded.changes


def _from(batch: Batch, start: int) -> Batch:
    """``batch`` without what the fleet's fine tier has forgotten."""
    if batch.tier is not Tier.FLEET:
        return batch
    lines = [line for line in batch.lines if int(line.rpartition(" ")[2]) >= start]
    return Batch(batch.tenant, batch.tier, lines, [0] * len(lines))


def _past(batch: Batch) -> Batch:
    """What of ``batch`` the rollups are made of and the fleet's fine tier forgets."""
    lines = batch.lines if batch.tier is Tier.FLEET else []
    return Batch(PAST, Tier.FLEET, lines, [0] * len(lines))


def _write(store: InfluxStore, batches: Sequence[Batch]) -> None:
    result = store.write(Flush(1, 1, batches))
    assert result.kept is None, result.kept
    assert not result.rejected, result.rejected[0].reason


def _alert(records: SqlRecords, now: int) -> None:
    """Alerts of every severity and state, over two months and lately."""
    alerts = AlertRecords(records.engine)
    rules = (
        ("High Error Rate", "warning", "linkedin"),
        ("Circuit Breaker Open", "critical", "linkedin"),
        ("Low Throughput", "warning", "indeed"),
        ("System Resource High", "critical", "worker-1"),
        ("Coverage Drop", "info", "glassdoor"),
    )
    ages = [4, 9, 13, 14, 200, *range(600, 60 * 24 * 60, 1_700)]  # minutes
    for number, minutes in enumerate(ages):
        rule, severity, resource = rules[number % len(rules)]
        start = to_datetime(now - minutes * 60 * 10**9)
        told = Telling(
            fingerprint=f"{rule}/{resource}/{number}"[:64],
            rule=rule,
            severity=severity,
            message=f"{rule} at {resource}",
            started_at=start,
            resource=resource,
            labels={"site": resource, "alertname": rule},
            value=0.4,
        )
        (alert,) = alerts.tell(DEFAULT_TENANT, [told], by="tests", at=start).news
        if number % 3 == 1:
            alerts.acknowledge(
                DEFAULT_TENANT, alert.id, by="ada", notes=None, at=start + timedelta(minutes=1)
            )
        if number > 2:
            alerts.resolve(
                DEFAULT_TENANT,
                alert.id,
                by="ada",
                notes="mended",
                at=start + timedelta(minutes=min(number % 40 + 2, minutes // 2)),
            )
    start, end = to_datetime(now - 30 * MINUTE), to_datetime(now + DAY)
    for matcher, ends in (
        (Matcher("rule", "Low Throughput"), end),
        (Matcher("site", "glassdoor"), end - timedelta(days=2)),
    ):
        alerts.silence(
            DEFAULT_TENANT,
            [matcher],
            comment="maintenance",
            by="ada",
            starts_at=start - timedelta(days=2),
            ends_at=ends,
            at=start - timedelta(days=3),
        )
