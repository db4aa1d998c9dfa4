"""The dashboard: everything at a glance, against what the events say."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.testclient import TestClient

from scrapewatch.time import MINUTE, SECOND, now_ns
from tests.api.stacks import Stack, event
from tests.api.test_alerts import of_grafana, send

PATH = "/api/v1/monitoring/dashboard"


def last_whole_minute() -> int:
    """A moment in the middle of the last whole minute, as rates see it."""
    return now_ns() // (10 * SECOND) * 10 * SECOND - 30 * SECOND


def traffic() -> list[dict[str, Any]]:
    at = last_whole_minute()
    good = {"site": "indeed", "status": 200, "duration": 0.5}
    bad = {"site": "indeed", "status": 403, "blocked": True, "duration": 1.5}
    return [
        event("session_started", {"sites": ["indeed"], "max_jobs_per_site": 100}, time=at - MINUTE),
        *(event("page_processed", good, time=at + k) for k in range(6)),
        *(event("page_processed", bad, time=at + k) for k in range(2)),
        *(event("error_occurred", {"site": "indeed", "type": "403"}, time=at + k) for k in range(3)),
        event("job_scraped", {"site": "indeed", "count": 30}, time=at),
        event("queue", {"site": "indeed", "depth": 12, "active_scrapers": 4}, time=at),
    ]


def test_the_stats_are_what_the_events_of_the_last_minute_add_up_to(stack: Stack, client: TestClient) -> None:
    events = traffic()
    stack.store(events)
    stack.hear(events)
    send(client, of_grafana())
    asyncio.run(stack.services.checker.check())
    data = client.get(PATH).json()
    # 6 good pages; the 3 errors stand for the 2 bad pages and one attempt more.
    assert data["real_time_stats"] == {
        "active_crawlers": 4,
        "requests_per_minute": 9.0,
        "success_rate": pytest.approx(6 / 9),
        "average_response_time": pytest.approx(750.0),
        "queue_size": 12,
        "error_rate": pytest.approx(3 / 9),
    }
    performance = data["performance_metrics"]
    assert performance["blocked_pages"] == 2 and performance["errors"] == {"403": 3}
    minutes = performance["window_seconds"] / 60
    assert performance["jobs_per_minute"] == pytest.approx(30 / minutes)
    [site] = performance["sites"]
    assert site["site"] == "indeed" and site["requests_per_minute"] == pytest.approx(9 / minutes)
    assert [job["session_id"] for job in data["active_jobs"]] == ["s1"]
    assert [alert["rule"] for alert in data["recent_alerts"]] == ["High Error Rate"]
    assert {"sql", "collector", "site:indeed"} <= {service["name"] for service in data["services"]}
    system = data["system_metrics"]
    assert 0 <= system["cpu_usage"] <= 100 and 0 < system["memory_usage"] <= 100
    assert system["uptime_seconds"] >= 0 and system["network_io"]["bytes_sent_per_second"] >= 0
    assert data["degraded"] == []


def test_with_nothing_heard_the_rates_are_zero_and_the_shares_null(client: TestClient) -> None:
    stats = client.get(PATH).json()["real_time_stats"]
    assert stats["requests_per_minute"] == 0 and stats["queue_size"] == 0
    assert stats["success_rate"] is stats["error_rate"] is stats["average_response_time"] is None


def test_without_its_database_the_rest_is_answered(stack: Stack, client: TestClient) -> None:
    stack.hear(traffic())
    with stack.records.engine.begin() as db:
        db.exec_driver_sql("DROP TABLE scrape_sessions")
        db.exec_driver_sql("DROP TABLE alerts")
    answer = client.get("/monitoring/dashboard")
    assert answer.status_code == 200
    data = answer.json()
    assert data["degraded"] == ["jobs", "alerts"]
    assert data["active_jobs"] is None and data["recent_alerts"] is None
    assert data["real_time_stats"]["requests_per_minute"] == 9.0
