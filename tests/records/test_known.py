"""What is remembered of sessions between flushes never shows, but in the time that a flush takes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, update

from records import known
from records.engine import writing
from records.models import ScrapeSession, SiteExecution
from records.store import SqlRecords
from scrapewatch.ports import RecordChanges, RowChange
from scrapewatch.problems import StoreUnavailable
from tests.records.flushes import at, changes, error, execution, rows_of, session
from tests.records.test_apply import PROPERTY, changes_of, happening

_tenants = (f"known {number}" for number in itertools.count())
_numbers = itertools.count(1_000)


@pytest.fixture
def other(records: SqlRecords) -> Iterator[SqlRecords]:
    """Another collector on the database of ``records``."""
    store = SqlRecords(records.engine.url.render_as_string(hide_password=False))
    yield store
    store.close()


@PROPERTY
@given(st.lists(st.tuples(happening, st.booleans(), st.booleans()), max_size=20))
def test_two_collectors_in_turn_leave_the_rows_of_one(
    records: SqlRecords, other: SqlRecords, events: list[tuple[tuple[str, str, int, int], bool, bool]]
) -> None:
    alone, together = next(_tenants), next(_tenants)
    for event, elsewhere, forgetful in events:
        number = next(_numbers)
        if forgetful:
            records._known.forget_all()
        records.apply(0, number, [RecordChanges(alone, None, changes_of(event))])
        store = other if elsewhere else records
        store.apply(2 if elsewhere else 1, number, [RecordChanges(together, None, changes_of(event))])
    assert rows_of(records.engine, together) == rows_of(records.engine, alone)


def test_a_change_below_a_session_that_itself_stays_is_seen_by_another_collector(
    records: SqlRecords, other: SqlRecords, engine: Engine
) -> None:
    flush = changes(execution(add={"page_load_sum": 0.5}))
    for number in (1, 2, 3):
        for collector, store in enumerate((records, other)):
            store.apply(collector, number, flush)
    assert rows_of(engine).one("site_executions")["page_load_sum"] == 3.0


def test_a_flush_that_fails_half_way_leaves_no_trace_in_the_next(records: SqlRecords, engine: Engine) -> None:
    for number in (-1, 0, 1):  # a session is remembered once its executions are all there
        records.apply(0, number, changes(session(add={"jobs_seen": 1}), execution(add={"jobs_scraped": 1})))
    broken = RowChange("scrape_sessions", {"session_id": "s2"}, latest={"source": []})
    with pytest.raises(IndexError):
        records.apply(
            0, 2, changes(session(add={"jobs_seen": 5}), execution(add={"jobs_scraped": 5}), broken)
        )
    records.apply(0, 2, changes(session(add={"jobs_seen": 2}), execution(add={"jobs_scraped": 2})))
    rows = rows_of(engine)
    assert (rows.one()["jobs_seen"], rows.one("site_executions")["jobs_scraped"]) == (5, 5)


def test_a_session_that_was_deleted_meanwhile_begins_anew(records: SqlRecords, engine: Engine) -> None:
    flush = changes(session(add={"jobs_seen": 2}), execution(add={"jobs_scraped": 2}))
    for number in (-1, 0, 1):
        records.apply(0, number, flush)
    with writing(engine) as db:
        db.execute(delete(ScrapeSession))
    with pytest.raises(StoreUnavailable, match="deleted"):
        records.apply(0, 2, flush)
    assert records.apply(0, 2, flush)
    assert rows_of(engine).one()["jobs_seen"] == 2


def test_what_others_write_to_a_session_is_kept(records: SqlRecords, engine: Engine) -> None:
    flush = changes(session(add={"jobs_seen": 2}), execution(add={"jobs_scraped": 2}))
    for number in (-1, 0, 1):
        records.apply(0, number, flush)
    with writing(engine) as db:
        db.execute(update(SiteExecution).values(jobs_scraped=100))
        db.execute(update(ScrapeSession).values(jobs_seen=100))
    records.apply(0, 2, flush)
    rows = rows_of(engine)
    assert (rows.one()["jobs_seen"], rows.one("site_executions")["jobs_scraped"]) == (102, 102)


def test_more_sessions_than_are_remembered_all_count(
    new_records: Callable[[], SqlRecords], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "MOST_ROWS", 7)
    records = new_records()
    names = [f"s{k}" for k in range(10)]
    for number in (1, 2, 3):
        rows = [
            change
            for name in names[number:]
            for change in (
                session(name, number, add={"jobs_seen": 1}),
                execution(session_id=name, add={"jobs_scraped": number}),
                error("403", session_id=name),
            )
        ]
        records.apply(0, number, changes(*rows))
    found = rows_of(records.engine)
    assert [row["jobs_seen"] for row in found.tables["scrape_sessions"]] == [1, 2, *[3] * 7]
    assert [row["jobs_scraped"] for row in found.tables["site_executions"]] == [1, 3, *[6] * 7]


def test_a_session_the_watch_gave_up_is_taken_up_again_by_the_next_event(
    records: SqlRecords, engine: Engine
) -> None:
    records.apply(0, 1, changes(session(seconds=0)))
    records.apply(0, 2, changes(session(seconds=1)))
    assert records.watch_sessions(at(100), stall_after=10, abandon_after=50) == ["s1"]
    assert rows_of(engine).one()["closed_by"] == "watch"
    records.apply(0, 3, changes(session(seconds=101)))
    one = rows_of(engine).one()
    assert (one["status"], one["closed_by"], one["stalled_at"], one["events"]) == ("running", None, None, 3)
