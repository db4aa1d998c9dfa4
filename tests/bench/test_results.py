"""The committed results have the form that others read, and the documentation shows them."""

from __future__ import annotations

import pytest

from bench import _report
from bench._results import read

COLUMNS = {
    "path",
    "batch",
    "sessions",
    "events_per_s",
    "cpu_us_per_event",
    "ack_p50_ms",
    "ack_p99_ms",
    "rss_mb",
}


def row(path: str, batch: int, sessions: int, events_per_s: int, cpu: float) -> dict[str, object]:
    return {
        "path": path,
        "batch": batch,
        "sessions": sessions,
        "events_per_s": events_per_s,
        "cpu_us_per_event": cpu,
    }


def test_the_results_of_the_collector_have_the_agreed_form() -> None:
    collector = read("collector")
    assert collector is not None
    assert {"machine", "versions", "date", "goals"} <= collector.keys()
    for found in collector["rows"]:
        assert found.keys() >= COLUMNS
        assert found["path"] in {"ours", "raw_influxd", "naive", "telegraf"}
        assert found["events_per_s"] > 0
    measured = {(found["path"], found["batch"], found["sessions"]) for found in collector["rows"]}
    assert measured >= {
        (path, b, s) for path in ("ours", "raw_influxd") for b in (1, 100, 1_000) for s in (1, 100, 1_000)
    }


def test_the_documentation_shows_the_committed_results() -> None:
    page = _report.PAGE.read_text(encoding="utf-8")
    assert _report.filled(page) == page


def test_a_goal_is_judged_by_its_worst_case() -> None:
    rows = [
        *(
            row("ours", 100, 1, 200, 5.0),
            row("raw_influxd", 100, 1, 100, 20.0),
            row("telegraf", 100, 1, 50, 25.0),
        ),
        *(
            row("ours", 100, 100, 150, 7.5),
            row("raw_influxd", 100, 100, 100, 20.0),
            row("telegraf", 100, 100, 50, 25.0),
        ),
    ]
    against_raw, at_1000, against_telegraf, *_ = _report.goals(rows, [], [], [])
    assert (against_raw["measured"], against_raw["met"]) == (1.5, False)
    assert against_raw["cases"] == {"1 sessions": 2.0, "100 sessions": 1.5}
    assert (at_1000["measured"], at_1000["met"]) == (None, None)
    assert (against_telegraf["measured"], against_telegraf["met"]) == (0.3, False)


@pytest.mark.parametrize(
    ("change", "met"),
    [
        ({}, True),
        ({"failures": {"503": 1}}, False),
        ({"undelivered": 1}, False),
        ({"ack_p99_ms": 51.0}, False),
        ({"rss_end_mb": 160.0}, False),
        ({"seconds": 60.0}, None),
    ],
)
def test_the_long_load_is_judged_by_errors_memory_and_acks(
    change: dict[str, object], met: bool | None
) -> None:
    fine = {
        "seconds": 600.0,
        "sessions": 1_000,
        "events_per_s": 20_000,
        "failures": {},
        "undelivered": 0,
        "ack_p99_ms": 20.0,
        "rss_middle_mb": 140.0,
        "rss_end_mb": 145.0,
    }
    (goal,) = (g for g in _report.goals([], [], [{**fine, **change}], []) if "10 minutes" in g["goal"])
    assert goal["met"] is met
