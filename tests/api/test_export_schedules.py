"""Exports that are repeated."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from api.exports.formats import FORMATS, Format
from api.exports.repeated import LEASE, RETRY_EVERY, SETTLE, Repeated, first_after
from records.engine import writing
from records.leases import hold_lease
from records.models import ExportSchedule
from scrapewatch.problems import StoreUnavailable
from scrapewatch.time import HOUR, MINUTE, SECOND, now_ns, parse_interval, to_datetime, to_ns, to_rfc3339
from tests.api.stacks import BASE, Stack, event

PATH = "/api/v1/monitoring/export/schedules"


def create(client: TestClient, **values: Any) -> dict[str, Any]:
    wanted = {
        "name": "hourly",
        "format": "json",
        "cadence": "1h",
        "timeframe": "1h",
        "metrics": ["throughput"],
    }
    answer = client.post(PATH, json=wanted | values)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def listed(client: TestClient) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.get(PATH).json()["items"]
    return items


def repeated(stack: Stack, at: int) -> Repeated:
    """What would run the schedules of ``stack`` at ``at``, as after a start of the process."""
    services = stack.services
    engine = stack.records.engine
    return Repeated(
        services.schedules,
        services.exports,
        services.patience["records"],
        lambda holder, seconds: hold_lease(engine, LEASE, holder, seconds),
        clock=lambda: at,
    )


def run_at(stack: Stack, at: int) -> int:
    return asyncio.run(repeated(stack, at).run_due())


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder / "exports")) for path in (folder / "exports").rglob("*.*"))


def next_hour() -> int:
    now = now_ns()
    return now - now % HOUR + HOUR


def name(start: int, stop: int, schedule: str = "hourly", extension: str = "json") -> str:
    def text(ns: int) -> str:
        return to_rfc3339(ns).replace("-", "").replace(":", "")

    return f"default/{schedule}/{schedule}-{text(start)}-{text(stop)}.{extension}"


def test_a_schedule_is_made_listed_and_deleted(client: TestClient) -> None:
    made = create(client)
    assert made["next_run_at"] == to_rfc3339(next_hour())
    assert (made["keep"], made["last_file"], made["last_error"], made["last_run_at"]) == (
        30,
        None,
        None,
        None,
    )
    create(client, name="Another", format="csv", cadence="24h", metrics=["throughput", "sessions"])
    assert [item["name"] for item in listed(client)] == ["Another", "hourly"]
    assert listed(client)[1] == made
    page = client.get(f"{PATH}?limit=1").json()
    assert page["next_cursor"] == "Another"
    page = client.get(f"{PATH}?limit=1&cursor={page['next_cursor']}").json()
    assert ([item["name"] for item in page["items"]], page["next_cursor"]) == (["hourly"], None)
    assert client.delete(f"{PATH}/hourly").status_code == 204
    assert client.delete(f"{PATH}/hourly").status_code == 404
    assert [item["name"] for item in listed(client)] == ["Another"]


def test_a_name_is_given_once(client: TestClient) -> None:
    create(client)
    again = client.post(PATH, json={"name": "hourly"})
    assert again.status_code == 409
    assert again.json()["type"] == "urn:scrapewatch:problem:conflict"


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "../up"},
        {"name": "a/b"},
        {"name": ""},
        {"name": "x", "cadence": "2m"},
        {"name": "x", "keep": 0},
        {"name": "x", "metrics": ["nothing"]},
        {"name": "x", "metrics": ["sessions"], "format": "prometheus"},
        {"name": "x", "unknown": 1},
        {},
    ],
)
def test_a_schedule_that_cannot_be_is_refused(client: TestClient, wrong: dict[str, Any]) -> None:
    assert client.post(PATH, json=wrong).status_code == 422
    assert listed(client) == []


def test_a_file_is_written_when_its_range_is_over_and_holds_that_range(
    stack: Stack, client: TestClient, tmp_path: Path
) -> None:
    due = next_hour() - HOUR
    create(client)
    with writing(stack.records.engine) as db:
        db.execute(update(ExportSchedule).values(next_run_at=to_datetime(due)))
    stack.store(
        [
            event("job_scraped", {"site": "indeed", "count": count}, time=at)
            for at, count in (
                (due - HOUR - SECOND, 1),
                (due - HOUR, 2),
                (due - HOUR // 2, 4),
                (due - 1, 8),
                (due, 16),
            )
        ]
    )
    stack.roll()
    assert run_at(stack, due + SETTLE - 1) == 0
    assert run_at(stack, due + SETTLE) == 1
    assert files(tmp_path) == [name(due - HOUR, due)]
    found = json.loads((tmp_path / "exports" / name(due - HOUR, due)).read_bytes())
    assert sum(item["scraped"] for item in found["metrics"]["throughput"]["items"]) == 14
    (item,) = listed(client)
    assert item["next_run_at"] == to_rfc3339(due + HOUR)
    assert item["last_file"] == name(due - HOUR, due)
    assert item["last_error"] is None
    assert run_at(stack, due + SETTLE) == 0


def test_what_came_due_while_nothing_ran_is_written_after_a_restart(
    stack: Stack, client: TestClient, tmp_path: Path
) -> None:
    due = next_hour()
    create(client)
    assert run_at(stack, due + 3 * HOUR) == 3
    assert files(tmp_path) == [name(due + (k - 1) * HOUR, due + k * HOUR) for k in range(3)]
    assert listed(client)[0]["next_run_at"] == to_rfc3339(due + 3 * HOUR)


def test_files_that_would_be_deleted_at_once_are_not_written(
    stack: Stack, client: TestClient, tmp_path: Path
) -> None:
    due = next_hour()
    create(client, keep=2)
    assert run_at(stack, due + 100 * HOUR + SETTLE) == 2
    assert files(tmp_path) == [name(due + (k - 1) * HOUR, due + k * HOUR) for k in (99, 100)]


def test_old_files_of_a_schedule_are_deleted_and_no_others(
    stack: Stack, client: TestClient, tmp_path: Path
) -> None:
    due = next_hour()
    create(client, keep=2)
    create(client, name="hourly-more", keep=5)
    folder = tmp_path / "exports" / "default" / "hourly"
    for k in range(4):
        run_at(stack, due + k * HOUR + SETTLE)
        if k == 0:
            (folder / "notes.txt").write_text("mine")
            (folder / "hourly-more-20260101T000000Z-20260101T010000Z.json").write_text("another's")
    assert [path for path in files(tmp_path) if path.startswith("default/hourly/hourly-2")] == [
        name(due + (k - 1) * HOUR, due + k * HOUR) for k in (2, 3)
    ]
    assert {"notes.txt", "hourly-more-20260101T000000Z-20260101T010000Z.json"} <= {
        p.name for p in folder.iterdir()
    }
    assert sum(path.startswith("default/hourly-more/") for path in files(tmp_path)) == 4


def test_a_store_that_is_down_is_told_and_the_file_is_written_once_it_is_back(
    stack: Stack, client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = next_hour()
    create(client)

    def down(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("the store is on holiday")

    clock = [due + SETTLE]
    running = repeated(stack, 0)
    running._clock = lambda: clock[0]
    with monkeypatch.context() as patch:
        patch.setattr(stack.series, "ask", down)
        assert asyncio.run(running.run_due()) == 0
    (item,) = listed(client)
    assert item["last_error"] == "the store is on holiday"
    assert item["next_run_at"] == to_rfc3339(due)
    assert files(tmp_path) == []
    assert asyncio.run(running.run_due()) == 0, "it waits before it tries again"
    clock[0] += RETRY_EVERY
    assert asyncio.run(running.run_due()) == 1
    (item,) = listed(client)
    assert item["last_error"] is None
    assert files(tmp_path) == [name(due - HOUR, due)]


def test_a_folder_that_cannot_be_written_to_is_told(stack: Stack, client: TestClient, tmp_path: Path) -> None:
    due = next_hour()
    create(client)
    (tmp_path / "exports" / "default").mkdir(parents=True)
    (tmp_path / "exports" / "default" / "hourly").write_text("in the way")
    assert run_at(stack, due + SETTLE) == 0
    assert listed(client)[0]["last_error"] in ("Not a directory", "File exists")


def test_a_mistake_of_ours_is_told_and_holds_up_no_other_schedule(
    stack: Stack, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = next_hour()
    create(client, name="a")
    create(client, name="b", format="csv")

    def mistaken(*_: Any) -> Iterator[bytes]:
        yield b"{"
        raise ValueError("a mistake")

    broken = Format("json", "json", "application/json", mistaken)
    monkeypatch.setattr("api.exports.repeated.FORMATS", {**FORMATS, "json": broken})
    assert run_at(stack, due + SETTLE) == 1
    a, b = listed(client)
    assert (a["last_error"], a["last_file"], b["last_error"]) == ("a mistake", None, None)


@pytest.mark.parametrize(
    ("cadence", "due"),
    [
        ("1m", "2026-01-07T10:21:00Z"),
        ("15m", "2026-01-07T10:30:00Z"),
        ("12h", "2026-01-07T12:00:00Z"),
        ("24h", "2026-01-08T00:00:00Z"),
        ("7d", "2026-01-12T00:00:00Z"),
    ],
)
def test_schedules_are_due_at_round_times_and_weekly_ones_on_monday(cadence: str, due: str) -> None:
    wednesday = to_ns(datetime(2026, 1, 7, 10, 20, 30, tzinfo=UTC))
    assert to_rfc3339(first_after(wednesday, parse_interval(cadence))) == due
    exactly = first_after(wednesday, parse_interval(cadence))
    assert first_after(exactly, parse_interval(cadence)) == exactly + parse_interval(cadence)


def test_only_the_process_that_holds_the_lease_writes(
    stack: Stack, client: TestClient, tmp_path: Path
) -> None:
    due = next_hour()
    create(client)
    assert hold_lease(stack.records.engine, LEASE, "another", 60)
    assert run_at(stack, due + SETTLE) == 0
    assert hold_lease(stack.records.engine, LEASE, "another", 0)
    assert run_at(stack, due + SETTLE) == 1
    assert hold_lease(stack.records.engine, LEASE, "another", 60), "it was let go"


@pytest.mark.parametrize(
    ("made", "extension"), [("csv", "csv"), ("parquet", "parquet"), ("prometheus", "prom")]
)
def test_files_are_written_in_any_format(
    stack: Stack, client: TestClient, tmp_path: Path, made: str, extension: str
) -> None:
    due = next_hour()
    create(client, format=made)
    assert run_at(stack, due + SETTLE) == 1
    assert files(tmp_path) == [name(due - HOUR, due, extension=extension)]


def test_a_running_application_writes_what_is_due(make: Callable[..., Stack], tmp_path: Path) -> None:
    stack = make()
    TestClient(stack.app, base_url=BASE).post(
        PATH, json={"name": "minutes", "cadence": "1m", "timeframe": "1h"}
    )
    # As if it had been made some minutes ago.
    now = now_ns()
    past = now - now % MINUTE - 3 * MINUTE
    with writing(stack.records.engine) as db:
        db.execute(update(ExportSchedule).values(next_run_at=to_datetime(past)))
    with TestClient(stack.app, base_url=BASE):
        for _ in range(100):
            if len(list((tmp_path / "exports").rglob("*.csv"))) >= 2:
                break
            asyncio.run(asyncio.sleep(0.05))
    assert files(tmp_path)[0] == name(past - HOUR, past, "minutes", "csv")
