"""The routes of monitoring on both pairs of stores, from events over HTTP to what is answered."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from scrapewatch.time import MINUTE, SECOND, now_ns, to_rfc3339
from tests.loopback import wait_for
from tests.stack.conftest import Stores
from tests.stack.running import Up

API = "/api/v1"
ROUTES = (
    *("/monitoring/dashboard", "/monitoring/system-health", "/monitoring/health/services"),
    *(
        "/monitoring/proxy-stats",
        "/monitoring/jobs/active",
        "/monitoring/resources/utilization?detailed=true",
    ),
    *("/monitoring/alerts", "/monitoring/alerts/statistics", "/monitoring/silences"),
    *(f"/monitoring/analytics/performance?timeframe={length}" for length in ("1h", "6h", "24h", "7d", "30d")),
)


def post(up: Up, path: str, body: Any) -> Any:
    request = urllib.request.Request(f"{up.url}{API}{path}", json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def test_what_scrapers_report_is_answered_by_every_route(stores: Stores) -> None:
    # Minutes that are over are rolled up at once.
    begun = now_ns() - 4 * MINUTE

    def event(metric: str, value: dict[str, Any], k: int = 0) -> dict[str, Any]:
        at = to_rfc3339(begun + k * SECOND)
        return {"session_id": "s1", "metric": metric, "value": value, "timestamp": at}

    events = [
        event("session_started", {"sites": ["indeed"], "max_jobs_per_site": 200}),
        *(event("page_processed", {"site": "indeed", "status": 200, "duration": 0.5}, k) for k in range(60)),
        *(event("job_scraped", {"site": "indeed", "count": 2}, k) for k in range(60)),
        event("proxy", {"provider": "acme", "proxy": "p1", "requests": 50, "failures": 5, "cost": 0.5}),
    ]
    with Up(stores.folder, stores.environment) as up:
        assert post(up, "/monitoring/metrics", events)["accepted"] == len(events)
        quality = {"site": "indeed", "items": 120, "valid": 90, "timestamp": to_rfc3339(begun)}
        assert post(up, "/data-quality-metrics", quality)["accepted"] == 1
        started = to_rfc3339(begun)
        told = {"alerts": [{"status": "firing", "labels": {"alertname": "Slow"}, "startsAt": started}]}
        assert post(up, "/monitoring/alerts/grafana", told)["opened"] == 1
        up.drain()

        def performance() -> Any:
            return up.get(f"{API}/monitoring/analytics/performance?timeframe=1h")

        wait_for(lambda: performance()["totals"]["items"] == 120, what="the minutes are rolled up")
        found = performance()
        assert (found["totals"]["jobs"], found["totals"]["pages"]) == (120, 60)
        assert found["success_rate"]["current"] == 1.0
        assert found["response_time"]["current"] == pytest.approx(0.5)
        assert found["data_quality"]["current"] == 0.75
        assert found["throughput"]["previous"] is None

        [provider] = up.get(f"{API}/monitoring/proxy-stats?timeframe=1h")["items"]
        assert (provider["provider"], provider["success_rate"], provider["cost"]) == ("acme", 0.9, 0.5)

        [job] = up.get(f"{API}/monitoring/jobs/active")["items"]
        assert job["progress"] == {"done": 120, "total": 200, "share": 0.6, "basis": "max_jobs"}
        dashboard = up.get(f"{API}/monitoring/dashboard")
        assert dashboard["performance_metrics"]["sites"][0]["site"] == "indeed"
        assert [alert["rule"] for alert in dashboard["recent_alerts"]] == ["Slow"]
        assert [shown["progress"] for shown in dashboard["active_jobs"]] == [job["progress"]]
        assert dashboard["degraded"] == []

        known = dashboard["recent_alerts"][0]["id"]
        assert post(up, f"/monitoring/alerts/{known}/resolve", {"by": "ann"})["resolved_by"] == "ann"
        for path in ROUTES:
            assert up.get(API + path) and up.get(path), path
