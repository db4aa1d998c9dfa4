"""Proxies, against what the events themselves add up to."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from scrapewatch.time import DAY, HOUR, MINUTE, SECOND, now_ns, to_ns
from tests.api.stacks import Stack, event

PATH = "/api/v1/monitoring/proxy-stats"
LENGTH = {"1h": HOUR, "6h": 6 * HOUR, "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY}


def used(now: int, length: int, *, seed: int) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    found = []
    for _ in range(400):
        requests = chance.randint(1, 50)
        value: dict[str, Any] = {
            "provider": chance.choice(("acme", "b,c=d", "zebra")),
            "requests": requests,
            "failures": chance.randint(0, requests),
            "bans": chance.randint(0, 2),
            "bytes": chance.randint(0, 10**6),
            "cost": chance.randint(0, 1_000) / 1_000,
        }
        if chance.random() < 0.8:
            value["proxy"] = f"p{chance.randint(1, 5)}"
        if chance.random() < 0.8:
            value["latency"] = chance.randint(1, 5_000) / 1_000
        found.append(event("proxy", value, time=now - chance.randrange(int(1.3 * length)) - SECOND))
    return found


def by_hand(values: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures, said again from the values of the events."""
    requests = sum(value["requests"] for value in values)
    failures, bans = (sum(value[name] for value in values) for name in ("failures", "bans"))
    timed = [(value["latency"], value["requests"]) for value in values if "latency" in value]
    weight = sum(count for _, count in timed)
    cost = sum(value["cost"] for value in values)
    return {
        "requests": requests,
        "failures": failures,
        "success_rate": 1 - failures / requests,
        "bans": bans,
        "ban_rate": bans / requests,
        "average_latency": sum(latency * count for latency, count in timed) / weight if weight else None,
        "max_latency": max((latency for latency, _ in timed), default=None),
        "bytes": sum(value["bytes"] for value in values),
        "cost": cost,
        "cost_per_1000_requests": cost / requests * 1_000,
    }


@pytest.mark.parametrize("timeframe", LENGTH)
def test_the_figures_are_what_the_events_add_up_to(stack: Stack, client: TestClient, timeframe: str) -> None:
    now = now_ns()
    events = used(now, LENGTH[timeframe], seed=3)
    stack.store([each for each in events if each["time"] >= now - 6 * DAY])
    if old := [each for each in events if each["time"] < now - 6 * DAY]:
        stack.store(old, source="history")
    stack.roll("proxies")
    answer = client.get(PATH, params={"timeframe": timeframe}).json()
    start = to_ns(datetime.fromisoformat(answer["start"]))
    assert now - start >= LENGTH[timeframe]
    inside = [each["value"] for each in events if each["time"] >= start]
    assert answer["total"] == pytest.approx(by_hand(inside))
    assert {item["provider"] for item in answer["items"]} == {"acme", "b,c=d", "zebra"}
    assert [item["requests"] for item in answer["items"]] == sorted(
        (item["requests"] for item in answer["items"]), reverse=True
    )
    for item in answer["items"]:
        own = [value for value in inside if value["provider"] == item["provider"]]
        proxies, name = item.pop("proxies"), item.pop("provider")
        assert item.pop("proxy_count") == len(proxies) == len({value.get("proxy") for value in own})
        assert item == pytest.approx(by_hand(own)), name
        for proxy in proxies:
            which = proxy.pop("proxy")
            assert proxy == pytest.approx(by_hand([v for v in own if v.get("proxy", "") == which]))


def test_one_provider_and_its_most_used_proxies(stack: Stack, client: TestClient) -> None:
    at = now_ns() - MINUTE
    stack.store(
        [
            event("proxy", {"provider": provider, "proxy": f"p{k}", "requests": k}, time=at)
            for provider in ("acme", "' OR 1=1 --")
            for k in range(1, 6)
        ]
    )
    stack.roll("proxies")
    answer = client.get(PATH, params={"provider": "' OR 1=1 --", "limit": 2}).json()
    [item] = answer["items"]
    assert item["provider"] == "' OR 1=1 --" and item["requests"] == 15 and item["proxy_count"] == 5
    assert [proxy["proxy"] for proxy in item["proxies"]] == ["p5", "p4"]


def test_an_empty_store_answers_nothing_in_figures(client: TestClient) -> None:
    answer = client.get(PATH).json()
    assert answer["items"] == [] and answer["total"]["requests"] == 0
    assert answer["total"]["success_rate"] is None and answer["total"]["cost_per_1000_requests"] is None


def test_without_the_store_of_points_the_answer_is_a_problem(stack: Stack, client: TestClient) -> None:
    stack.store([event("proxy", {"provider": "acme"})])
    stack.series.close()
    assert client.get(PATH).status_code == 503
