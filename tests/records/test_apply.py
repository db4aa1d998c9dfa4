"""What flushes leave in the records, on every database."""

from __future__ import annotations

import itertools
import threading
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from records.store import SqlRecords
from scrapewatch.measurements import Tier
from scrapewatch.ports import RecordChanges, RowChange
from scrapewatch.time import MINUTE, to_datetime
from tests.records.flushes import NOON, Rows, at, changes, error, execution, finished, rows_of, session

_tenants = (f"tenant {number}" for number in itertools.count())
_numbers = itertools.count(1)

PROPERTY = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def test_a_flush_makes_its_rows(records: SqlRecords, engine: Engine) -> None:
    assert records.apply(
        0,
        1,
        changes(
            session(
                state="running",
                add={"jobs_seen": 3, "pages_processed": 2},
                latest={"source": [at(0), "scrapy"], "search_term": [at(0), "python"]},
                union={"sites": ["indeed", "linkedin"]},
            ),
            execution(
                add={"jobs_scraped": 3, "page_load_sum": 0.5, "page_load_count": 2},
                least={"started_at": at(0)},
            ),
            error("timeout", 2),
            RowChange(
                "job_postings",
                {"fingerprint": "f"},
                add={"times_seen": 1},
                least={"first_seen": at(1)},
                most={"last_seen": at(1)},
                latest={
                    "title": [at(1), "Engineer"],
                    "skills": [at(1), ["Go", "SQL"]],
                    "posted_at": [at(1), at(-60)],
                },
            ),
        ),
    )
    rows = rows_of(engine)
    one = rows.one()
    assert (one["status"], one["source"], one["search_term"]) == ("running", "scrapy", "python")
    assert (one["total_jobs_found"], one["total_pages"], one["events"]) == (3, 2, 1)
    assert one["sites"] == ["indeed", "linkedin"]
    assert one["started_at"] == one["begun_at"] == to_datetime(NOON)
    assert one["total_sites"] == 2
    assert one["verdict"] is None
    assert rows.one("site_executions")["page_load_sum"] == 0.5
    assert rows.one("error_groups")["count"] == 2
    posting = rows.one("job_postings")
    assert (posting["title"], posting["skills"], posting["times_seen"]) == ("Engineer", ["Go", "SQL"], 1)
    assert posting["posted_at"] == to_datetime(at(-60))


def test_a_replayed_flush_changes_nothing(records: SqlRecords, engine: Engine) -> None:
    flush = changes(session(add={"jobs_seen": 3}))
    assert records.apply(0, 5, flush)
    before = rows_of(engine)
    assert not records.apply(0, 5, flush)
    assert not records.apply(0, 4, flush)
    assert rows_of(engine) == before


def test_each_collector_counts_its_own_flushes(records: SqlRecords, engine: Engine) -> None:
    for collector in (3, 7):
        assert records.apply(collector, 1, changes(session(add={"jobs_seen": 2})))
    assert rows_of(engine).one()["jobs_seen"] == 4


def test_a_flush_that_fails_leaves_nothing_behind(records: SqlRecords, engine: Engine) -> None:
    broken = RowChange("scrape_sessions", {"session_id": "s1"}, latest={"source": []})
    with pytest.raises(IndexError):
        records.apply(0, 1, changes(session("other"), broken, source="log"))
    assert rows_of(engine).tables["scrape_sessions"] == []
    assert not records.source_applied("t", "log")
    assert records.apply(0, 1, changes(session("other"), source="log"))


def test_a_source_is_applied_once_by_whichever_flush(records: SqlRecords, engine: Engine) -> None:
    assert not records.source_applied("t", "log 1")
    history = changes(session(add={"jobs_seen": 3}), source="log 1")
    twice = [*history, *history]
    assert records.apply(0, 1, twice)
    assert records.source_applied("t", "log 1")
    assert not records.source_applied("other tenant", "log 1")
    assert records.apply(0, 2, history)
    assert records.apply(1, 1, history)
    assert rows_of(engine).one()["jobs_seen"] == 3


def test_tenants_with_the_same_session_id_have_a_session_each(records: SqlRecords, engine: Engine) -> None:
    flush = [
        *changes(session(add={"jobs_seen": 1}), execution(), tenant="a"),
        *changes(session(add={"jobs_seen": 2}), execution(), tenant="b"),
    ]
    records.apply(0, 1, flush)
    assert [rows_of(engine, tenant).one()["jobs_seen"] for tenant in ("a", "b")] == [1, 2]


def test_the_latest_event_wins_and_of_equal_ones_the_last_to_come(
    records: SqlRecords, engine: Engine
) -> None:
    for number, (seconds, source) in enumerate([(5, "a"), (3, "b"), (5, "c"), (4, "d")], start=1):
        records.apply(0, number, changes(session(latest={"source": [at(seconds), source]})))
    assert rows_of(engine).one()["source"] == "c"


def test_what_is_set_once_stays(records: SqlRecords, engine: Engine) -> None:
    records.apply(0, 1, changes(error("timeout")))
    again = RowChange(
        "error_groups",
        error("timeout").key,
        add={"count": 1},
        once={"message": "another"},
        least={"first_seen": at(-5)},
        most={"last_seen": at(1)},
    )
    records.apply(0, 2, changes(again))
    group = rows_of(engine).one("error_groups")
    assert (group["message"], group["count"]) == ("timeout happened", 2)
    assert (group["first_seen"], group["last_seen"]) == (to_datetime(at(-5)), to_datetime(at(2)))


def test_times_are_exact_to_the_microsecond(records: SqlRecords, engine: Engine) -> None:
    records.apply(0, 1, changes(session(seconds=0.123456789)))
    assert rows_of(engine).one()["started_at"] == to_datetime(NOON) + timedelta(microseconds=123456)


def test_what_belongs_to_an_unknown_session_opens_it(records: SqlRecords, engine: Engine) -> None:
    records.apply(
        0, 1, changes(execution("indeed", session_id="unknown"), error("403", session_id="unheard"))
    )
    assert [row["session_id"] for row in rows_of(engine).tables["scrape_sessions"]] == ["unheard", "unknown"]


def test_changes_that_this_version_does_not_know_are_left_out(records: SqlRecords, engine: Engine) -> None:
    odd = session(
        add={"jobs_seen": 2, "not_a_column": 1, "errors_seen": "many"},
        most={"jobs_reported": float("nan")},
        latest={
            "neither": [at(0), 1],
            "max_concurrency": [at(0), "8"],
            "source": [at(0), "a\0b\ud800" + "x" * 200],
        },
    )
    records.apply(0, 1, changes(odd, RowChange("no_such_table", {"id": 1}, add={"n": 1})))
    one = rows_of(engine).one()
    assert (one["jobs_seen"], one["errors_seen"], one["jobs_reported"], one["max_concurrency"]) == (
        2,
        0,
        None,
        8,
    )
    assert one["source"] == "a\ufffdb\ufffd" + "x" * 96


def test_a_number_beyond_64_bits_does_not_stop_the_flushes(records: SqlRecords, engine: Engine) -> None:
    for number in (1, 2):
        records.apply(0, number, changes(session(add={"jobs_seen": 2**62 + 2**61})))
    assert rows_of(engine).one()["jobs_seen"] == 2**63 - 1


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ([(0, "queued")], "queued"),
        ([(0, "queued"), (5, None)], "running"),
        ([(5, None), (9, "queued")], "queued"),
        ([(0, None)], "running"),
        ([(0, "running"), (3, "paused"), (9, None)], "paused"),
        ([(0, "running"), (3, "paused"), (4, "resumed")], "running"),
        ([(0, "running"), (8, "completed"), (9, None)], "completed"),
        ([(8, "completed"), (8, "running")], "completed"),
        ([(0, "running"), (8, "failed"), (9, "running")], "running"),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_status_follows_the_latest_word_in_whatever_order_it_comes(
    records: SqlRecords, engine: Engine, states: list[tuple[float, str | None]], status: str, order: int
) -> None:
    for number, (seconds, state) in enumerate(states[::order], start=1):
        records.apply(0, number, changes(session(seconds=seconds, state=state)))
    assert rows_of(engine).one()["status"] == status


def test_of_two_words_of_the_same_moment_the_last_to_come_counts(records: SqlRecords, engine: Engine) -> None:
    for number, state in enumerate(["failed", "completed", "cancelled"], start=1):
        records.apply(0, number, changes(session(seconds=8, state=state)))
    assert rows_of(engine).one()["status"] == "cancelled"


def test_totals_are_the_greater_of_seen_and_reported(records: SqlRecords, engine: Engine) -> None:
    records.apply(
        0,
        1,
        changes(
            session(state="running", add={"jobs_seen": 7, "pages_processed": 4, "errors_seen": 2}),
            session(
                seconds=60,
                state="completed",
                most={
                    "jobs_reported": 9,
                    "pages_reported": 3,
                    "errors_reported": 2,
                    "duration_reported": 75.5,
                },
            ),
            finished("indeed", add={"pages_processed": 6}),
        ),
    )
    one = rows_of(engine).one()
    assert (one["total_jobs_found"], one["total_pages"], one["errors_count"]) == (9, 6, 2)
    assert one["duration_seconds"] == 75.5
    assert rows_of(engine).one("site_executions")["duration_seconds"] == 60


def test_sites_are_counted_by_their_last_attempt(records: SqlRecords, engine: Engine) -> None:
    retried = execution("b", 2, latest={"success": [at(9), True]})
    records.apply(
        0,
        1,
        changes(
            session(union={"sites": ["a", "b", "c", "d"]}),
            finished("a"),
            finished("b", success=False),
            retried,
            finished("c", success=False),
        ),
    )
    one = rows_of(engine).one()
    assert (one["total_sites"], one["successful_sites"], one["failed_sites"]) == (4, 2, 1)


def test_a_late_event_changes_the_verdict(records: SqlRecords, engine: Engine) -> None:
    records.apply(0, 1, changes(session(state="running"), session(seconds=60, state="completed")))
    assert rows_of(engine).one()["verdict"] == "empty"
    records.apply(0, 2, changes(session(seconds=30, add={"jobs_seen": 12, "pages_processed": 3})))
    one = rows_of(engine).one()
    assert (one["status"], one["verdict"]) == ("completed", "healthy")
    assert one["completed_at"] == to_datetime(at(60))
    records.apply(0, 3, changes(error("403", 3)))
    assert rows_of(engine).one()["verdict"] == "blocked"


# A week of three sessions, in a few words: (session, kind, second, number).
happening = st.tuples(
    st.sampled_from(["s1", "s2", "s3"]),
    st.sampled_from(
        [
            "queued",
            "running",
            "paused",
            "resumed",
            "completed",
            "failed",
            "job",
            "page",
            "end",
            "error",
            "source",
        ]
    ),
    st.integers(0, 20),
    st.integers(0, 5),
)


def changes_of(event: tuple[str, str, int, int]) -> list[RowChange]:
    """The changes of one event; sums are of powers of two, so that their order cannot show."""
    who, kind, second, number = event
    site = f"site {number % 2}"
    if kind == "job":
        return [
            session(who, second, add={"jobs_seen": number}, union={"sites": [site]}),
            execution(site, session_id=who, add={"jobs_scraped": number}, least={"started_at": at(second)}),
        ]
    if kind == "page":
        pages: dict[str, Any] = {"pages_processed": 1, "page_load_sum": 0.25 * number, "page_load_count": 1}
        return [
            session(who, second, add={"pages_processed": 1, "pages_blocked": number % 2}),
            execution(site, 1 + number % 2, session_id=who, add=pages, most={"memory_usage_mb": number}),
        ]
    if kind == "end":
        latest = {"success": [at(second), number > 2], "error_message": [at(second), f"message {number}"]}
        ended = execution(site, session_id=who, most={"completed_at": at(second)}, latest=latest)
        return [session(who, second), ended]
    if kind == "error":
        return [
            session(who, second, add={"errors_seen": number}),
            error(["403", "network"][number % 2], number, site, who),
        ]
    if kind == "source":
        return [session(who, second, latest={"source": [at(second), f"source {number}"]})]
    return [session(who, second, kind, reason=f"reason {number}", most={"jobs_reported": number})]


@PROPERTY
@given(st.lists(happening, max_size=25), st.data())
def test_however_events_are_cut_into_flushes_the_rows_are_the_same(
    records: SqlRecords, events: list[tuple[str, str, int, int]], data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(events)), max_size=6))
    replayed = data.draw(st.sets(st.integers(0, 10)))
    whole, cut = next(_tenants), next(_tenants)
    rows = [change for event in events for change in changes_of(event)]
    records.apply(0, next(_numbers), [RecordChanges(whole, None, rows)])
    edges = [0, *sorted(cuts), len(events)]
    for k, (start, stop) in enumerate(itertools.pairwise(edges)):
        part = [change for event in events[start:stop] for change in changes_of(event)]
        number = next(_numbers)
        assert records.apply(0, number, [RecordChanges(cut, None, part)])
        if k in replayed:
            assert not records.apply(0, number, [RecordChanges(cut, None, part)])
    assert rows_of(records.engine, cut) == rows_of(records.engine, whole)


def in_no_order(rows: Rows) -> dict[str, Any]:
    """``rows`` without what rightly depends on the order in which flushes came: that of the names in ``sites``."""
    plain = {table: [dict(row) for row in found] for table, found in rows.tables.items()}
    for row in plain["scrape_sessions"]:
        row["sites"] = sorted(row["sites"])
    return plain


@PROPERTY
@given(st.lists(happening, max_size=20, unique_by=lambda event: event[2]), st.randoms(use_true_random=False))
def test_late_events_lead_to_the_same_rows_as_punctual_ones(
    records: SqlRecords, events: list[tuple[str, str, int, int]], random: Any
) -> None:
    shuffled = random.sample(events, len(events))
    tenants = next(_tenants), next(_tenants)
    for tenant, order in zip(tenants, (events, shuffled), strict=True):
        for event in order:
            records.apply(0, next(_numbers), [RecordChanges(tenant, None, changes_of(event))])
    punctual, late = (in_no_order(rows_of(records.engine, tenant)) for tenant in tenants)
    assert late == punctual


def test_collectors_that_feed_the_same_sessions_at_once_lose_nothing(records: SqlRecords) -> None:
    stores = [SqlRecords(records.engine.url.render_as_string(hide_password=False)) for _ in range(4)]
    flushes, sessions = 12, [f"s{k}" for k in range(10)]
    failures: list[BaseException] = []
    start = threading.Barrier(len(stores))

    def feed(collector: int, store: SqlRecords) -> None:
        try:
            start.wait()
            for number in range(1, flushes + 1):
                # Each in another order, and never the same set.
                names = sessions[number % 3 :][:: 1 if collector % 2 else -1]
                rows = [
                    change
                    for name in names
                    for change in (
                        session(name, number, add={"jobs_seen": 1}),
                        execution("indeed", session_id=name, add={"jobs_scraped": 1}),
                        error("403", session_id=name),
                        RowChange(
                            "job_postings", {"fingerprint": f"{name} {number % 4}"}, add={"times_seen": 1}
                        ),
                    )
                ]
                sources = [f"log {number} {k}" for k in range(5)][:: 1 if collector % 2 else -1]
                windows = {Tier.FLEET: [at(60 * k) for k in range(number)][:: 1 if collector % 2 else -1]}
                flush = [
                    RecordChanges("t", None, rows, windows),
                    *(RecordChanges("t", s, [session("history", add={"jobs_seen": 1})]) for s in sources),
                ]
                assert store.apply(collector, number, flush)
                store.mark_windows(flush)
        except BaseException as raised:
            failures.append(raised)

    threads = [threading.Thread(target=feed, args=pair) for pair in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.close()
    assert failures == []
    rows = rows_of(records.engine)
    touched = {name: sum(name in sessions[n % 3 :] for n in range(1, flushes + 1)) for name in sessions}
    expected = {name: 4 * count for name, count in touched.items()}
    seen = {row["session_id"]: row["jobs_seen"] for row in rows.tables["scrape_sessions"]}
    assert seen == expected | {"history": 5 * flushes}
    assert {row["session_id"]: row["jobs_scraped"] for row in rows.tables["site_executions"]} == expected
    assert {row["session_id"]: row["count"] for row in rows.tables["error_groups"]} == expected
    assert sum(row["times_seen"] for row in rows.tables["job_postings"]) == sum(expected.values())


def test_dirty_windows_come_oldest_first_and_unsettled_ones_later(records: SqlRecords) -> None:
    hour, minute = Tier.FLEET_1H, Tier.FLEET
    records.mark_windows(changes(windows={minute: [NOON + MINUTE, NOON], hour: [NOON - MINUTE]}, tenant="a"))
    records.mark_windows(changes(windows={minute: [NOON]}, tenant="b"))

    def found(limit: int = 9, **before: int) -> list[tuple[str, Tier, int]]:
        settled = {Tier(name): time for name, time in before.items()}
        return [(w.tenant, w.tier, w.start) for w in records.dirty_windows(limit, settled_before=settled)]

    every = [
        ("a", hour, NOON - MINUTE),
        ("a", minute, NOON),
        ("b", minute, NOON),
        ("a", minute, NOON + MINUTE),
    ]
    assert found() == every
    assert found(2) == every[:2]
    assert found(fleet=NOON + MINUTE) == every[:3]
    assert found(fleet=NOON) == every[:1]
    assert found(fleet_1h=0) == every[1:]


def test_a_window_that_was_marked_anew_stays_dirty(records: SqlRecords) -> None:
    flush = changes(windows={Tier.FLEET: [NOON]})
    records.mark_windows(flush)
    (old,) = records.dirty_windows(9, settled_before={})
    records.mark_windows(flush)
    records.clear_window(old)
    (new,) = records.dirty_windows(9, settled_before={})
    assert new.mark != old.mark
    records.clear_window(new)
    assert records.dirty_windows(9, settled_before={}) == []
    records.mark_windows(flush)
    records.clear_window(new)
    assert len(records.dirty_windows(9, settled_before={})) == 1, (
        "a mark that was cleared does not come again"
    )


def test_windows_are_marked_apart_from_the_flush(records: SqlRecords) -> None:
    flush = changes(session(), windows={Tier.FLEET: [NOON]})
    records.apply(0, 1, flush)
    assert records.dirty_windows(9, settled_before={}) == [], "its points may not be stored yet"
    records.mark_windows(flush)
    assert [window.start for window in records.dirty_windows(9, settled_before={})] == [NOON]


def test_long_sources_stay_apart(records: SqlRecords) -> None:
    records.apply(0, 1, changes(session(), source="x" * 2_000))
    assert records.source_applied("t", "x" * 2_000)
    assert not records.source_applied("t", "x" * 2_001)


def test_a_thousand_sessions_in_one_flush_are_all_there(records: SqlRecords, engine: Engine) -> None:
    rows = [
        change
        for k in range(1_000)
        for change in (session(f"s{k}", add={"jobs_seen": k}), execution(session_id=f"s{k}"))
    ]
    records.apply(0, 1, changes(*rows))
    records.apply(0, 2, changes(*rows))
    found = rows_of(engine)
    assert len(found.tables["site_executions"]) == 1_000
    assert sum(row["jobs_seen"] for row in found.tables["scrape_sessions"]) == 2 * sum(range(1_000))
