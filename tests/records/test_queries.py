"""What the API is told."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from records.queries import Counts, RecordQueries
from records.store import SqlRecords
from scrapewatch.ports import RowChange
from scrapewatch.problems import InvalidInput, NotFound
from scrapewatch.time import now_ns, to_datetime
from tests.records.flushes import at, changes, error, execution, finished, session


@pytest.fixture
def queries(records: SqlRecords) -> RecordQueries:
    return RecordQueries(records.engine)


def names(queries: RecordQueries, **parameters: object) -> list[str]:
    return [item.session_id for item in queries.sessions("t", **parameters).items]  # type: ignore[arg-type]


def test_sessions_come_newest_first_in_pages_that_new_ones_do_not_shift(
    records: SqlRecords, queries: RecordQueries
) -> None:
    # Pairs that began at the same time.
    records.apply(0, 1, changes(*(session(f"s{k}", seconds=k // 2) for k in range(7))))
    page = queries.sessions("t", limit=3)
    assert [item.session_id for item in page.items] == ["s6", "s5", "s4"]
    records.apply(0, 2, changes(session("new", seconds=100), session("old", seconds=-100)))
    page = queries.sessions("t", limit=3, cursor=page.next_cursor)
    assert [item.session_id for item in page.items] == ["s3", "s2", "s1"]
    page = queries.sessions("t", limit=3, cursor=page.next_cursor)
    assert [item.session_id for item in page.items] == ["s0", "old"]
    assert page.next_cursor is None


def test_a_last_page_that_is_full_has_no_next(records: SqlRecords, queries: RecordQueries) -> None:
    records.apply(0, 1, changes(session("a"), session("b", 1)))
    assert queries.sessions("t", limit=2).next_cursor is None


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 5))
def test_the_pages_of_any_size_hold_each_session_once(
    records: SqlRecords, queries: RecordQueries, starts: list[int], limit: int
) -> None:
    tenant = f"tenant {now_ns()}"
    number = now_ns()
    rows = [session(f"s{k}", seconds) for k, seconds in enumerate(starts)]
    records.apply(0, number, changes(*rows, tenant=tenant))
    found, cursor = [], None
    while True:
        page = queries.sessions(tenant, limit=limit, cursor=cursor)
        assert len(page.items) <= limit
        found += page.items
        if (cursor := page.next_cursor) is None:
            break
    assert sorted(item.session_id for item in found) == sorted(f"s{k}" for k in range(len(starts)))
    assert [item.begun_at for item in found] == sorted((item.begun_at for item in found), reverse=True)


def test_sessions_are_found_by_what_they_are(records: SqlRecords, queries: RecordQueries) -> None:
    records.apply(
        0,
        1,
        changes(
            session("declares", 1, union={"sites": ["indeed", "a'b%"]}, latest={"source": [at(0), "scrapy"]}),
            session("visits", 2, latest={"search_term": [at(0), "python"], "source": [at(0), "node"]}),
            execution("indeed", session_id="visits"),
            session("ended", 3, state="completed"),
        ),
    )
    assert names(queries) == ["ended", "visits", "declares"]
    assert names(queries, site="indeed") == ["visits", "declares"]
    assert names(queries, site="a'b%") == ["declares"]
    assert names(queries, site="inde") == []
    assert names(queries, source="scrapy") == ["declares"]
    assert names(queries, search_term="python", source="node", site="indeed") == ["visits"]
    assert names(queries, status="completed") == ["ended"]
    assert names(queries, status="running") == ["visits", "declares"]


HOSTILE = ["' OR 1=1 --", "%", "\\", '"] OR 1', "a\0b", "\ud800", "x" * 5_000, "$.a", "{}", "🦆"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_only_text(records: SqlRecords, queries: RecordQueries, text: str) -> None:
    records.apply(0, 1, changes(session(union={"sites": ["indeed"]}), execution()))
    for parameter in ("site", "search_term", "source"):
        assert names(queries, **{parameter: text}) == []
    assert queries.sessions(text).items == []
    for tenant, session_id in (("t", text), (text, "s1")):
        with pytest.raises(NotFound):
            queries.session(tenant, session_id)
    assert queries.active_sessions(text) == []
    assert queries.last_event_at(text) is None


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "nonsense",
        "💥",
        "a" * 10_000,
        *(
            base64.urlsafe_b64encode(json.dumps(value).encode()).decode()
            for value in (
                [1],
                [1, 2, 3],
                ["a", 1],
                [True, 1],
                [10**30, 1],
                [1, 10**30],
                {"a": 1},
                None,
                [1.5, 2],
            )
        ),
        base64.urlsafe_b64encode(b"[" * 7_000).decode(),
    ],
)
def test_a_cursor_that_no_list_gave_out_is_refused(queries: RecordQueries, cursor: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        queries.sessions("t", cursor=cursor)
    assert raised.value.field == "cursor"


def test_values_that_cannot_be_are_refused(queries: RecordQueries) -> None:
    for parameters in ({"status": "done"}, {"limit": 0}, {"limit": 1_001}):
        with pytest.raises(InvalidInput):
            queries.sessions("t", **parameters)


def test_another_tenants_session_does_not_exist(records: SqlRecords, queries: RecordQueries) -> None:
    records.apply(0, 1, changes(session(), execution(), error("403"), tenant="other"))
    with pytest.raises(NotFound):
        queries.session("t", "s1")
    assert names(queries) == names(queries, site="indeed") == []
    assert queries.active_sessions("t") == []
    assert queries.breakers("t") == []
    assert queries.counts("t").active == 0
    assert queries.last_event_at("t") is None


def test_a_session_has_nothing_of_another_tenants_session_with_its_id(
    records: SqlRecords, queries: RecordQueries
) -> None:
    told = execution(latest={"circuit_breaker_state": [at(1), "open"]})
    theirs = changes(session(seconds=9), told, error("403"), tenant="other")
    records.apply(0, 1, [*changes(session()), *theirs])
    detail = queries.session("t", "s1")
    assert (detail.executions, detail.breakers, detail.errors) == ([], [], [])
    assert names(queries, site="indeed") == []
    assert queries.breakers("t") == []
    assert queries.last_event_at("t") == to_datetime(at(0))


def test_a_session_comes_with_all_that_is_known_of_it(records: SqlRecords, queries: RecordQueries) -> None:
    breaker = {"circuit_breaker_state": [at(5), "open"], "circuit_breaker_failures": [at(5), 4]}
    records.apply(
        0,
        1,
        changes(
            session(state="running", add={"jobs_seen": 3, "pages_processed": 4}),
            session(seconds=90, state="completed", most={"jobs_reported": 8}),
            finished(
                "indeed",
                add={"jobs_scraped": 2, "pages_processed": 4, "page_load_sum": 3.0, "page_load_count": 4},
                latest={"circuit_breaker_state": [at(4), "closed"]},
            ),
            execution("linkedin", 1, latest={"circuit_breaker_state": [at(1), "half_open"]}),
            execution("linkedin", 2, latest=breaker, most={"jobs_reported": 6, "memory_usage_mb": 512.5}),
            error("timeout", 2),
            error("captcha", 5, "linkedin"),
        ),
    )
    detail = queries.session("t", "s1")
    assert (detail.session.total_jobs_found, detail.session.duration_seconds) == (8, 90)
    assert detail.session.verdict == "blocked"
    assert detail.evidence[0]["rule"] == "block_share"
    assert [(e.site_name, e.attempt_number, e.jobs_scraped) for e in detail.executions] == [
        ("indeed", 1, 2),
        ("linkedin", 1, 0),
        ("linkedin", 2, 6),
    ]
    assert [e.avg_page_load_time for e in detail.executions] == [0.75, None, None]
    assert [(b.site_name, b.state, b.failures, b.at) for b in detail.breakers] == [
        ("indeed", "closed", None, to_datetime(at(4))),
        ("linkedin", "open", 4, to_datetime(at(5))),
    ]
    assert [(e.type, e.count) for e in detail.errors] == [("captcha", 5), ("timeout", 2)]


def test_breakers_are_those_of_running_sessions_by_the_latest_word(
    records: SqlRecords, queries: RecordQueries
) -> None:
    def told(who: str, seconds: float, state: str, site: str = "indeed") -> list[RowChange]:
        latest = {"circuit_breaker_state": [at(seconds), state]}
        return [session(who, seconds), execution(site, session_id=who, latest=latest)]

    rows = [
        *told("a", 1, "open"),
        *told("b", 2, "half_open"),
        *told("c", 9, "closed"),
        *told("a", 3, "open", "x"),
    ]
    records.apply(0, 1, changes(*rows, session("c", 10, state="completed")))
    assert [(b.site_name, b.state, b.session_id) for b in queries.breakers("t")] == [
        ("indeed", "half_open", "b"),
        ("x", "open", "a"),
    ]


def test_sessions_are_counted_by_state_and_ended_ones_for_a_day(
    records: SqlRecords, queries: RecordQueries
) -> None:
    today = (now_ns() - at(0)) / 1e9
    records.apply(
        0,
        1,
        changes(
            session("queued", state="queued"),
            session("running", state="running"),
            session("silent", state="running"),
            session("paused", state="paused"),
            session("long ago", state="completed"),
            session("done", today, state="completed"),
            session("broken", today, state="failed"),
        ),
    )
    assert queries.counts("t") == Counts(1, 2, 1, 0, 1, 1, 0)
    assert queries.counts("t").active == 4
    records.apply(0, 2, changes(session("running", 3_000)))
    records.watch_sessions(at(3_100), stall_after=600, abandon_after=21_600)
    assert queries.counts("t").stalled == 1
    assert {item.session_id for item in queries.active_sessions("t")} == {
        "queued",
        "running",
        "silent",
        "paused",
    }
    assert queries.last_event_at("t") == to_datetime(at(today))


def test_there_is_nothing_before_the_first_event(queries: RecordQueries) -> None:
    assert queries.sessions("t").items == []
    assert queries.counts("t") == Counts(0, 0, 0, 0, 0, 0, 0)
    assert queries.last_event_at("t") is None
    queries.ping()
