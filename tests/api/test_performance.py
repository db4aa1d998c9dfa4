"""Performance, against what the events themselves add up to."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from scrapewatch.time import DAY, HOUR, MINUTE, SECOND, now_ns, to_ns
from tests.api.stacks import Stack, event

LENGTH = {"1h": HOUR, "6h": 6 * HOUR, "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY}
PART = {"1h": 5 * MINUTE, "6h": 30 * MINUTE, "24h": 2 * HOUR, "7d": 12 * HOUR, "30d": 2 * DAY}
EVERY = {"1h": MINUTE, "6h": 5 * MINUTE, "24h": 15 * MINUTE, "7d": HOUR, "30d": 6 * HOUR}
SITES = ("indeed", "linkedin", "a b,c=d")


def path(timeframe: str) -> str:
    return f"/api/v1/monitoring/analytics/performance?timeframe={timeframe}"


def fleet(now: int, length: int, *, seed: int, count: int = 600) -> list[dict[str, Any]]:
    """Events of two periods and a little more, in which pages fail as a page, as an error, or as both."""
    chance = random.Random(seed)
    found = []
    for _ in range(count):
        at = now - chance.randrange(int(2.2 * length)) - SECOND
        site = chance.choice(SITES)
        good = chance.random() < 0.8
        value: dict[str, Any] = {
            "site": site,
            "status": 200 if good else 403,
            "blocked": not good and chance.random() < 0.5,
        }
        if chance.random() < 0.9:
            value["duration"] = chance.randint(1, 4_000) / 1_000
        found.append(event("page_processed", value, time=at))
        if good:
            found.append(event("job_scraped", {"site": site, "count": chance.randint(0, 9)}, time=at))
        elif chance.random() < 0.5:
            found.append(event("error_occurred", {"site": site, "type": "403"}, time=at))
        if chance.random() < 0.3:
            items = chance.randint(1, 50)
            found.append(
                event(
                    "data_quality",
                    {"site": site, "items": items, "valid": items - items // 5, "duplicates": items // 7},
                    time=at,
                )
            )
    return found


def bring(stack: Stack, events: Sequence[dict[str, Any]], now: int) -> None:
    live = [each for each in events if each["time"] >= now - 6 * DAY]
    old = [each for each in events if each["time"] < now - 6 * DAY]
    stack.store(live)
    if old:
        stack.store(old, source="history")
    stack.roll("jobs", "pages", "errors", "data_quality")


def figures(events: Sequence[dict[str, Any]], length: int) -> dict[str, float | None]:
    """The figures of ``events``, which lie within ``length`` ns, said again from them."""
    pages = [each["value"] for each in events if each["metric"] == "page_processed"]
    errors = sum(each["metric"] == "error_occurred" for each in events)
    good = sum(page["status"] < 400 and not page["blocked"] for page in pages)
    tried = good + max(len(pages) - good, errors)
    times = [page["duration"] for page in pages if "duration" in page]
    quality = [each["value"] for each in events if each["metric"] == "data_quality"]
    items = sum(value["items"] for value in quality)
    jobs = sum(each["value"]["count"] for each in events if each["metric"] == "job_scraped")
    return {
        "throughput": jobs / (length / HOUR),
        "success_rate": good / tried if tried else None,
        "response_time": sum(times) / len(times) if times else None,
        "data_quality": sum(value["valid"] for value in quality) / items if items else None,
        "duplicates": sum(value["duplicates"] for value in quality) / items if items else None,
    }


def change(now: float | None, before: float | None) -> float | None:
    return None if now is None or not before else (now / before - 1) * 100


def ns(text: str) -> int:
    return to_ns(datetime.fromisoformat(text))


@pytest.mark.parametrize("timeframe", LENGTH)
def test_the_figures_are_what_the_events_add_up_to(stack: Stack, client: TestClient, timeframe: str) -> None:
    length, every = LENGTH[timeframe], EVERY[timeframe]
    now = now_ns()
    events = fleet(now, length, seed=len(timeframe))
    bring(stack, events, now)
    answer = client.get(path(timeframe)).json()
    start, stop, before = (ns(answer[name]) for name in ("start", "stop", "previous_start"))
    assert start - before == length
    assert length - PART[timeframe] <= stop - start <= length
    period = [each for each in events if each["time"] >= start]
    earlier = [each for each in events if before <= each["time"] < start]
    expected, previous = figures(period, stop - start), figures(earlier, length)
    by_window: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for each in period:
        by_window[each["time"] // every * every].append(each)
    for name in ("throughput", "success_rate", "response_time", "data_quality", "duplicates"):
        figure = answer[name]
        assert figure["current"] == pytest.approx(expected[name]), name
        assert figure["previous"] == pytest.approx(previous[name]), name
        assert figure["change_percent"] == pytest.approx(change(expected[name], previous[name])), name
        series = {ns(point["time"]): point["value"] for point in figure["series"]}
        assert list(series) == list(range(start, stop, every))
        for at, value in list(series.items())[:-1]:
            assert value == pytest.approx(figures(by_window[at], every)[name]), (name, at)
    totals = answer["totals"]
    assert totals["jobs"] == sum(e["value"]["count"] for e in period if e["metric"] == "job_scraped")
    assert totals["pages"] == sum(each["metric"] == "page_processed" for each in period)
    for shown in answer["sites"]:
        own = [each for each in period if each["value"]["site"] == shown["site"]]
        known = [each for each in earlier if each["value"]["site"] == shown["site"]]
        of_site, of_known = figures(own, stop - start), figures(known, length)
        for name in ("throughput", "success_rate", "response_time", "data_quality"):
            assert shown[name]["current"] == pytest.approx(of_site[name])
            assert shown[name]["previous"] == pytest.approx(of_known[name])
    assert {shown["site"] for shown in answer["sites"]} == set(SITES)


def test_the_open_window_has_the_rate_of_the_time_that_has_passed(stack: Stack, client: TestClient) -> None:
    now = now_ns()
    start = now // (15 * MINUTE) * 15 * MINUTE
    stack.store([event("job_scraped", {"site": "indeed", "count": 60}, time=start)])
    stack.roll("jobs", "pages", "errors", "data_quality")
    answer = client.get(path("24h")).json()
    last = answer["throughput"]["series"][-1]
    passed = ns(answer["stop"]) - start
    assert ns(last["time"]) == start
    assert last["value"] == (None if passed < 90 * SECOND else pytest.approx(60 * HOUR / passed))


def test_without_anything_before_nothing_is_said_to_have_changed(stack: Stack, client: TestClient) -> None:
    stack.store([event("job_scraped", {"site": "indeed"}, time=now_ns() - MINUTE)])
    stack.roll("jobs", "pages", "errors", "data_quality")
    answer = client.get(path("24h")).json()
    assert answer["throughput"]["previous"] is None and answer["throughput"]["change_percent"] is None
    assert answer["recommendations"] == []
    assert answer["success_rate"]["current"] is None


def test_an_empty_store_answers_nothing_in_figures(client: TestClient) -> None:
    answer = client.get(path("1h")).json()
    assert answer["throughput"]["current"] == 0 and answer["throughput"]["previous"] is None
    assert answer["sites"] == [] and 55 <= len(answer["throughput"]["series"]) <= 60


def pages(site: str, count: int, at: int, **value: Any) -> list[dict[str, Any]]:
    return [
        event("page_processed", {"site": site, "status": 200, **value}, time=at + k) for k in range(count)
    ]


def test_recommendations_name_the_site_the_change_and_the_cause(stack: Stack, client: TestClient) -> None:
    now = now_ns()
    before, lately = now - 30 * HOUR, now - 2 * HOUR

    def quality(site: str, valid: int, duplicates: int, at: int) -> dict[str, Any]:
        value = {"site": site, "items": 100, "valid": valid, "duplicates": duplicates}
        return event("data_quality", value, time=at)

    stack.store(
        [
            *pages("blocks", 40, before),
            *pages("blocks", 10, lately),
            *pages("blocks", 30, lately, status=403, blocked=True),
            *pages("slow", 30, before, duration=0.5),
            *pages("slow", 30, lately, duration=1.0),
            *pages("dry", 30, before),
            event("job_scraped", {"site": "dry", "count": 100}, time=before),
            *pages("dry", 30, lately),
            event("job_scraped", {"site": "dry", "count": 10}, time=lately),
            quality("dirty", 99, 0, before),
            quality("dirty", 80, 40, lately),
            *pages("fine", 30, before, duration=0.5),
            *pages("fine", 30, lately, duration=0.5),
        ]
    )
    stack.roll("jobs", "pages", "errors", "data_quality")
    answer = client.get(path("24h")).json()
    found = {(each["site"], each["metric"]): each for each in answer["recommendations"]}
    assert found.keys() == {
        ("blocks", "success_rate"),
        ("slow", "response_time"),
        ("dry", "throughput"),
        ("dirty", "data_quality"),
    }
    assert answer["recommendations"][0]["severity"] == "critical"
    blocked = found["blocks", "success_rate"]
    assert "fell from 100% to 25%" in blocked["text"] and "30 pages were blocks" in blocked["text"]
    assert "proxies" in blocked["action"]
    assert "1.00 s, 100 % longer" in found["slow", "response_time"]["text"]
    assert sum(each["metric"] == "data_quality" for each in answer["recommendations"]) == 2


def test_a_timeframe_that_is_none_is_refused(client: TestClient) -> None:
    answer = client.get(path("2h"))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "query.timeframe"


def test_without_the_store_of_points_the_answer_is_a_problem(stack: Stack, client: TestClient) -> None:
    stack.store([event("job_scraped", {"site": "indeed"})])
    stack.series.close()
    assert client.get(path("1h")).status_code == 503
