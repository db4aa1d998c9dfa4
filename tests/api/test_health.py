"""Health: of the services, of the sites, of the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from api.app import ApiServices, build_router
from api.health.findings import Finding, Kind, Status
from api.health.judging import judge_orchestrator, judge_proxies, judge_sites
from api.live.activity import Activity
from scrapewatch.events import validate
from scrapewatch.time import DAY, HOUR, MINUTE, SECOND, now_ns
from tests.api.sites import Site
from tests.api.stacks import BASE, Stack, event
from tests.redis import Redis

SERVICES = "/api/v1/monitoring/health/services"
SYSTEM = "/api/v1/monitoring/health/system"


def services(client: TestClient) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in client.get(SERVICES).json()["items"]}


def pages(site: str, good: int, bad: int, *, at: int) -> list[dict[str, Any]]:
    return [
        {
            "tenant": "default",
            **event("page_processed", {"site": site, "status": status, "duration": 0.25}, time=at),
        }
        for status in [200] * good + [403] * bad
    ]


def test_a_process_that_answers_is_alive(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}


def test_a_stack_that_works_is_ready(client: TestClient) -> None:
    assert client.get("/readyz").status_code == 200


def test_readiness_says_what_is_wrong_with_which_part(stack: Stack, client: TestClient) -> None:
    stack.problems.append("InfluxDB refused the token")
    stack.series.close()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    wrong = answer.json()["wrong"]
    assert wrong["collector"] == "InfluxDB refused the token"
    assert wrong["series"] and "records" not in wrong
    assert "InfluxDB refused the token" in answer.json()["detail"]


def test_each_service_is_listed_with_what_its_check_found(stack: Stack, client: TestClient) -> None:
    stack.problems.append("the spool is full")
    asyncio.run(stack.services.checker.check())
    found = services(client)
    assert {name: item["status"] for name, item in found.items()} == {
        "embedded store": "up",
        "sql": "up",
        "collector": "degraded",
        "orchestrator": "unknown",
        "proxies": "unknown",
    }
    assert found["collector"]["error_message"] == "the spool is full"
    assert found["sql"]["response_time"] > 0 and found["sql"]["last_check"].endswith("Z")


def test_a_store_that_fails_is_down_and_its_uptime_falls(stack: Stack, client: TestClient) -> None:
    asyncio.run(stack.services.checker.check())
    stack.series.close()
    asyncio.run(stack.services.checker.check())
    found = services(client)["embedded store"]
    assert found["status"] == "down" and found["error_message"]
    assert found["uptime_percent_24h"] == 50.0


def test_each_check_that_could_tell_is_reported_as_a_valid_event(stack: Stack) -> None:
    stack.services.feed.activity("default").see(pages("indeed", 1, 9, at=now_ns()), now_ns())
    asyncio.run(stack.services.checker.check())
    told = {sent["value"]["service"]: sent["value"]["up"] for sent in stack.reported}
    assert told == {
        "embedded store": True,
        "sql": True,
        "collector": True,
        "orchestrator": True,
        "site:indeed": False,
    }
    for sent in stack.reported:
        assert validate(sent)["metric"] == "service_check"


def test_uptimes_are_counted_from_the_checks_that_were_stored(make: Callable[..., Stack]) -> None:
    stack = make()
    now = now_ns()

    def checks(at: int, up: int, down: int) -> list[dict[str, Any]]:
        value = {"service": "grafana", "response_time": 0.1}
        return [
            event("service_check", {**value, "up": ok}, time=at + n * SECOND, session=None)
            for n, ok in enumerate([True] * up + [False] * down)
        ]

    # What is older than the rollups' delay is read from them: bring it there as the roller would.
    stack.store([*checks(now - 2 * HOUR, 9, 1), *checks(now - 3 * DAY, 5, 5)])
    stack.roll("service_checks")
    shares = asyncio.run(uptimes(stack))
    assert shares["grafana"] == (90.0, 70.0)


async def uptimes(stack: Stack) -> dict[str, tuple[float | None, float | None]]:
    await stack.services.checker.check()
    return stack.services.checker._uptimes


def test_the_system_at_a_glance(stack: Stack, client: TestClient) -> None:
    now = now_ns()
    events = [
        event("session_started", {"sites": ["indeed"]}),
        event("queue", {"site": "indeed", "depth": 5, "active_scrapers": 3}),
    ]
    stack.store(events)
    activity = stack.services.feed.activity("default")
    activity.see([{"tenant": "default", **found} for found in events], now)
    activity.see([*pages("indeed", 9, 0, at=now), *pages("linkedin", 0, 5, at=now)], now)
    asyncio.run(stack.services.checker.check())
    health = client.get(SYSTEM).json()
    assert health["active_sessions"] == 1
    assert health["total_scrapers_running"] == 3
    assert health["indeed_accessible"] is True and health["linkedin_accessible"] is False
    assert health["database_healthy"] and health["fastapi_healthy"] and health["orchestrator_healthy"]
    assert 0 < health["available_memory_mb"] < health["total_memory_mb"]
    assert 0 <= health["cpu_usage_percent"] <= 100 and 0 < health["disk_usage_percent"] <= 100
    assert health["degraded"] == []


def test_without_its_database_the_rest_is_answered(stack: Stack, client: TestClient) -> None:
    with stack.records.engine.begin() as db:
        db.exec_driver_sql("DROP TABLE scrape_sessions")
    answer = client.get(SYSTEM)
    assert answer.status_code == 200
    assert answer.json()["degraded"] == ["records"]
    assert answer.json()["active_sessions"] is None and answer.json()["database_healthy"] is False
    assert answer.json()["total_memory_mb"] > 0


@pytest.mark.parametrize(
    ("good", "bad", "status"),
    [(10, 0, "up"), (7, 3, "degraded"), (4, 6, "down"), (0, 3, "down"), (2, 0, "unknown")],
)
def test_a_site_is_judged_by_its_traffic(good: int, bad: int, status: str) -> None:
    now, activity = now_ns(), Activity()
    activity.see(pages("indeed", good, bad, at=now), now)
    assert judge_sites(activity, now)["indeed"].status == status


def test_a_site_whose_breaker_is_open_is_down() -> None:
    now, activity = now_ns(), Activity()
    activity.see(pages("indeed", 9, 0, at=now), now)
    activity.see_breaker("indeed", "open", 5, now)
    assert judge_sites(activity, now)["indeed"].status is Status.DOWN


def test_good_traffic_outweighs_an_old_word_of_a_breaker() -> None:
    now, activity = now_ns(), Activity()
    activity.see_breaker("indeed", "open", 5, now - 10 * MINUTE)
    assert judge_sites(activity, now)["indeed"].status is Status.DOWN, "nothing says otherwise"
    activity.see(pages("indeed", 9, 0, at=now), now)
    assert judge_sites(activity, now)["indeed"].status is Status.UP


def test_traffic_of_long_ago_judges_nothing() -> None:
    now, activity = now_ns(), Activity()
    activity.see(pages("indeed", 0, 9, at=now - 6 * MINUTE), now)
    assert judge_sites(activity, now)["indeed"].status is Status.UNKNOWN


@pytest.mark.parametrize(
    ("silent", "active", "status"),
    [(5, 2, "up"), (700, 2, "down"), (700, 0, "unknown"), (None, 0, "unknown")],
)
def test_scrapers_are_down_when_they_are_silent_although_sessions_run(
    silent: int | None, active: int, status: str
) -> None:
    now = now_ns()
    last = None if silent is None else now - silent * SECOND
    assert judge_orchestrator(last, active, 600, now).status == status


def test_a_check_that_raises_tells_the_kind_of_error_and_no_password(
    stack: Stack, client: TestClient
) -> None:
    async def leaky() -> Finding:
        raise RuntimeError("redis://user:hunter2@cache")

    stack.services.checker._checks["redis"] = (Kind.SERVICE, leaky)  # type: ignore[index]
    asyncio.run(stack.services.checker.check())
    assert services(client)["redis"]["error_message"] == "the check failed: RuntimeError"


def test_the_metrics_are_prometheus_text_with_those_of_others(make: Callable[..., Stack]) -> None:
    stack = make()
    given = stack.services
    asyncio.run(given.checker.check())
    own = ApiServices(
        given.settings,
        given.series,
        given.records,
        given.hub,
        given.report,
        extra_metrics=lambda: [GaugeMetricFamily("scrapewatch_other", "Another's.", 7)],
    )
    stack.app.router.routes.clear()
    stack.app.include_router(build_router(own))
    client = TestClient(stack.app, base_url=BASE)
    client.get("/api/v1/monitoring/sessions/one")
    client.get("/api/v1/monitoring/sessions/two")
    client.get("/api/v1/monitoring/sessions")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    named = {
        (sample.name, sample.labels.get("route"), sample.labels.get("status")): sample.value
        for sample in samples
    }
    assert named["scrapewatch_other", None, None] == 7
    assert named["scrapewatch_api_websockets", None, None] == 0
    assert named["scrapewatch_api_requests_total", "/monitoring/sessions", "200"] == 1
    one = "/monitoring/sessions/{session_id}"
    counted = named["scrapewatch_api_request_seconds_count", one, "404"]
    assert counted == 2, "by template: ids must not make series"


def proxy(provider: str, requests: int, failures: int, *, at: int, **more: Any) -> dict[str, Any]:
    value = {"provider": provider, "requests": requests, "failures": failures, **more}
    return {"tenant": "default", **event("proxy", value, time=at)}


@pytest.mark.parametrize(
    ("providers", "status"),
    [
        ({}, "unknown"),
        ({"acme": (2, 2)}, "unknown"),
        ({"acme": (100, 5)}, "up"),
        ({"acme": (100, 30)}, "degraded"),
        ({"acme": (100, 80)}, "down"),
        ({"acme": (100, 80), "zebra": (100, 0)}, "degraded"),
        ({"acme": (100, 80), "zebra": (50, 50)}, "down"),
    ],
)
def test_proxies_are_judged_by_what_scrapers_report(
    providers: dict[str, tuple[int, int]], status: str
) -> None:
    now, activity = now_ns(), Activity()
    activity.see([proxy(name, *counts, at=now) for name, counts in providers.items()], now)
    assert judge_proxies(activity, now).status == status


def test_providers_that_do_badly_are_named_the_worst_first() -> None:
    now, activity = now_ns(), Activity()
    activity.see(
        [
            proxy("acme", 10, 6, at=now, bans=2, latency=0.5),
            proxy("zebra", 30, 3, at=now, latency=1.5),
            proxy("worst", 10, 10, at=now),
        ],
        now,
    )
    found = judge_proxies(activity, now)
    assert found.message == (
        "worst: 10 of 10 requests failed; acme: 6 of 10 requests failed, 2 bans in 5 minutes"
    )
    assert found.response_time == pytest.approx((10 * 0.5 + 30 * 1.5) / 40)


def test_proxies_of_long_ago_are_judged_by_nothing() -> None:
    now, activity = now_ns(), Activity()
    activity.see([proxy("acme", 10, 10, at=now - 6 * MINUTE)], now)
    assert judge_proxies(activity, now).status is Status.UNKNOWN
    for k in range(200):
        activity.see([proxy("acme", 1, 0, at=now + k * 10 * SECOND)], now + k * 10 * SECOND)
    assert len(activity._proxies["acme"]) < 100, "what is past is let go of"


def test_another_tenant_sees_the_services_and_only_its_own_sites(
    stack: Stack, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = now_ns()
    stack.hear(pages("indeed", 9, 0, at=now))
    stack.services.feed.activity("acme").see(pages("linkedin", 0, 9, at=now), now)
    asyncio.run(stack.services.checker.check())
    monkeypatch.setattr("api.health.routes.tenant_of", lambda scope: "acme")
    found = services(client)
    assert found.keys() == {"embedded store", "sql", "collector", "proxies", "site:linkedin"}
    assert found["site:linkedin"]["status"] == "down"
    health = client.get(SYSTEM).json()
    assert health["linkedin_accessible"] is False and "indeed_accessible" not in health
    assert health["orchestrator_healthy"] is None


def test_redis_and_grafana_are_checked_where_they_are_configured(
    make: Callable[..., Stack], redis: Redis, site: Site
) -> None:
    site.answers["GET", "/api/health"] = 200, b'{"database": "ok"}'
    stack = make(redis_url=redis.url, grafana_url=site.url)
    asyncio.run(stack.services.checker.check())
    found = services(TestClient(stack.app, base_url=BASE))
    assert found["redis"]["status"] == found["grafana"]["status"] == "up"
    assert 0 < found["redis"]["response_time"] < 5 and 0 < found["grafana"]["response_time"] < 5
    site.answers["GET", "/api/health"] = 503, b'{"database": "failing"}'
    redis.stop()
    asyncio.run(stack.services.checker.check())
    found = services(TestClient(stack.app, base_url=BASE))
    assert found["grafana"]["status"] == "down"
    assert found["grafana"]["error_message"] == "it answered 503"
    assert found["redis"]["status"] == "down" and "ConnectionError" in found["redis"]["error_message"]
    assert found["grafana"]["uptime_percent_24h"] == 50.0
