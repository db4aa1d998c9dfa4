"""The figures of a session, against what the events themselves add up to."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from starlette.testclient import TestClient

from scrapewatch.time import DAY, HOUR, MINUTE, SECOND, now_ns, to_rfc3339
from tests.api.stacks import BASE, Stack, event

EVERY = {"1m": MINUTE, "5m": 5 * MINUTE, "1h": HOUR, "1d": DAY}


def path(interval: str, session: str = "s1") -> str:
    return f"/api/v1/monitoring/sessions/{session}/metrics?interval={interval}"


def crawl(start: int, *, seed: int, steps: int = 250) -> list[dict[str, Any]]:
    """A run of an hour and a half with pauses, in which pages fail as a page, as an error, or as both."""
    chance = random.Random(seed)
    found = []
    at = start
    for _ in range(steps):
        at += chance.choice((3, 5, 20, 40, 150)) * SECOND
        site = chance.choice(("indeed", "linkedin", "a b,c=d"))
        good = chance.random() < 0.8
        found.append(
            event(
                "page_processed",
                {"site": site, "status": 200 if good else 403, "duration": chance.randint(1, 4_000) / 1_000},
                time=at,
            )
        )
        if good:
            found.append(event("job_scraped", {"site": site, "count": chance.randint(0, 9)}, time=at))
        elif chance.random() < 0.5:
            found.append(
                event("error_occurred", {"site": site, "type": chance.choice(("403", "timeout"))}, time=at)
            )
        if chance.random() < 0.1:
            found.append(
                event("queue", {"site": site, "depth": chance.randint(0, 50), "active_scrapers": 2}, time=at)
            )
            found.append(
                event("resources", {"memory_mb": float(chance.randint(50, 90)), "cpu_percent": 12.5}, time=at)
            )
    return found


def of(events: Sequence[dict[str, Any]], metric: str) -> list[dict[str, Any]]:
    return [found["value"] for found in events if found["metric"] == metric]


def by_hand(events: Sequence[dict[str, Any]], every: int) -> dict[str, dict[str, Any]]:
    """The same figures, said again from the events."""
    windows: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for found in events:
        windows[found["time"] // every * every].append(found)
    answer = {}
    for start in range(min(windows), max(windows) + 1, every):
        inside = windows.get(start, [])
        pages, errors = of(inside, "page_processed"), of(inside, "error_occurred")
        times: defaultdict[str, list[float]] = defaultdict(list)
        seen, good, bad = Counter[str](), Counter[str](), Counter[str]()
        for value in pages:
            times[value["site"]].append(value["duration"])
            seen[value["site"]] += 1
            good[value["site"]] += value["status"] == 200
        for value in errors:
            bad[value["site"]] += 1
        depths: defaultdict[str, list[int]] = defaultdict(list)
        for value in of(inside, "queue"):
            depths[value["site"]].append(value["depth"])
        answer[to_rfc3339(start)] = {
            "jobs_per_minute": sum(value["count"] for value in of(inside, "job_scraped")) / (every / MINUTE),
            "queue_depth": sum(max(found) for found in depths.values()) if depths else None,
            "active_scrapers": 2 * len(depths) if depths else None,
            "memory_usage_mb": max((value["memory_mb"] for value in of(inside, "resources")), default=None),
            "cpu_usage_percent": 12.5 if of(inside, "resources") else None,
            "site_response_times": {site: sum(found) / len(found) for site, found in times.items()},
            "site_success_rates": {
                site: good[site] / (good[site] + max(seen[site] - good[site], bad[site]))
                for site in {*seen, *bad}
            },
            "error_counts": dict(Counter(value["type"] for value in errors)),
        }
    return answer


@pytest.mark.parametrize("interval", ["1m", "5m", "1h", "1d"])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_figures_are_what_the_events_add_up_to(
    stack: Stack, client: TestClient, interval: str, seed: int
) -> None:
    events = crawl(now_ns() - 5 * HOUR, seed=seed)
    for half in (events[::2], events[1::2]):
        stack.store(half)
    stack.store([event("job_scraped", {"site": "indeed", "count": 1_000}, session="another")])
    answer = client.get(path(interval)).json()
    expected = by_hand(events, EVERY[interval])
    assert [item["time"] for item in answer["items"]] == list(expected)
    for item in answer["items"]:
        time = item.pop("time")
        assert item.keys() == expected[time].keys()
        for name, value in expected[time].items():
            assert item[name] == pytest.approx(value), (time, name)
    assert answer["points_expired"] is False


def test_a_window_without_an_event_has_rates_of_zero_and_gauges_of_null(
    stack: Stack, client: TestClient
) -> None:
    start = now_ns() // HOUR * HOUR - HOUR
    stack.store([event("job_scraped", {"site": "indeed"}, time=start + n * MINUTE) for n in (0, 3)])
    items = client.get(path("1m")).json()["items"]
    assert [item["jobs_per_minute"] for item in items] == [1, 0, 0, 1]
    assert items[1] == {
        "time": to_rfc3339(start + MINUTE),
        "jobs_per_minute": 0.0,
        "active_scrapers": None,
        "queue_depth": None,
        "memory_usage_mb": None,
        "cpu_usage_percent": None,
        "site_response_times": {},
        "site_success_rates": {},
        "error_counts": {},
    }


def test_a_session_without_points_has_no_window(stack: Stack, client: TestClient) -> None:
    stack.store([event("session_queued", {"sites": ["indeed"]})])
    assert client.get(path("1m")).json()["items"] == []


def test_too_many_windows_are_refused_with_the_interval_to_ask_for(stack: Stack, client: TestClient) -> None:
    now = now_ns()
    stack.store([event("job_scraped", {"site": "indeed"}, time=at) for at in (now - 6 * DAY, now)])
    answer = client.get(path("1m"))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "query.interval"
    assert "ask for interval=5m" in answer.json()["detail"]
    assert len(client.get(path("5m")).json()["items"]) in (6 * 288 + 1, 6 * 288 + 2)


def test_an_interval_that_is_none_is_refused(stack: Stack, client: TestClient) -> None:
    stack.store([event("job_scraped", {"site": "indeed"})])
    assert client.get(path("2m")).status_code == 422


def test_points_past_their_retention_are_said_to_be_gone(make: Callable[..., Stack]) -> None:
    stack = make(metrics_retention_days=30)
    client = TestClient(stack.app, base_url=BASE)
    now = now_ns()
    old = [
        event("job_scraped", {"site": "indeed"}, time=now - days * DAY, session="old") for days in (40, 35)
    ]
    across = [
        event("job_scraped", {"site": "indeed"}, time=now - days * DAY, session="across") for days in (31, 29)
    ]
    stack.store([*old, *across], source="history")
    assert client.get(path("1d", "old")).json()["items"] == []
    assert client.get(path("1d", "old")).json()["points_expired"] is True
    assert client.get(path("1d", "across")).json()["points_expired"] is True
    assert client.get("/api/v1/monitoring/sessions/old").json()["total_jobs_found"] == 2


def test_without_the_store_of_points_the_answer_is_a_problem(stack: Stack, client: TestClient) -> None:
    stack.store([event("job_scraped", {"site": "indeed"})])
    stack.series.close()
    answer = client.get(path("1m"))
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:scrapewatch:problem:store-unavailable"
