"""Numbers of collectors, and leases."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import Engine, insert, update

from records.engine import writing
from records.models import Collector
from records.store import COLLECTORS, STAMP_RETENTION, SqlRecords
from scrapewatch.problems import ConfigurationError
from scrapewatch.time import HOUR, now_ns
from tests.records.flushes import changes, rows_of, session


def age(engine: Engine, number: int, ns: int) -> None:
    """Let collector ``number`` be last seen ``ns`` ago."""
    with writing(engine) as db:
        db.execute(update(Collector).where(Collector.number == number).values(last_seen=now_ns() - ns))


def use_up(engine: Engine) -> None:
    """Lease all numbers that there are, from 1."""
    rows = [
        {"number": n, "spool_id": f"spool {n}", "leased_at": 0, "last_flush": 9, "last_seen": now_ns()}
        for n in range(1, COLLECTORS)
    ]
    with writing(engine) as db:
        db.execute(insert(Collector), rows)


def test_a_spool_keeps_its_number(records: SqlRecords) -> None:
    assert [records.lease_collector(spool) for spool in ("a", "b", "a", "c", "b")] == [0, 1, 0, 2, 1]


def test_a_spool_that_comes_back_does_not_begin_its_flushes_anew(records: SqlRecords) -> None:
    number = records.lease_collector("a")
    records.apply(number, 7, changes(session()))
    assert records.lease_collector("a") == number
    assert not records.apply(number, 7, changes(session()))


def test_a_new_spool_takes_a_number_only_after_the_points_stamped_with_it_are_gone(
    records: SqlRecords, engine: Engine
) -> None:
    assert records.lease_collector("spool 0") == 0
    use_up(engine)
    age(engine, 40, STAMP_RETENTION - HOUR)
    with pytest.raises(ConfigurationError, match="all 99 collector numbers"):
        records.lease_collector("new")
    age(engine, 40, STAMP_RETENTION + HOUR)
    age(engine, 41, STAMP_RETENTION + 2 * HOUR)
    assert records.lease_collector("new") == 41
    assert records.apply(41, 1, changes(session(add={"jobs_seen": 1}))), (
        "its flushes count from the beginning"
    )
    assert rows_of(engine).one()["jobs_seen"] == 1
    assert records.lease_collector("spool 41") == 40, "the spool that lost its number gets another"


def test_the_number_of_history_is_never_leased(records: SqlRecords, engine: Engine) -> None:
    records.apply(99, 1, changes(session()))
    records.lease_collector("spool 0")
    use_up(engine)
    age(engine, 99, 2 * STAMP_RETENTION)
    with pytest.raises(ConfigurationError):
        records.lease_collector("new")


def test_a_flush_keeps_the_number_of_its_collector_in_use(records: SqlRecords, engine: Engine) -> None:
    assert records.lease_collector("spool 0") == 0
    use_up(engine)
    age(engine, 0, STAMP_RETENTION + HOUR)
    records.apply(0, 1, changes(session()))
    with pytest.raises(ConfigurationError):
        records.lease_collector("new")


def test_spools_that_come_at_once_get_a_number_each(records: SqlRecords) -> None:
    numbers: list[int] = []
    start = threading.Barrier(8)

    def lease(spool: str) -> None:
        start.wait()
        numbers.append(records.lease_collector(spool))

    threads = [threading.Thread(target=lease, args=(f"spool {k}",)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(8))


def test_one_holds_a_lease_until_it_lets_go_or_is_silent(records: SqlRecords) -> None:
    assert records.hold_lease("roller", "a", 60)
    assert records.hold_lease("roller", "a", 60)
    assert not records.hold_lease("roller", "b", 60)
    assert records.hold_lease("watch", "b", 60), "another lease"
    assert records.hold_lease("roller", "a", 0)
    assert records.hold_lease("roller", "b", 60)
    assert not records.hold_lease("roller", "a", 60)
