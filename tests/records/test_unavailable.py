"""A database that does not answer, or is not set up."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from records.engine import make_engine, reading
from records.migrate import downgrade, upgrade
from records.queries import RecordQueries
from records.store import SqlRecords
from scrapewatch.measurements import Tier
from scrapewatch.ports import DirtyWindow, RecordStore
from scrapewatch.problems import ConfigurationError, StoreUnavailable
from tests.new_records import migrated
from tests.postgres import Postgres
from tests.records.flushes import changes, rows_of, session

CALLS: dict[str, Callable[[SqlRecords], object]] = {
    "lease_collector": lambda records: records.lease_collector("a"),
    "apply": lambda records: records.apply(0, 1, changes(session())),
    "source_applied": lambda records: records.source_applied("t", "log"),
    "dirty_windows": lambda records: records.dirty_windows(9, settled_before={}),
    "clear_window": lambda records: records.clear_window(DirtyWindow("t", Tier.FLEET, 0, 1)),
    "hold_lease": lambda records: records.hold_lease("roller", "a", 9),
    "watch_sessions": lambda records: records.watch_sessions(0, stall_after=1, abandon_after=2),
    "ping": lambda records: RecordQueries(records.engine).ping(),
    "sessions": lambda records: RecordQueries(records.engine).sessions("t"),
    "session": lambda records: RecordQueries(records.engine).session("t", "s1"),
    "counts": lambda records: RecordQueries(records.engine).counts("t"),
}


def test_a_store_is_the_port(records: SqlRecords) -> None:
    port: RecordStore = records
    assert port.ready() is None


@pytest.mark.parametrize("call", CALLS)
def test_every_call_says_that_nothing_answers(call: str) -> None:
    records = SqlRecords("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(StoreUnavailable, match="do not answer"):
        CALLS[call](records)
    records.close()


@pytest.mark.parametrize("call", CALLS)
def test_a_file_that_is_no_database_is_unavailable_and_left_as_it_is(call: str, tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    path.write_bytes(b"something else entirely, " * 100)
    records = SqlRecords(f"sqlite:///{path}")
    with pytest.raises(StoreUnavailable):
        CALLS[call](records)
    assert "DATABASE_URL" in str(records.ready())
    records.close()
    assert path.read_bytes() == b"something else entirely, " * 100


def test_a_writer_waits_for_another_and_then_says_so(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    path.write_bytes(migrated())
    impatient, patient = (SqlRecords(f"sqlite:///{path}?timeout={seconds}") for seconds in (0.05, 30))
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        impatient.apply(0, 1, changes(session()))
    assert rows_of(impatient.engine).tables["scrape_sessions"] == [], "who only reads need not wait"
    threading.Timer(0.2, lambda: other.execute("COMMIT")).start()
    assert patient.apply(0, 1, changes(session()))
    for store in (impatient, patient):
        store.close()
    other.close()


def test_a_restart_of_postgresql_is_survived(postgres: Postgres, migrated_postgres: str) -> None:
    url = postgres.database(migrated_postgres)
    records = SqlRecords(url)
    assert records.apply(0, 1, changes(session(add={"jobs_seen": 1})))
    postgres.disconnect(url)
    assert records.apply(0, 2, changes(session(add={"jobs_seen": 1}))), "a broken connection is replaced"
    postgres.stop()
    try:
        with pytest.raises(StoreUnavailable):
            records.apply(0, 3, changes(session(add={"jobs_seen": 1})))
        assert "see that the database runs" in str(records.ready())
    finally:
        postgres.restart()
    assert records.ready() is None
    assert records.apply(0, 3, changes(session(add={"jobs_seen": 1})))
    assert rows_of(records.engine).one()["jobs_seen"] == 3
    records.close()


def test_a_connection_lost_in_the_middle_leaves_nothing_behind(
    postgres: Postgres, migrated_postgres: str
) -> None:
    url = postgres.database(migrated_postgres)
    engine = make_engine(url)
    with pytest.raises(StoreUnavailable), reading(engine) as db:
        db.exec_driver_sql("SELECT 1")
        postgres.disconnect(url)
        db.exec_driver_sql("SELECT 1")
    RecordQueries(engine).ping()
    engine.dispose()


def test_tables_that_are_not_up_to_date_are_not_ready(empty_url: str) -> None:
    records = SqlRecords(empty_url)
    assert "revision none" in str(records.ready())
    upgrade(records.engine)
    assert records.ready() is None
    downgrade(records.engine, "0001")
    assert "revision 0001" in str(records.ready())
    records.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://root@localhost/x", "begins with mysql"),
        ("sqlite://", "need a file"),
        ("sqlite:///:memory:", "need a file"),
        ("no url, but a secret", "is not a URL"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_being_shown(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as raised:
        make_engine(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg2"])
def test_postgresql_is_always_reached_by_psycopg_3(scheme: str) -> None:
    assert make_engine(f"{scheme}://u:p@localhost/x").url.drivername == "postgresql+psycopg"
