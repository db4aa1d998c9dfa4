from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from collector.fold import fold
from collector.forwarding import ForwardingHere
from collector.roller import LEASE, Roller
from collector.spool import Spool
from embedded.store import EmbeddedStore
from scrapewatch.line_protocol import Point
from scrapewatch.time import DAY, now_ns, to_rfc3339
from tests.collector.conftest import Running
from tests.collector.events import event, request
from tests.collector.outboxes import outbox_of

Start = Callable[..., AbstractContextManager[Running]]

JOB = {"session_id": "s1", "metric": "job_scraped", "value": {"site": "a"}}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_fault_of_one_sink_is_told_until_it_has_passed_while_the_others_go_on(
    start: Start, tmp_path: Path
) -> None:
    spool = Spool(tmp_path / "spool")
    sent = request([event("job_scraped", {"site": "a"})])
    spool.append("default", sent.times, sent.events, key=None, body=b"", source=None, received_at=1).result(
        10
    )
    cut = outbox_of(spool).uncut(10)
    assert cut is not None
    outbox_of(spool).persist(1, cut, fold(cut.requests, {}, collector_no=0, number=1))
    rows = [{"table": "scrape_sessions", "key": {"session_id": "s1"}, "states": 5}]
    no_rows: list[dict[str, Any]] = [{"tenant": "default", "source": None, "rows": [], "windows": {}}]
    impossible = [{**no_rows[0], "rows": rows}]

    def change(spool: Spool, changes: list[dict[str, Any]]) -> None:
        blob = zlib.compress(json.dumps(changes).encode())
        spool._submit(
            lambda db: db.execute("UPDATE flushes SET changes = ? WHERE number = 1", (blob,))
        ).result(10)

    change(spool, impossible)
    spool.close()
    with start() as running:
        for n in range(1, 5):
            running.post(JOB)
            wait_until(lambda n=n: running.collector.forwarding.state().sinks["series"].last_number > n)  # type: ignore[misc]
            wait_until(lambda: bool(running.collector.forwarding.state().problems))
            assert "records: TypeError" in running.collector.status()[1][0]
        change(running.collector.spool, no_rows)
        running.drain()
        assert running.collector.status()[1] == []


@pytest.mark.parametrize("restart", [False, True])
def test_another_body_under_the_key_of_history_is_a_conflict_also_once_it_was_applied(
    start: Start, restart: bool
) -> None:
    history = {**JOB, "timestamp": to_rfc3339(now_ns() - 30 * DAY)}
    more: dict[str, Any] = {"params": {"backfill": "true"}, "headers": {"Idempotency-Key": "log"}}
    with start() as running:
        assert running.post(history, **more).status_code == 202
        assert running.post([history, history], **more).status_code == 409
        running.drain()
        if not restart:
            assert running.post([history, history], **more).status_code == 409
            assert running.post(history, **more).json()["duplicates"] == 1
    if restart:
        with start() as running:
            assert running.post([history, history], **more).status_code == 409


def test_who_was_silent_while_the_collector_was_away_is_not_taken_for_stalled(start: Start) -> None:
    def stalled(running: Running) -> int:
        running.collector._watch()
        return running.counts("stalled_at IS NOT NULL")

    with start() as running:
        running.post(JOB)
        running.drain()
        with running.records.engine.begin() as db:
            db.exec_driver_sql("UPDATE scrape_sessions SET last_event_at = '2026-01-01 00:00:00.000000'")
    with start(abandon_after=1e9) as running:
        assert stalled(running) == 0
        running.collector._started -= 60
        assert stalled(running) == 1


def test_a_roller_that_took_longer_than_its_lease_leaves_its_windows_to_be_computed_again(
    start: Start,
) -> None:
    class Slow(EmbeddedStore):
        def windows(self, *given: Any, **options: Any) -> list[Point]:
            found = super().windows(*given, **options)
            running.records.hold_lease(LEASE, "slow", 0)
            running.records.hold_lease(LEASE, "quick", 30)
            return found

    with start() as running:
        forwarding = running.collector.forwarding
        assert isinstance(forwarding, ForwardingHere)
        forwarding.rolling.stop()
        running.post(JOB)
        running.drain()
        forwarding.roller.release()
        running.series.__class__ = Slow
        try:
            assert Roller(running.series, running.records, holder="slow").roll(hours=True) == 0
        finally:
            running.series.__class__ = EmbeddedStore
        assert {window.tier for window in running.records.dirty_windows(10, settled_before={})} == {
            "fleet_1m",
            "fleet_1h",
        }
        assert Roller(running.series, running.records, holder="quick").roll(hours=True) == 2
        assert running.records.dirty_windows(10, settled_before={}) == []
