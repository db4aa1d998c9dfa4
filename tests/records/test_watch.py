"""Sessions that went silent."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from records.store import SqlRecords
from scrapewatch.time import to_datetime
from tests.records.flushes import at, changes, rows_of, session

STALL, ABANDON = 600.0, 21_600.0


def watch(records: SqlRecords, seconds: float) -> list[str]:
    """The watch looks at so many seconds after noon."""
    return records.watch_sessions(at(seconds), stall_after=STALL, abandon_after=ABANDON)


def test_a_silent_session_is_stalled_once_and_then_given_up(records: SqlRecords, engine: Engine) -> None:
    records.apply(0, 1, changes(session(state="running"), session(seconds=30, add={"jobs_seen": 4})))
    assert watch(records, 629) == []
    assert watch(records, 630) == ["s1"]
    one = rows_of(engine).one()
    assert (one["status"], one["verdict"], one["stalled_at"]) == ("running", "stalled", to_datetime(at(630)))
    assert one["verdict_evidence"][0]["rule"] == "silent"
    assert "12:00:30 UTC" in one["verdict_evidence"][0]["text"]
    assert watch(records, 700) == []
    assert watch(records, 30 + ABANDON) == ["s1"]
    one = rows_of(engine).one()
    assert (one["status"], one["status_reason"], one["closed_by"]) == ("failed", "no event for 6 h", "watch")
    assert one["completed_at"] == to_datetime(at(30))
    assert (one["duration_seconds"], one["verdict"]) == (30, "stalled")
    assert watch(records, 2 * ABANDON) == []


def test_a_newer_event_lifts_a_stall(records: SqlRecords, engine: Engine) -> None:
    records.apply(0, 1, changes(session(state="running")))
    watch(records, STALL)
    records.apply(0, 2, changes(session(seconds=-5)))
    assert rows_of(engine).one()["verdict"] == "stalled", "an older event says nothing about now"
    records.apply(0, 3, changes(session(seconds=STALL + 1)))
    one = rows_of(engine).one()
    assert (one["status"], one["verdict"], one["stalled_at"]) == ("running", None, None)
    assert watch(records, 2 * STALL + 1) == ["s1"]


def test_a_session_that_was_given_up_goes_on_with_a_newer_event(records: SqlRecords, engine: Engine) -> None:
    records.apply(0, 1, changes(session(state="running", reason="by hand")))
    watch(records, ABANDON)
    records.apply(0, 2, changes(session(seconds=-5, add={"jobs_seen": 1})))
    assert rows_of(engine).one()["status"] == "failed"
    records.apply(0, 3, changes(session(seconds=ABANDON + 60)))
    one = rows_of(engine).one()
    assert (one["status"], one["status_reason"], one["closed_by"]) == ("running", "by hand", None)
    assert (one["completed_at"], one["duration_seconds"], one["verdict"]) == (None, None, None)


def test_the_scrapers_own_end_counts_more_than_being_given_up(records: SqlRecords, engine: Engine) -> None:
    records.apply(
        0,
        1,
        changes(session(state="running"), session(seconds=90, add={"jobs_seen": 5, "pages_processed": 2})),
    )
    watch(records, 90 + ABANDON)
    records.apply(0, 2, changes(session(seconds=80, state="completed")))
    one = rows_of(engine).one()
    assert (one["status"], one["closed_by"], one["verdict"]) == ("completed", "scraper", "healthy")
    assert one["completed_at"] == to_datetime(at(80))


@pytest.mark.parametrize("state", ["paused", "queued"])
def test_a_session_that_is_meant_to_wait_is_not_stalled(
    records: SqlRecords, engine: Engine, state: str
) -> None:
    records.apply(0, 1, changes(session(state=state)))
    assert watch(records, ABANDON - 1) == []
    assert rows_of(engine).one()["verdict"] is None
    assert watch(records, ABANDON) == ["s1"]
    assert rows_of(engine).one()["status"] == "failed"


def test_a_session_that_ended_is_left_alone(records: SqlRecords, engine: Engine) -> None:
    records.apply(0, 1, changes(session(state="running"), session(seconds=9, state="completed")))
    before = rows_of(engine)
    assert watch(records, 2 * ABANDON) == []
    assert rows_of(engine) == before


def test_the_watch_gets_through_any_number_of_sessions(records: SqlRecords) -> None:
    names = [f"s{k:04d}" for k in range(1_203)]
    records.apply(0, 1, changes(*(session(name, state="running") for name in names)))
    assert sorted(watch(records, STALL)) == names
    assert watch(records, STALL) == []
