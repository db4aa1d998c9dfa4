from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from collector.decode import from_model
from collector.fold import Request, fold
from scrapewatch import examples
from scrapewatch.events import METRICS, validate
from scrapewatch.measurements import MEASUREMENTS, Tier, fields_in
from scrapewatch.questions import QUESTIONS
from scrapewatch.settings import BARE, PREFIX, Settings, load, load_dotenv
from stack import docs


@pytest.mark.parametrize("name", docs.PAGES)
def test_what_is_committed_is_what_would_be_generated(name: str) -> None:
    assert (docs.ROOT / name).read_text(encoding="utf-8") == docs.PAGES[name](), "run `make docs`"


@pytest.mark.parametrize("name", docs.PAGES)
def test_rows_of_tables_have_as_many_cells_as_their_heads(name: str) -> None:
    cells = 0
    for line in docs.PAGES[name]().splitlines():
        if not line.startswith("|"):
            cells = 0
            continue
        found = len(re.findall(r"(?<!\\)\|", line))
        assert found == (cells or found), line
        cells = found


def test_a_page_that_was_edited_or_lost_is_stale(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name, render in docs.PAGES.items():
        (tmp_path / name).write_text(render(), encoding="utf-8")
    assert docs.stale(tmp_path) == []
    (tmp_path / "docs" / "settings.md").write_text("# Settings\n")
    (tmp_path / "docs" / "events.md").unlink()
    assert docs.stale(tmp_path) == ["docs/events.md", "docs/settings.md"]


def test_the_check_is_a_command_that_agrees_with_what_is_committed() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "stack.docs", "--check"],
        cwd=docs.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_every_setting_is_documented_with_a_meaning() -> None:
    page = docs.settings()
    for name, field in Settings.model_fields.items():
        assert f"`{PREFIX}{name.upper()}`" in page
        assert field.description, name
        assert field.description in page
    for name in BARE:
        assert f", `{name}`" in page


def test_the_example_of_a_dotenv_file_names_every_setting_and_sets_none(tmp_path: Path) -> None:
    example = tmp_path / ".env"
    example.write_text(docs.example_of_env(), encoding="utf-8")
    assert load_dotenv(example) == {}
    uncommented = tmp_path / "uncommented"
    uncommented.write_text(re.sub(r"(?m)^#(?=[A-Z_]+=)", "", docs.example_of_env()), encoding="utf-8")
    given = load_dotenv(uncommented)
    assert {name.removeprefix(PREFIX).lower() for name in given} == set(Settings.model_fields)
    assert load(given) == load({})


def test_every_measurement_tag_and_field_is_documented_with_a_unit() -> None:
    page = docs.metrics()
    for measurement in MEASUREMENTS.values():
        section = page.split(f"\n## {measurement.name}\n")[1].split("\n## ")[0]
        for tag in measurement.tags:
            assert f"`{tag.name}` | {tag.description}" in section
        for tier in Tier:
            for field in fields_in(measurement, tier):
                assert field.unit
                if not re.fullmatch(r"h\d\d", field.name):
                    assert f"| `{field.name}` |" in section
            assert (f"`{tier}`" in section) == bool(fields_in(measurement, tier))


def test_every_question_is_documented_with_its_parameters_and_columns() -> None:
    page = docs.questions()
    for question in QUESTIONS.values():
        section = page.split(f"\n## {question.name}\n")[1].split("\n## ")[0]
        names = [parameter.name for parameter in question.parameters]
        names += [column.name for column in question.columns]
        for name in names:
            if not re.fullmatch(r"h\d\d", name):
                assert f"| `{name}` |" in section


def test_every_type_of_event_is_documented_with_an_example_that_is_one() -> None:
    page = docs.events()
    for metric in METRICS:
        section = page.split(f"\n## {metric}\n")[1].split("\n## ")[0]
        shown = json.loads(section.split("```json\n")[1].split("```")[0])
        assert shown["metric"] == metric
        assert validate(shown) == validate(examples.EVENTS[metric])
        for name in shown["value"]:
            if not re.fullmatch(r"h\d\d", name):
                assert f"| `{name}` |" in section


def test_every_route_is_documented_with_its_scope_and_what_it_asked() -> None:
    rows = dict(re.findall(r"(?m)^\| `(\w+ \S+)` \| [^|]*\| (.*) \|$", docs.api()))
    assert rows.keys() >= {"GET /readyz", "GET /docs", "WS /api/v1/ws/system", "POST /api/v1/admin/keys"}
    scope, asked, *_ = rows["GET /api/v1/monitoring/sessions/{session_id}/metrics"].split(" | ")
    assert scope == "`monitoring:read`"
    assert asked == "[session_metrics](questions.md#session_metrics); *records:* `session`"
    assert "the one that is named" in rows["GET /api/v1/monitoring/questions/{question}"]
    assert [line for line, told in rows.items() if "nobody" in told] == []
    named = {name for told in rows.values() for name in re.findall(r"questions\.md#(\w+)", told)}
    assert named <= QUESTIONS.keys()


def test_a_latency_is_that_of_the_slowest_request_of_a_route(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    route = "/api/v1/monitoring/sessions"
    rows = [
        {"store": store, "route": route, "query": query, "p50_ms": p50, "p95_ms": p95}
        for store, query, p50, p95 in (
            ("embedded", "", 3.0, 4.04),
            ("embedded", "limit=200", 9.0, 11.0),
            ("InfluxDB", "", 1.0, 2.0),
        )
    ]
    results = tmp_path / "bench" / "results"
    results.mkdir(parents=True)
    (results / "api.json").write_text(json.dumps({"rows": rows}))
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    page = docs.api()
    assert "| embedded, ms | InfluxDB, ms |" in page
    (row,) = re.findall(rf"(?m)^\| `GET {route}` .*$", page)
    assert row.endswith("| 9.0 / 11.0 | 1.0 / 2.0 |")
    (row,) = re.findall(r"(?m)^\| `GET /readyz` .*$", page)
    assert row.endswith("|  |  |")


@pytest.mark.parametrize("metric", METRICS)
def test_an_example_of_each_type_leaves_a_point_or_a_change_of_state(metric: str) -> None:
    event = validate(examples.EVENTS[metric])
    request = Request("default", None, event["time"], [event["time"]], [from_model(event)])
    folded = fold([request], {}, collector_no=0, number=1)
    rows = [row for changes in folded.changes for row in changes.rows]
    points = [line for batch in folded.batches for line in batch.lines]
    assert points or any(row.states for row in rows)
