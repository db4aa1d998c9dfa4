"""Records for exports and repeated exports, on every database."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from records import exports
from records.exports import EXPORTED, ExportSchedules, Place, RecordExports, Schedule
from records.store import SqlRecords
from scrapewatch.ports import RowChange
from scrapewatch.problems import Conflict, InvalidInput, NotFound
from scrapewatch.time import to_datetime
from tests.records.flushes import at, changes, error, execution, session

EARLY, LATE = to_datetime(at(-1_000)), to_datetime(at(100_000))


def read(
    records: SqlRecords, name: str, *, tenant: str = "t", start: datetime = EARLY, stop: datetime = LATE
) -> list[dict[str, Any]]:
    """All rows of ``name``, page by page."""
    reader, place = RecordExports(records.engine), None
    names = [column.name for column in EXPORTED[name].columns]
    found: list[dict[str, Any]] = []
    while True:
        rows, after = reader.page(name, tenant, start, stop, place)
        found += [dict(zip(names, row, strict=True)) for row in rows]
        if after is None:
            return found
        assert place is None or after > place
        place = after


def posting(k: int, seconds: float) -> RowChange:
    time = at(seconds)
    return RowChange(
        "job_postings",
        {"fingerprint": f"{k:032x}"},
        add={"times_seen": 1},
        least={"first_seen": time},
        most={"last_seen": time},
        latest={"title": [time, f"title {k}"], "skills": [time, ["a", "b"]], "is_remote": [time, True]},
    )


@pytest.fixture
def filled(records: SqlRecords, monkeypatch: pytest.MonkeyPatch) -> SqlRecords:
    monkeypatch.setattr(exports, "PAGE", 20)
    rows: list[RowChange] = []
    for k in range(50):
        rows += [
            session(f"s{k:02}", k // 7),
            execution("indeed", 1, f"s{k:02}", add={"jobs_scraped": k}),
            execution("linkedin", 1, f"s{k:02}"),
            error("403", k + 1, session_id=f"s{k:02}"),
            posting(k, k // 7),
        ]
    assert records.apply(1, 1, changes(*rows))
    assert records.apply(1, 2, changes(session("other"), posting(99, 0), tenant="another"))
    return records


@pytest.mark.parametrize(("name", "times"), [("sessions", 1), ("site_executions", 2), ("error_groups", 1)])
def test_what_belongs_to_sessions_comes_in_the_order_they_began_and_each_row_once(
    filled: SqlRecords, name: str, times: int
) -> None:
    assert [row["session_id"] for row in read(filled, name)] == [
        f"s{k:02}" for k in range(50) for _ in range(times)
    ]
    some = read(filled, name, start=to_datetime(at(2)), stop=to_datetime(at(4)))
    assert {row["session_id"] for row in some} == {f"s{k:02}" for k in range(14, 28)}
    assert len(read(filled, name, tenant="another")) == (name == "sessions")


def test_postings_come_in_the_order_they_were_first_seen(filled: SqlRecords) -> None:
    rows = read(filled, "postings")
    assert [row["title"] for row in rows] == [f"title {k}" for k in range(50)]
    assert (rows[0]["skills"], rows[0]["is_remote"], rows[0]["first_seen"]) == (
        *(["a", "b"], True),
        to_datetime(at(0)),
    )
    assert [row["title"] for row in read(filled, "postings", tenant="another")] == ["title 99"]


def test_a_page_names_its_place_so_that_what_comes_meanwhile_neither_repeats_nor_hides_a_row(
    filled: SqlRecords,
) -> None:
    reader = RecordExports(filled.engine)
    place: Place | None = None
    seen: list[str] = []
    for number in range(3):
        rows, place = reader.page("postings", "t", EARLY, LATE, place)
        seen += [row[3] for row in rows]
        assert filled.apply(1, 3 + number, changes(posting(100 + number, -5), posting(0, 50)))
    assert seen == [f"title {k}" for k in range(50)]


SCHEDULE = Schedule(
    "t", "daily", "csv", "24h", "24h", ["throughput"], 3, created_at=EARLY, next_run_at=EARLY + timedelta(1)
)


def test_schedules_are_made_listed_by_name_and_deleted(records: SqlRecords) -> None:
    schedules = ExportSchedules(records.engine)
    for schedule in (SCHEDULE, replace(SCHEDULE, name="b"), replace(SCHEDULE, tenant="another")):
        schedules.create(schedule)
    with pytest.raises(Conflict):
        schedules.create(SCHEDULE)
    assert schedules.of_tenant("t") == [replace(SCHEDULE, name="b"), SCHEDULE]
    assert schedules.of_tenant("t", after="b") == [SCHEDULE]
    schedules.delete("t", "daily")
    with pytest.raises(NotFound):
        schedules.delete("t", "daily")
    assert [s.name for s in schedules.of_tenant("t")] == ["b"]
    assert [s.name for s in schedules.of_tenant("another")] == ["daily"]


def test_a_tenant_has_so_many_schedules_and_no_more(
    records: SqlRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MOST_SCHEDULES", 2)
    schedules = ExportSchedules(records.engine)
    for name in ("a", "b"):
        schedules.create(replace(SCHEDULE, name=name))
    with pytest.raises(InvalidInput, match="delete one first"):
        schedules.create(replace(SCHEDULE, name="c"))
    schedules.create(replace(SCHEDULE, name="c", tenant="another"))


def test_what_is_due_comes_the_longest_due_first_until_it_ran(records: SqlRecords) -> None:
    schedules = ExportSchedules(records.engine)
    first, later = SCHEDULE, replace(SCHEDULE, tenant="another", next_run_at=EARLY + timedelta(2))
    for schedule in (later, first):
        schedules.create(schedule)
    assert schedules.due(EARLY) == []
    assert schedules.due(EARLY + timedelta(1)) == [first]
    assert schedules.due(EARLY + timedelta(2)) == [first, later]
    schedules.failed(first, "the disk is full", next_run_at=first.next_run_at)
    assert schedules.due(LATE + timedelta(9))[0] == replace(first, last_error="the disk is full")
    following = EARLY + timedelta(3)
    schedules.ran(first, LATE, file="t/daily/x.csv", next_run_at=following)
    assert schedules.of_tenant("t") == [
        replace(first, last_run_at=LATE, next_run_at=following, last_file="t/daily/x.csv")
    ]
    assert schedules.due(EARLY + timedelta(2)) == [later]


def test_what_is_said_of_a_schedule_that_was_deleted_meanwhile_is_not_said_of_its_successor(
    records: SqlRecords,
) -> None:
    schedules = ExportSchedules(records.engine)
    schedules.create(SCHEDULE)
    schedules.delete("t", "daily")
    successor = replace(SCHEDULE, created_at=LATE)
    schedules.create(successor)
    schedules.failed(SCHEDULE, "too late", next_run_at=None)
    assert schedules.of_tenant("t") == [successor]
