"""Collector and API as processes of their own, as the containers run them."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import websockets

from influx.bootstrap import COLLECTOR, READER, bootstrap, token_file
from tests.influxd import Influxd
from tests.postgres import Postgres
from tests.redis import Redis
from tests.stack.running import Up


@pytest.fixture
def processes(influxd: Influxd, postgres: Postgres, redis: Redis, tmp_path: Path) -> Iterator[tuple[Up, Up]]:
    url = postgres.database()
    with Influxd() as fresh:
        secrets = tmp_path / "secrets"
        bootstrap(fresh.url, fresh.org, fresh.token, secrets_dir=secrets)
        shared = {
            "INFLUX_URL": fresh.url,
            "INFLUX_ORG": fresh.org,
            "INFLUX_TOKEN_FILE": str(token_file(secrets, "default", COLLECTOR)),
            "DATABASE_URL": url,
            "REDIS_URL": redis.url,
            "SCRAPEWATCH_CHECK_INTERVAL": "1",
        }
        (tmp_path / "collector").mkdir()
        (tmp_path / "api").mkdir()
        with (
            Up(tmp_path / "collector", shared, command=("collector",)) as collector,
            Up(
                tmp_path / "api",
                {
                    **shared,
                    "INFLUX_TOKEN_FILE": str(token_file(secrets, "default", READER)),
                    "SCRAPEWATCH_COLLECTOR_URL": collector.url,
                },
                command=("api",),
            ) as api,
        ):
            yield collector, api
    postgres.drop(url)


def post(up: Up, events: list[dict[str, object]]) -> dict[str, object]:
    request = urllib.request.Request(f"{up.url}/api/v1/monitoring/metrics", json.dumps(events).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, object] = json.loads(answer.read())
        return found


def test_an_event_taken_by_the_collector_shows_in_the_api_live_and_for_good(processes: tuple[Up, Up]) -> None:
    collector, api = processes

    async def see() -> dict[str, object]:
        async with websockets.connect(f"ws://127.0.0.1:{api.port}/ws/sessions/s1") as socket:
            await socket.recv()  # the snapshot
            await asyncio.to_thread(
                post,
                collector,
                [{"session_id": "s1", "metric": "job_scraped", "value": {"site": "a", "count": 5}}],
            )
            async with asyncio.timeout(20):
                while True:
                    message: dict[str, object] = json.loads(await socket.recv())
                    if "job_scraped" in json.dumps(message):
                        return message

    assert asyncio.run(see())
    collector.drain()
    assert [session["total_jobs_found"] for session in api.sessions()] == [5]
    assert collector.get("/readyz") == {"status": "ready"}
    assert api.get("/readyz") == {"status": "ready"}
    deadline = time.monotonic() + 30
    while not {"influxdb", "sql", "redis", "collector"} <= services_up(api):
        assert time.monotonic() < deadline, api.get("/api/v1/monitoring/health/services")
        time.sleep(0.2)


def services_up(api: Up) -> set[str]:
    listed = api.get("/api/v1/monitoring/health/services")["items"]
    return {service["name"] for service in listed if service["status"] == "up"}


def test_the_checks_of_the_api_reach_the_collector(processes: tuple[Up, Up]) -> None:
    collector, _ = processes
    for _ in range(200):
        if collector.metric("scrapewatch_events_accepted_total") > 0:
            break
        collector.get("/healthz")
        asyncio.run(asyncio.sleep(0.1))
    assert collector.metric("scrapewatch_events_accepted_total") > 0
