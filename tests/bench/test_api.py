"""What the benchmark of the API asks, and what it asks it of: both must be what they say, or its figures mean nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import _filled, _report
from bench._cases import Case, cases
from bench._filled import filled, lines_of
from bench._fleet import Fleet, Size
from bench._load import Plan, prepare
from bench.api import Asked, at, rows_of
from embedded.store import EmbeddedStore
from records.queries import RecordQueries
from records.store import SqlRecords
from scrapewatch.line_protocol import decode
from scrapewatch.measurements import KEEPING, Tier
from scrapewatch.ports import DEFAULT_TENANT, TimeRange
from scrapewatch.time import DAY, HOUR, now_ns
from tests.bench.test_load import Answering

SMALL = Size(3_000, 40, 80)


def query(name: str, schema: dict[str, Any], place: str = "query") -> dict[str, Any]:
    return {"name": name, "in": place, "schema": schema}


def document(path: str, *parameters: dict[str, Any], content: str = "application/json") -> dict[str, Any]:
    answers: dict[str, Any] = {"200": {"content": {content: {}}}}
    return {"paths": {path: {"get": {"parameters": list(parameters), "responses": answers}, "post": {}}}}


def targets(*arguments: Any) -> list[str]:
    return [case.target for case in cases(*arguments)[0]]


def test_a_route_is_asked_with_each_range_and_at_the_longest_with_each_value() -> None:
    found = document(
        "/things",
        query("timeframe", {"enum": ["1h", "30d"]}),
        query("severity", {"anyOf": [{"enum": ["info", "critical"]}, {"type": "null"}]}),
        query("site", {"type": "string"}),
        query("limit", {"type": "integer", "maximum": 200}),
        query("cursor", {"type": "string"}),
        query("unknown", {"type": "string"}),
    )
    assert targets(found, [], {}) == [
        "/things?timeframe=1h",
        "/things?timeframe=30d",
        "/things?timeframe=30d&severity=info",
        "/things?timeframe=30d&severity=critical",
        "/things?timeframe=30d&site=indeed",
        "/things?timeframe=30d&limit=200",
        "/things?timeframe=30d&cursor=far+down",
    ]
    assert cases(found, [], {})[0][-1].pages == 200


def test_every_question_is_asked_over_all_ranges_with_what_it_requires() -> None:
    text = {"type": "string"}
    given = (
        query("question", {}, "path"),
        query("last", text),
        query("site", text),
        query("session_id", text),
    )
    found = document("/ask/{question}", *given)
    questions: list[dict[str, Any]] = [
        {
            "name": "errors",
            "parameters": [{"name": "site", "required": False}],
            "longest_range_seconds": None,
        },
        {
            "name": "one",
            "parameters": [{"name": "session_id", "required": True}],
            "longest_range_seconds": None,
        },
        {"name": "lately", "parameters": [], "longest_range_seconds": 86_400.0},
    ]
    asked, unasked = cases(found, questions, {"session_id": "s 1"})
    assert not unasked
    assert [case.target for case in asked if case.query == "last=90d"] == [
        "/ask/errors?last=90d",
        "/ask/one?last=90d&session_id=s+1",
    ]
    assert [case.target for case in asked if "site" in case.target] == ["/ask/errors?last=90d&site=indeed"]
    assert [case.query for case in asked if case.question == "lately"] == ["last=1h", "last=24h"]
    assert {case.question for case in asked} == {"errors", "one", "lately"}
    assert asked[0].name == "/ask/errors?last=1h"


def test_streams_without_end_and_paths_without_a_value_are_told_and_not_asked() -> None:
    assert cases(document("/stream", content="text/event-stream"), [], {}) == ([], ["/stream"])
    found = document("/things/{thing_id}", query("thing_id", {}, "path"))
    assert cases(found, [], {}) == ([], ["/things/{thing_id}"])
    assert targets(found, [], {"thing_id": "a/b"}) == ["/things/a%2Fb"]


def test_exports_and_details_have_no_goal() -> None:
    (export,) = cases(document("/export/metrics"), [], {})[0]
    assert export.excepted
    plain, detailed = cases(document("/u", query("detailed", {"type": "boolean"})), [], {})[0]
    assert (plain.excepted, detailed.target, detailed.excepted) == (False, "/u?detailed=true", True)


def test_a_quantile_is_one_of_the_times() -> None:
    taken = [float(number) for number in range(20, 0, -1)]
    assert (at(0.5, taken), at(0.95, taken), at(1.0, taken)) == (10.0, 19.0, 20.0)


def test_points_are_as_many_as_asked_for_each_once_and_within_what_their_tier_keeps() -> None:
    now = now_ns()
    fleet = Fleet(Size(20_000, 200, 0), now)
    seen: set[tuple[Any, ...]] = set()
    count = 0
    for chunk in fleet.chunks():
        window = KEEPING[chunk.tier].window
        count += len(chunk.times)
        assert chunk.times.min() > now - KEEPING[chunk.tier].retention
        assert chunk.times.max() < now
        if window:
            assert not (chunk.times % window).any()
            rows = zip(chunk.times.tolist(), chunk.series.tolist(), strict=True)
            those = {(chunk.tier, chunk.measurement, *row) for row in rows}
            assert len(those) == len(chunk.times)
            assert not those & seen
            seen |= those
    assert count == pytest.approx(20_000, rel=0.01)


def test_lines_say_what_columns_say() -> None:
    for chunk in Fleet(SMALL, now_ns()).chunks():
        columns = chunk.columns()
        for place, line in enumerate(lines_of(chunk)):
            point = decode(line)
            said = {"time": point.time, **point.tags, **point.fields}
            assert said == {name: column[place] for name, column in columns.items()}


def test_what_was_filled_is_answered_and_kept_for_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = filled("embedded", SMALL)
    before = (kept.records / "ended").stat().st_mtime_ns
    series = EmbeddedStore(kept.points / "series.duckdb")
    now = now_ns()
    over = TimeRange.widened(now - 90 * DAY, now, HOUR)
    asked = series.ask("throughput", {"site": ""}, over, tier=Tier.FLEET_1H, tenant=DEFAULT_TENANT)
    series.close()
    assert asked.rows
    records = SqlRecords(f"sqlite:///{kept.records / 'records.sqlite'}")
    sessions = RecordQueries(records.engine).sessions(DEFAULT_TENANT, limit=100).items
    records.close()
    assert len(sessions) == SMALL.sessions
    assert sessions[-1].total_jobs_found > 0
    assert filled("embedded", SMALL) == kept
    assert (kept.records / "ended").stat().st_mtime_ns == before
    (kept.points / "ended").write_text("1")  # long ago
    assert filled("embedded", SMALL) == kept
    ended = {(folder / "ended").read_text() for folder in (kept.points, kept.records)}
    assert len(ended) == 1
    assert ended != {"1"}
    _filled.discard("embedded", SMALL)
    assert not list((tmp_path / "scrapewatch").iterdir())


def test_the_table_shows_the_slowest_request_of_each_route_and_what_misses_the_goal() -> None:
    asked = {
        Case("/api/v1/things", "", "days=7"): Asked([5.0], size=10),
        Case("/api/v1/things", "", "days=90"): Asked([250.0], size=10),
        Case("/api/v1/monitoring/questions/{question}", "", "last=1h", "errors"): Asked([6.0], size=10),
        Case("/api/v1/export", "", "", excepted=True): Asked([900.0], size=10),
    }
    echo = Asked([0.5])
    table = _report._api_table([*rows_of("embedded", 0, asked, echo), *rows_of("embedded", 10, asked, echo)])
    assert "embedded, idle: 2 of 3; embedded, 10 sessions report: 2 of 3." in table
    assert "| /things | **250.0 / 250.0**<br>`days=90` | **250.0 / 250.0**<br>`days=90` |" in table
    assert "| question errors | 6.0 / 6.0<br>`last=1h` |" in table
    assert "| /export (no goal) | 900.0 / 900.0 |" in table
    assert "| a bare FastAPI echo | 0.5 / 0.5 |" in table


def test_a_load_can_be_ended_before_all_is_sent() -> None:
    with Answering([], []) as server:
        plan = Plan(
            port=server.server_address[1],
            path="/",
            events=10**6,
            batch=1,
            sessions=1,
            connections=1,
            rate=10.0,
        )
        load = prepare(plan)
        load.start()
        load.stop()
        assert len(server.bodies) < 10
