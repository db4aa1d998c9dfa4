"""What holds for every store of points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scrapewatch.line_protocol import Point, Value, encode
from scrapewatch.measurements import KEEPING, MEASUREMENTS, Fold, Measurement, Tier
from scrapewatch.ports import Batch, Flush, TimeRange, WriteResult
from scrapewatch.questions import QUESTIONS
from scrapewatch.time import DAY, HOUR, MINUTE, SECOND, now_ns
from tests.contract.conftest import Series
from tests.contract.plain import PlainStore, assert_points, assert_rows, flush_of
from tests.contract.points import BASE, HOSTILE, common_points

POINTS = common_points()
EVERY = {Tier.FLEET: 5 * MINUTE, Tier.SESSIONS: MINUTE, Tier.FLEET_1M: 5 * MINUTE, Tier.FLEET_1H: 6 * HOUR}
ASKED = [(question.name, tier) for question in QUESTIONS.values() for tier in question.tiers]
ROLLED = [m.name for m in MEASUREMENTS.values() if m.rolled_from is not None]
SESSION = 'it\'s "s3", really'


def whole_range(tier: Tier) -> TimeRange:
    return TimeRange.widened(BASE, BASE + 40 * max(KEEPING[tier].window, 3 * MINUTE), EVERY[tier])


def parameters_of(question: str, **given_: str) -> dict[str, str]:
    """All parameters of ``question``, as :func:`scrapewatch.answers.ask` binds them."""
    required = {"session_id": SESSION}
    return {
        p.name: given_.get(p.name, required[p.name] if p.default is None else p.default)
        for p in QUESTIONS[question].parameters
    }


def assert_taken(result: WriteResult, lines: int) -> None:
    assert (result.accepted, list(result.rejected), result.kept) == (lines, [], None)


def plain(points: Sequence[tuple[Tier, Point]]) -> PlainStore:
    store = PlainStore()
    store.put(points)
    return store


def write(
    series: Series, points: Sequence[tuple[Tier, Point]], *, number: int = 1, tenant: str | None = None
) -> None:
    """Write ``points`` as one flush, all of which must be taken."""
    flush = flush_of(points, tenant=tenant or series.tenant, number=number)
    assert_taken(series.store.write(flush), len(points))


def ask(
    series: Series,
    question: str,
    time_range: TimeRange,
    tier: Tier,
    *,
    tenant: str | None = None,
    **given_: str,
) -> list[tuple[Any, ...]]:
    parameters = parameters_of(question, **given_)
    answer = series.store.ask(question, parameters, time_range, tier=tier, tenant=tenant or series.tenant)
    assert answer.columns == QUESTIONS[question].columns
    return answer.rows


def fleet(measurement: str, tags: dict[str, str], fields: dict[str, Value], time: int) -> tuple[Tier, Point]:
    return Tier.FLEET, Point(measurement, tags, fields, time)


def test_every_question_answers_what_plain_python_makes_of_the_same_points(series: Series) -> None:
    write(series, POINTS)
    expected = plain(POINTS)
    for question, tier in ASKED:
        for every in (EVERY[tier], 2 * EVERY[tier], DAY):
            time_range = TimeRange.widened(whole_range(tier).start, whole_range(tier).stop, every)
            parameters = parameters_of(question)
            rows = expected.ask(question, parameters, time_range, tier=tier)
            assert rows
            answer = series.store.ask(question, parameters, time_range, tier=tier, tenant=series.tenant)
            assert_rows(answer, question, rows)


def test_a_parameter_leaves_the_rows_of_that_name_alone(series: Series) -> None:
    write(series, POINTS)
    expected = plain(POINTS)
    for question, tier in ASKED:
        for parameter in QUESTIONS[question].parameters:
            name = sorted({p.tags.get(parameter.name, "") for _, p in POINTS} - {""})[-1]
            parameters = parameters_of(question, **{parameter.name: name})
            rows = expected.ask(question, parameters, whole_range(tier), tier=tier)
            assert rows
            answer = series.store.ask(
                question, parameters, whole_range(tier), tier=tier, tenant=series.tenant
            )
            assert_rows(answer, question, rows)


def test_hostile_parameters_match_literally_or_not_at_all(series: Series) -> None:
    kept = [
        (tier, point) for tier, point in POINTS if not {"r.site", "' OR '1'='1"} & set(point.tags.values())
    ]
    write(series, kept)
    expected = plain(kept)
    texts = (*HOSTILE, "back\\slash", "ends in a backslash\\", "line\nbreak", "\\", "nul\0", "%")
    for question, known in QUESTIONS.items():
        for parameter in known.parameters:
            # How a text is bound does not depend on the tier: each tier has its share of them.
            for text, tier in zip(texts, itertools.cycle(known.tiers), strict=False):
                parameters = parameters_of(question, **{parameter.name: text})
                rows = expected.ask(question, parameters, whole_range(tier), tier=tier)
                answer = series.store.ask(
                    question, parameters, whole_range(tier), tier=tier, tenant=series.tenant
                )
                assert_rows(answer, question, rows)


def test_an_empty_store_answers_no_rows(series: Series) -> None:
    for question, tier in ASKED:
        assert ask(series, question, whole_range(tier), tier) == []
    for measurement in ROLLED:
        source = MEASUREMENTS[measurement].rolled_from
        assert source is not None
        time_range = whole_range(source)
        assert series.store.windows(measurement, time_range, tier=source, tenant=series.tenant) == []


def test_a_range_without_points_answers_no_rows(series: Series) -> None:
    write(series, POINTS)
    for question, tier in ASKED:
        before = TimeRange.widened(BASE - 30 * DAY, BASE - 29 * DAY, EVERY[tier])
        assert ask(series, question, before, tier) == []


def test_a_window_without_points_has_no_row(series: Series) -> None:
    times = BASE, BASE + 10 * MINUTE
    write(series, [fleet("jobs", {"site": "indeed"}, {"scraped": 2}, time) for time in times])
    rows = ask(series, "throughput", TimeRange(BASE, BASE + HOUR, MINUTE), Tier.FLEET)
    assert rows == [(time, "indeed", 2, None, None, None, None) for time in times]


def test_a_range_holds_its_start_and_not_its_stop(series: Series) -> None:
    times = BASE - 1, BASE, BASE + MINUTE - 1, BASE + MINUTE
    write(series, [fleet("errors", {"site": "a", "type": "403"}, {"count": 1}, time) for time in times])
    rows = ask(series, "errors", TimeRange(BASE, BASE + MINUTE, MINUTE), Tier.FLEET)
    assert rows == [(BASE, "a", "403", 2)]
    windows = series.store.windows(
        "errors", TimeRange(BASE, BASE + MINUTE, MINUTE), tier=Tier.FLEET, tenant=series.tenant
    )
    assert windows == [Point("errors", {"site": "a", "type": "403"}, {"count": 2}, BASE)]


def test_a_widened_range_answers_whole_windows(series: Series) -> None:
    write(series, [fleet("jobs", {"site": "a"}, {"scraped": 1}, BASE + k * SECOND) for k in range(600)])
    time_range = TimeRange.widened(BASE + 70 * SECOND, BASE + 130 * SECOND, MINUTE)
    rows = ask(series, "throughput", time_range, Tier.FLEET)
    assert [row[:3] for row in rows] == [(BASE + MINUTE, "a", 60), (BASE + 2 * MINUTE, "a", 60)]


def test_a_window_longer_than_an_hour_starts_on_its_utc_multiple(series: Series) -> None:
    week_off = 7 * HOUR
    start = BASE // week_off * week_off
    write(series, [fleet("jobs", {"site": "a"}, {"scraped": 1}, start + k * HOUR) for k in range(14)])
    time_range = TimeRange.widened(start, start + 14 * HOUR, week_off)
    rows = ask(series, "throughput", time_range, Tier.FLEET)
    assert [row[:3] for row in rows] == [(start, "a", 7), (start + week_off, "a", 7)]


def test_a_replayed_flush_changes_nothing(series: Series) -> None:
    write(series, POINTS, number=5)
    write(series, POINTS, number=5)
    expected = plain(POINTS)
    for question, tier in ASKED:
        parameters = parameters_of(question)
        answer = series.store.ask(question, parameters, whole_range(tier), tier=tier, tenant=series.tenant)
        assert_rows(answer, question, expected.ask(question, parameters, whole_range(tier), tier=tier))


def test_a_point_of_another_flush_replaces_the_fields_that_it_names(series: Series) -> None:
    flushes = [
        [
            fleet("jobs", {"site": "a"}, {"scraped": 5, "saved": 4}, BASE),
            fleet("breakers", {"site": "a"}, {"state": 2, "transitions": 1}, BASE),
            fleet("host", {"host": "h"}, {"cpu_percent": 10.0, "load_1": 1.0}, BASE),
            (Tier.FLEET_1M, Point("jobs", {"site": "a"}, {"scraped": 50, "saved": 40}, BASE)),
            (
                Tier.SESSIONS,
                Point("queue", {"session_id": "s", "site": "a"}, {"depth": 9, "pending": 3}, BASE),
            ),
        ],
        [
            fleet("jobs", {"site": "a"}, {"scraped": 7, "dropped": 0}, BASE),
            fleet("jobs", {"site": "b"}, {"scraped": 1}, BASE),
            fleet("breakers", {"site": "a"}, {"state": 0}, BASE),
            fleet("host", {"host": "h"}, {"cpu_percent": 20.0}, BASE),
            (Tier.FLEET_1M, Point("jobs", {"site": "a"}, {"scraped": 51}, BASE)),
            (Tier.SESSIONS, Point("queue", {"session_id": "s", "site": "a"}, {"depth": 2}, BASE)),
        ],
    ]
    # Replays and corrections come in any order of numbers; 0 stands for none.
    for number, points in zip((3, 0), flushes, strict=True):
        write(series, points, number=number)
    minute = TimeRange(BASE, BASE + MINUTE, MINUTE)
    assert ask(series, "throughput", minute, Tier.FLEET) == [
        (BASE, "a", 7, 4, None, 0, None),
        (BASE, "b", 1, None, None, None, None),
    ]
    assert ask(series, "throughput", minute, Tier.FLEET_1M) == [(BASE, "a", 51, 40, None, None, None)]
    assert ask(series, "breaker_states", minute, Tier.FLEET) == [(BASE, "a", 0, 1, None)]
    assert ask(series, "queue", minute, Tier.SESSIONS) == [(BASE, "s", "a", 2.0, 3.0, None)]
    assert [row[2] for row in ask(series, "resources", minute, Tier.FLEET)] == [20.0]
    assert [row[-1] for row in ask(series, "resources", minute, Tier.FLEET)] == [1.0]


def test_flushes_of_two_collectors_with_the_same_number_both_count(series: Series) -> None:
    for collector_no in (0, 1):
        point = fleet("jobs", {"site": "a"}, {"scraped": 1}, BASE + collector_no * 10_000_000 + 1)
        flush = flush_of([point], tenant=series.tenant, number=1, collector_no=collector_no)
        assert_taken(series.store.write(flush), 1)
    rows = ask(series, "throughput", TimeRange(BASE, BASE + MINUTE, MINUTE), Tier.FLEET)
    assert [row[2] for row in rows] == [2]


def test_points_a_nanosecond_apart_are_two_points(series: Series) -> None:
    write(series, [fleet("jobs", {"site": "a"}, {"scraped": 1}, BASE + k) for k in range(1000)])
    rows = ask(series, "throughput", TimeRange(BASE, BASE + MINUTE, MINUTE), Tier.FLEET)
    assert [row[2] for row in rows] == [1000]


def test_tenants_never_see_each_other(series: Series) -> None:
    write(series, POINTS)
    for question, tier in ASKED:
        assert ask(series, question, whole_range(tier), tier, tenant=series.other_tenant) == []
    both = [fleet("jobs", {"site": "a"}, {"scraped": 3}, BASE - HOUR)]
    write(series, both, tenant=series.other_tenant)
    hour = TimeRange(BASE - HOUR, BASE, HOUR)
    assert ask(series, "throughput", hour, Tier.FLEET) == []
    assert [r[2] for r in ask(series, "throughput", hour, Tier.FLEET, tenant=series.other_tenant)] == [3]
    windows = series.store.windows("jobs", hour, tier=Tier.FLEET, tenant=series.tenant)
    assert windows == []


def test_one_flush_writes_for_several_tenants(series: Series) -> None:
    flushes = [
        flush_of([fleet("jobs", {"site": "a"}, {"scraped": scraped}, BASE)], tenant=tenant)
        for scraped, tenant in ((1, series.tenant), (2, series.other_tenant))
    ]
    batches = [batch for flush in flushes for batch in flush.batches]
    assert_taken(series.store.write(Flush(0, 1, batches)), 2)
    minute = TimeRange(BASE, BASE + MINUTE, MINUTE)
    for scraped, tenant in ((1, series.tenant), (2, series.other_tenant)):
        assert [r[2] for r in ask(series, "throughput", minute, Tier.FLEET, tenant=tenant)] == [scraped]


@pytest.mark.parametrize("measurement", ROLLED)
def test_windows_are_what_plain_python_makes_of_the_points(series: Series, measurement: str) -> None:
    tier = MEASUREMENTS[measurement].rolled_from
    assert tier is not None
    of_it = [(at, point) for at, point in POINTS if at is tier and point.measurement == measurement]
    write(series, of_it)
    for every in (MINUTE, HOUR):
        time_range = TimeRange.widened(BASE, BASE + 2 * HOUR, every)
        expected = plain(of_it).windows(measurement, time_range, tier=tier)
        assert expected
        answer = series.store.windows(measurement, time_range, tier=tier, tenant=series.tenant)
        assert_points(answer, expected)


def test_windows_written_as_rollups_answer_like_the_points_they_were_made_of(series: Series) -> None:
    raw = [(tier, point) for tier, point in POINTS if tier in (Tier.FLEET, Tier.SESSIONS)]
    write(series, raw)
    time_range = TimeRange(BASE, BASE + 2 * HOUR, MINUTE)
    rollups: list[tuple[Tier, Point]] = []
    for measurement in ROLLED:
        source = MEASUREMENTS[measurement].rolled_from
        assert source is not None
        windows = series.store.windows(measurement, time_range, tier=source, tenant=series.tenant)
        rollups += [(Tier.FLEET_1M, point) for point in windows]
    write(series, rollups, number=0)
    for question in (
        "throughput",
        "errors",
        "success_rate",
        "page_times",
        "site_totals",
        "site_counts",
        "error_totals",
        "costs",
        "breaker_states",
        "response_times",
        "performance",
        "site_performance",
        "data_quality",
        "field_coverage",
        "proxies",
        "service_uptime",
        "processes",
        "collector_throughput",
        "collector_backlog",
        "collector_latencies",
    ):
        from_raw = plain(raw).ask(question, parameters_of(question), time_range, tier=Tier.FLEET)
        answer = series.store.ask(
            question, parameters_of(question), time_range, tier=Tier.FLEET_1M, tenant=series.tenant
        )
        assert_rows(answer, question, from_raw)


def test_a_line_of_the_wrong_type_is_rejected_and_the_rest_of_its_batch_is_stored(series: Series) -> None:
    write(series, [fleet("jobs", {"site": "a"}, {"scraped": 1}, BASE)])
    good = [encode(fleet("jobs", {"site": "a"}, {"scraped": 1}, BASE + k)[1]) for k in range(1, 1000)]
    bad = f"jobs,site=a scraped=1.5 {BASE + 2000}"
    lines = [*good[:500], bad, *good[500:]]
    events = [7 if line == bad else 1 for line in lines]
    result = series.store.write(Flush(0, 2, [Batch(series.tenant, Tier.FLEET, lines, events)]))
    assert result.kept is None
    assert result.accepted == 999
    [rejected] = result.rejected
    assert (rejected.tenant, rejected.tier, rejected.line, rejected.events) == (
        series.tenant,
        Tier.FLEET,
        bad,
        7,
    )
    assert "scraped" in rejected.reason
    rows = ask(series, "throughput", TimeRange(BASE, BASE + MINUTE, MINUTE), Tier.FLEET)
    assert [row[2] for row in rows] == [1000]


def test_a_replay_rejects_the_same_line_again(series: Series) -> None:
    write(series, [fleet("jobs", {"site": "a"}, {"scraped": 1}, BASE)])
    lines = [f"jobs,site=a scraped=1.5 {BASE + 2}", f"jobs,site=a scraped=1i {BASE + 1}"]
    flush = Flush(0, 2, [Batch(series.tenant, Tier.FLEET, lines, [1, 1])])
    first, second = series.store.write(flush), series.store.write(flush)
    for result in (first, second):
        assert result.accepted == 1
        assert [rejected.line for rejected in result.rejected] == lines[:1]
    rows = ask(series, "throughput", TimeRange(BASE, BASE + MINUTE, MINUTE), Tier.FLEET)
    assert [row[2] for row in rows] == [2]


def test_a_line_that_is_no_line_protocol_is_rejected_and_the_rest_is_stored(series: Series) -> None:
    bad = [
        "jobs,site=a scraped=",
        "",
        f"jobs,site=a {BASE}",
        f"jobs,site=a scraped=1_0i {BASE}",
        f"jobs,site=a scraped=nan {BASE}",
        f"jobs,site=a scraped={2**63}i {BASE}",
        f"jobs,site=\ud800 scraped=1i {BASE}",
        f"jobs,site=a scraped=1i {2**63}",
    ]
    lines = [f"jobs,site=a scraped=1i {BASE}", *bad, f"jobs,site=b scraped=2i {BASE}"]
    result = series.store.write(Flush(0, 1, [Batch(series.tenant, Tier.FLEET, lines, [1] * len(lines))]))
    assert (result.accepted, result.kept) == (2, None)
    assert sorted(rejected.line for rejected in result.rejected) == sorted(bad)
    assert all(rejected.reason for rejected in result.rejected)
    rows = ask(series, "throughput", TimeRange(BASE, BASE + MINUTE, MINUTE), Tier.FLEET)
    assert [row[2] for row in rows] == [1, 2]


def test_lines_of_measurements_tags_and_fields_that_no_code_knows_are_stored(series: Series) -> None:
    lines = [
        f'jobs,site=a,shoe\\ size=XL scraped=1i,Saved=true,note="he said \\"1\\"" {BASE}',
        f"jobs,site=a scraped=1i,unknown=2.5 {BASE}",
        f"weather,city=Oslo temperature=-3.5,rain=0i {BASE}",
        f"Weather temperature=1i {BASE}",
        f"jobs,SITE=a,site=b scraped=1i {BASE}",
    ]
    for number in (1, 2):
        flush = Flush(0, number, [Batch(series.tenant, Tier.FLEET, lines, [1] * len(lines))])
        assert_taken(series.store.write(flush), len(lines))
    rows = ask(series, "throughput", TimeRange(BASE, BASE + MINUTE, MINUTE), Tier.FLEET)
    assert [row[:4] for row in rows] == [(BASE, "a", 2, None), (BASE, "b", 1, None)]


def test_a_point_older_than_its_tier_keeps_is_rejected(series: Series) -> None:
    now = now_ns()
    kept = now - KEEPING[Tier.FLEET].retention + HOUR
    # InfluxDB drops by shard: it may still take a point that shares the shard of one it keeps.
    lost = kept - 3 * KEEPING[Tier.FLEET].shard
    lines = [encode(fleet("jobs", {"site": "a"}, {"scraped": 1}, time)[1]) for time in (lost, kept)]
    result = series.store.write(Flush(0, 1, [Batch(series.tenant, Tier.FLEET, lines, [3, 1])]))
    assert (result.accepted, result.kept) == (1, None)
    assert [(rejected.line, rejected.events) for rejected in result.rejected] == [(lines[0], 3)]
    ranged = TimeRange.widened(lost - DAY, now, DAY)
    assert [row[2] for row in ask(series, "throughput", ranged, Tier.FLEET)] == [1]


def test_an_empty_flush_is_taken(series: Series) -> None:
    assert_taken(series.store.write(Flush(0, 1, [])), 0)


def test_an_open_store_is_ready(series: Series) -> None:
    assert series.store.ready() is None


_names = (f"example {number} \"'" for number in itertools.count())
_SESSIONS = ("s1", "s2")


def _additive(measurement: Measurement, tier: Tier, name: str) -> st.SearchStrategy[tuple[Tier, Point]]:
    """Points of the sums of ``measurement``, with ``name`` for the tag that its questions filter by."""
    tag_strategies = {
        tag: st.just(name)
        if tag in ("site", "service", "session_id", "collector", "provider")
        else st.sampled_from(("2xx", "403", "x,y"))
        for tag in measurement.tag_names(tier)
    }
    if tier is Tier.SESSIONS:
        tag_strategies["site"] = st.sampled_from(("a", "b"))
    fields = {
        field.name: st.integers(0, 2**40) if field.type is int else st.floats(0, 1e12, allow_subnormal=False)
        for field in measurement.fields
        if field.fold is Fold.SUM
    }
    return st.builds(
        lambda tags, values, time: (tier, Point(measurement.name, tags, values, time)),
        st.fixed_dictionaries(tag_strategies),
        st.fixed_dictionaries({}, optional=fields).filter(bool),
        st.integers(BASE, BASE + HOUR - 1),
    )


@pytest.mark.parametrize(
    "question",
    [
        "throughput",
        "errors",
        "success_rate",
        "response_times",
        "costs",
        "breaker_states",
        "session_metrics",
        "data_quality",
        "field_coverage",
        "proxies",
        "service_uptime",
        "collector_throughput",
        "collector_latencies",
    ],
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_sums_of_the_windows_are_the_sum_of_the_points(
    series: Series, question: str, data: st.DataObject
) -> None:
    # The store lives on from example to example, so each has a name of its own to ask for.
    name = next(_names)
    tier = QUESTIONS[question].tiers[0]
    asked = {
        "throughput": {"jobs": {n: n for n in ("scraped", "saved", "duplicate", "dropped", "invalid")}},
        "errors": {"errors": {"count": "count"}},
        "success_rate": {
            "pages": {"pages": "count", "ok": "ok", "blocked": "blocked"},
            "errors": {"errors": "count"},
        },
        "response_times": {
            "pages": {
                f.name: f.name
                for f in MEASUREMENTS["pages"].fields
                if f.name.startswith(("h", "duration")) and f.fold is Fold.SUM
            }
        },
        "costs": {"costs": {"amount": "amount"}},
        "breaker_states": {"breakers": {n: n for n in ("transitions", "opened")}},
        "session_metrics": {
            "jobs": {"scraped": "scraped"},
            "pages": {"pages": "count", "ok": "ok", "duration_sum": "duration_sum"},
            "errors": {"errors": "count"},
        },
        "data_quality": {"data_quality": {n: n for n in ("items", "valid", "duplicates")}},
        "field_coverage": {"field_coverage": {n: n for n in ("items", "covered")}},
        "proxies": {"proxies": {n: n for n in ("requests", "bytes", "cost", "latency_sum")}},
        "service_uptime": {"service_checks": {n: n for n in ("checks", "up", "response_time_sum")}},
        "collector_throughput": {
            "collector": {n: n for n in ("accepted", "dead_lettered", "sampler_seconds")}
        },
        "collector_latencies": {"collector": {n: n for n in ("ack_sum", "ack_count", "h07")}},
    }[question]
    strategies = [_additive(MEASUREMENTS[measurement], tier, name) for measurement in asked]
    points: list[tuple[Tier, Point]] = data.draw(st.lists(st.one_of(strategies), min_size=1, max_size=40))
    every = data.draw(st.sampled_from((SECOND, 30 * SECOND, MINUTE, 7 * MINUTE, HOUR)))
    write(series, points)
    # Of two points with the same series and time the later one's fields stand.
    kept: dict[tuple[str, tuple[tuple[str, str], ...], int], dict[str, Value]] = {}
    for _, point in points:
        kept.setdefault((point.measurement, tuple(sorted(point.tags.items())), point.time), {}).update(
            point.fields
        )
    parameter = QUESTIONS[question].parameters[0].name
    time_range = TimeRange.widened(BASE, BASE + HOUR, every)
    answer = series.store.ask(question, {parameter: name}, time_range, tier=tier, tenant=series.tenant)
    for measurement, columns in asked.items():
        for column, field in columns.items():
            wanted = [
                fields[field]
                for (measured, _, _), fields in kept.items()
                if measured == measurement and field in fields
            ]
            got = [row[column] for row in answer.dicts() if row[column] is not None]
            assert math.isclose(math.fsum(got), math.fsum(map(float, wanted)), rel_tol=1e-9), column
            if all(isinstance(value, int) for value in wanted):
                assert sum(got) == sum(map(int, wanted)), column
