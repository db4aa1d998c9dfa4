from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.fingerprints import error_fingerprint, error_tag
from collector.fold import FLUSH_SPACE, Folded, Memory, fold, tiers_of
from scrapewatch import histogram
from scrapewatch.measurements import BREAKER_STATES, LIVE_AGE, MEASUREMENTS, Tier
from scrapewatch.ports import RowChange
from scrapewatch.time import DAY, HOUR, MINUTE, SECOND
from tests.collector.events import (
    NOW,
    counted,
    event,
    expected,
    points,
    request,
    split,
    sums,
)

many = st.lists(counted, max_size=60)
cuts = st.lists(st.integers(0, 60), max_size=5)


def fold_all(parts: list[list[dict[str, Any]]], *, collector_no: int = 3, first: int = 1) -> list[Folded]:
    """One flush a part, the memory carried from each to the next."""
    memory: Memory = {}
    out = []
    for number, part in enumerate(parts, start=first):
        folded = fold([request(part)], memory, collector_no=collector_no, number=number)
        memory |= folded.memory
        out.append(folded)
    return out


def without_histogram(found: Any) -> Any:
    return type(found)({key: n for key, n in found.items() if key[2] not in histogram.FIELDS})


@settings(deadline=None, max_examples=150)
@given(many, cuts)
def test_the_sum_of_the_folded_is_the_sum_of_the_events_however_they_are_cut(
    events: list[dict[str, Any]], where: list[int]
) -> None:
    flushes = fold_all(split(events, where))
    for tier in (Tier.FLEET, Tier.SESSIONS):
        stored: dict[tuple[Any, ...], dict[str, Any]] = {}
        for folded in flushes:
            for point in points(folded, tier):
                # As a store does it: the same series and time overwrite.
                key = (point.measurement, tuple(sorted(point.tags.items())), point.time)
                assert key not in stored, "two flushes wrote the same point"
                stored[key] = dict(point.fields)
        found = sums(point for folded in flushes for point in points(folded, tier))
        assert without_histogram(found) == expected(events)
    assert sum(folded.events for folded in flushes) == len(events)


@settings(deadline=None, max_examples=50)
@given(many)
def test_each_event_is_counted_at_exactly_one_line(events: list[dict[str, Any]]) -> None:
    folded = fold([request(events)], {}, collector_no=0, number=1)
    assert sum(sum(batch.events) for batch in folded.batches) == len(events)


@settings(deadline=None, max_examples=50)
@given(many, st.integers(0, 98), st.integers(1, 10**9))
def test_a_replay_folds_to_the_same_bytes(
    events: list[dict[str, Any]], collector_no: int, number: int
) -> None:
    once = fold([request(events)], {}, collector_no=collector_no, number=number)
    again = fold([request(events)], {}, collector_no=collector_no, number=number)
    assert orjson.dumps(once.batches) == orjson.dumps(again.batches)
    assert once.changes == again.changes


@settings(deadline=None, max_examples=50)
@given(many)
def test_the_sums_of_the_record_changes_are_the_sums_of_the_events(events: list[dict[str, Any]]) -> None:
    folded = fold([request(events)], {}, collector_no=0, number=1)
    added: dict[str, float] = {}
    for changes in folded.changes:
        for row in changes.rows:
            if row.table == "scrape_sessions":
                for name, n in row.add.items():
                    added[name] = added.get(name, 0) + n
    want = expected(events)

    def total(measurement: str, field: str) -> int:
        return sum(n for key, n in want.items() if key[0] == measurement and key[2] == field)

    assert added.get("jobs_seen", 0) == total("jobs", "scraped")
    assert added.get("total_jobs_saved", 0) == total("jobs", "saved")
    assert added.get("pages_processed", 0) == total("pages", "count")
    assert added.get("pages_blocked", 0) == total("pages", "blocked")
    assert added.get("errors_seen", 0) == total("errors", "count")
    assert added.get("events", 0) == len(events)


@settings(deadline=None, max_examples=50)
@given(many, many)
def test_history_under_a_key_folds_to_the_same_points_whatever_comes_with_it(
    history: list[dict[str, Any]], others: list[dict[str, Any]]
) -> None:
    alone = fold([request(history, source="k")], {}, collector_no=1, number=1)
    among = fold(
        [request(others), request(history, source="k"), request(others, source="other")],
        {("default", "s1"): {"indeed": [4, 2, NOW]}},
        collector_no=7,
        number=12,
    )
    for tier in Tier:
        own = points(alone, tier)
        found = points(among, tier)
        assert all(point in found for point in own)
    assert [c for c in among.changes if c.source == "k"] == [c for c in alone.changes if c.source == "k"]


gauges = st.lists(
    st.builds(
        lambda metric, value, site, time, session: event(
            metric,
            {"site": site, "depth": value}
            if metric == "queue"
            else {"site": site, "state": ("closed", "half_open", "open")[value % 3], "failures": value},
            time=time,
            session=session,
        ),
        st.sampled_from(("queue", "circuit_breaker")),
        st.integers(0, 100),
        st.sampled_from(("a", "x,y=z")),
        # Few times, so that events meet at one.
        st.sampled_from([NOW - k * SECOND // 3 for k in range(7)] + [NOW - DAY]),
        st.sampled_from(("s1", "s2")),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=150)
@given(gauges, cuts)
def test_the_latest_gauge_and_state_of_each_second_win_however_the_events_are_cut(
    events: list[dict[str, Any]], where: list[int]
) -> None:
    fields = {"queue": "depth", "circuit_breaker": "state"}
    stored: dict[tuple[str, str, str, int], dict[str, Any]] = {}
    for folded in fold_all(split(events, where)):
        for point in points(folded, Tier.SESSIONS):
            key = (point.measurement, point.tags["session_id"], point.tags["site"], point.time)
            stored.setdefault(key, {}).update(point.fields)  # as a store does it
    latest: dict[tuple[str, str, str, int], tuple[int, int]] = {}
    for e in events:
        measurement = "queue" if e["metric"] == "queue" else "breakers"
        series = (measurement, e["session_id"], e["value"]["site"], e["time"] // SECOND)
        value = e["value"][fields[e["metric"]]]
        number = BREAKER_STATES[value] if measurement == "breakers" else value
        if series not in latest or e["time"] >= latest[series][0]:
            latest[series] = (e["time"], number)
    for (measurement, session, site, _), (time, number) in latest.items():
        field = "depth" if measurement == "queue" else "state"
        assert stored[(measurement, session, site, time)][field] == number


@settings(deadline=None, max_examples=50)
@given(gauges, cuts)
def test_a_replay_of_gauges_and_states_overwrites_itself(
    events: list[dict[str, Any]], where: list[int]
) -> None:
    def store(times: int) -> dict[Any, dict[str, Any]]:
        found: dict[Any, dict[str, Any]] = {}
        for folded in fold_all(split(events, where)):
            for _ in range(times):
                for point in points(folded, Tier.FLEET):
                    key = (point.measurement, tuple(point.tags.items()), point.time)
                    found.setdefault(key, {}).update(point.fields)
        return found

    assert store(1) == store(3)


def test_a_thousand_distinct_events_of_one_series_and_millisecond_all_count() -> None:
    events = [event("job_scraped", {"site": "indeed"}) for _ in range(1_000)]
    folded = fold([request(events)], {}, collector_no=0, number=1)
    (point,) = points(folded, Tier.FLEET)
    assert point.fields["scraped"] == 1_000


def test_a_point_stands_at_its_second_with_the_stamp_of_its_collector_and_flush() -> None:
    folded = fold(
        [request([event("job_scraped", {"site": "a"}, time=NOW + 123)])],
        {},
        collector_no=42,
        number=FLUSH_SPACE + 7,
    )
    (point,) = points(folded, Tier.FLEET)
    assert point.time == NOW + 42 * FLUSH_SPACE + 7


def test_no_stamp_leaves_its_second() -> None:
    event_ = event("job_scraped", {"site": "a"}, time=NOW + SECOND - 1)
    folded = fold([request([event_])], {}, collector_no=98, number=FLUSH_SPACE - 1)
    (point,) = points(folded, Tier.FLEET)
    assert NOW <= point.time < NOW + SECOND


def test_the_latest_gauge_of_a_second_wins_and_keeps_its_own_time() -> None:
    events = [
        event("queue", {"site": "a", "depth": 9}, time=NOW + 500),
        event("queue", {"site": "a", "depth": 5, "pending": 1}, time=NOW + 200),
        event("queue", {"site": "a", "depth": 7}, time=NOW + 500),
    ]
    folded = fold([request(events)], {}, collector_no=1, number=1)
    found = {point.time: dict(point.fields) for point in points(folded, Tier.SESSIONS)}
    assert found == {NOW + 500: {"depth": 7}, NOW + 200: {"pending": 1}}


def test_a_breaker_counts_its_changes_of_state_and_not_its_reports() -> None:
    def report(state: str, at: int) -> dict[str, Any]:
        return event("circuit_breaker", {"site": "a", "state": state}, time=NOW + at)

    parts = [
        [report("closed", 0), report("open", 1 * SECOND), report("open", 2 * SECOND)],
        [report("open", 3 * SECOND), report("half_open", 4 * SECOND)],
        [report("closed", 5 * SECOND), report("open", 1)],  # the last one comes late
    ]
    flushes = fold_all(parts)
    total = sums(
        point for folded in flushes for point in points(folded, Tier.FLEET) if "transitions" in point.fields
    )
    assert total[("breakers", "a", "transitions")] == 3
    assert total[("breakers", "a", "opened")] == 1


def test_events_without_an_attempt_belong_to_the_current_one() -> None:
    parts = [
        [event("site_started", {"site": "a", "attempt": 2})],
        [
            event("job_scraped", {"site": "a", "count": 4}),
            event("job_scraped", {"site": "a", "count": 1, "attempt": 1}),
        ],
    ]
    _, folded = fold_all(parts)
    rows = {row.key["attempt_number"]: row for row in _rows(folded, "site_executions")}
    assert rows[2].add["jobs_scraped"] == 4
    assert rows[1].add["jobs_scraped"] == 1


def test_resources_of_a_session_show_in_its_current_executions() -> None:
    parts = [
        [event("site_started", {"site": "a"}), event("site_started", {"site": "b", "attempt": 3})],
        [event("resources", {"memory_mb": 300.5, "cpu_percent": 80})],
    ]
    _, folded = fold_all(parts)
    rows = {
        (row.key["site_name"], row.key["attempt_number"]): row for row in _rows(folded, "site_executions")
    }
    assert rows[("a", 1)].most["memory_usage_mb"] == rows[("b", 3)].most["memory_usage_mb"] == 300.5


def test_a_queued_session_has_not_started() -> None:
    folded = fold([request([event("session_queued", {"sites": ["a"]})])], {}, collector_no=0, number=1)
    (row,) = _rows(folded, "scrape_sessions")
    assert row.least == {"queued_at": NOW}
    assert row.states == [[NOW, 0, "queued", None]]


def test_history_goes_to_the_tiers_that_still_keep_its_age() -> None:
    assert tiers_of(LIVE_AGE) == (Tier.FLEET, Tier.SESSIONS)
    assert tiers_of(LIVE_AGE + 1) == (Tier.FLEET_1M, Tier.FLEET_1H, Tier.SESSIONS)
    assert tiers_of(91 * DAY) == (Tier.FLEET_1H,)
    assert tiers_of(6 * 365 * DAY) == ()


@pytest.mark.parametrize(
    ("age", "tier", "window"), [(8 * DAY, Tier.FLEET_1M, MINUTE), (400 * DAY, Tier.FLEET_1H, HOUR)]
)
def test_history_never_stands_where_the_roller_writes(age: int, tier: Tier, window: int) -> None:
    start = (NOW - age) - (NOW - age) % window
    folded = fold(
        [request([event("job_scraped", {"site": "a"}, time=start)], source="k")], {}, collector_no=0, number=1
    )
    (point,) = points(folded, tier)
    assert start < point.time < start + window


def test_history_marks_no_window_for_the_roller() -> None:
    folded = fold(
        [request([event("job_scraped", {"site": "a"}, time=NOW - 30 * DAY)], source="k")],
        {},
        collector_no=0,
        number=1,
    )
    assert folded.changes[0].windows == {}


def test_live_events_mark_their_minute_and_hour() -> None:
    folded = fold(
        [request([event("job_scraped", {"site": "a"}, time=NOW - DAY)])], {}, collector_no=0, number=1
    )
    at = NOW - DAY
    assert folded.changes[0].windows == {Tier.FLEET_1M: [at - at % MINUTE], Tier.FLEET_1H: [at - at % HOUR]}


def test_tenants_are_kept_apart() -> None:
    one = request([event("job_scraped", {"site": "a"})], tenant="one")
    two = request([event("job_scraped", {"site": "a"})], tenant="two")
    folded = fold([one, two], {}, collector_no=0, number=1)
    assert {batch.tenant for batch in folded.batches} == {"one", "two"}
    assert all(len(batch.lines) == 1 for batch in folded.batches)


def test_the_duration_of_pages_that_are_alike_is_shared_among_them() -> None:
    folded = fold(
        [request([event("page_processed", {"site": "a", "duration": 10.0, "count": 5})])],
        {},
        collector_no=0,
        number=1,
    )
    (point,) = points(folded, Tier.FLEET)
    assert point.fields["duration_max"] == 2.0
    assert point.fields[histogram.FIELDS[histogram.bucket_of(2.0)]] == 5


def test_errors_of_one_cause_share_a_fingerprint() -> None:
    one = error_fingerprint("timeout", "GET https://a.example/jobs/17 took 30.2 s")
    other = error_fingerprint("Timeout", "GET https://b.example/x took 31.7 s")
    assert one == other != error_fingerprint("timeout", "connection refused")


def test_the_values_of_the_tag_type_stay_few() -> None:
    assert [error_tag(kind) for kind in ("403", "TIMEOUT", "503", "my own kind", "٤٠٣")] == [
        "403",
        "timeout",
        "503",
        "other",
        "other",
    ]


def test_what_a_fold_writes_is_what_the_registry_knows() -> None:
    host = {"host": "h", "cpu_percent": 5, "memory_total": 1, "memory_available": 1, "memory_percent": 2}
    disks = {"disks": [{"mount": "/", "total": 1, "used": 1, "percent": 1}]}
    events = [
        event(
            "host",
            {
                **host,
                **disks,
                "cores": [1.5],
                "interfaces": [{"name": "lo", "sent_bytes": 1, "received_bytes": 2}],
            },
        ),
        event("service_check", {"service": "x", "up": True, "response_time": 0.5}),
        event("proxy", {"provider": "p", "latency": 1.5, "cost": 2}),
        event("data_quality", {"site": "a", "items": 4, "field_coverage": {"title": 0.5}}),
        event("cost", {"amount": 1}),
        event("custom", {"name": "n", "value": 3, "labels": {"b": "2", "a": "1"}}),
        event("progress", {"done": 1}),
        event("site_finished", {"site": "a", "duration": 3.5}),
    ]
    folded = fold([request(events)], {}, collector_no=0, number=1)
    found = [point for tier in Tier for point in points(folded, tier)]
    assert len({point.measurement for point in found}) == 12
    for point in found:
        for name, value in point.fields.items():
            assert type(value) is MEASUREMENTS[point.measurement].field(name).type


def _rows(folded: Folded, table: str) -> list[RowChange]:
    return [row for changes in folded.changes for row in changes.rows if row.table == table]
