"""With a store that hangs, routes answer what they can, or say in time that they cannot."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.app import ApiServices
from influx.store import InfluxStore
from records.queries import RecordQueries
from scrapewatch.live import MemoryHub
from scrapewatch.settings import Settings
from scrapewatch.time import now_ns
from stack.access import make_gate
from tests.api.stacks import BASE, application_of
from tests.new_records import records_in

PATIENCE = 0.3

HANGS = 30.0
"""Seconds after which the store's own client would give up: an answer well before that did not wait for it, on a busy machine, too."""


@pytest.fixture
def hanging() -> Iterator[str]:
    """The URL of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def services(hanging: str, tmp_path: Path) -> Iterator[ApiServices]:
    """An API whose InfluxDB hangs, and that waits for it only so long."""
    series = InfluxStore(hanging, "org", "token", read_timeout=HANGS)
    records = records_in(tmp_path)

    async def report(events: Any) -> None:
        """Nobody takes them."""

    found = ApiServices(
        Settings(data_dir=tmp_path, influx_url=hanging),
        series,
        RecordQueries(records.engine),
        MemoryHub(),
        report,
    )
    for patience in found.patience.values():
        patience._seconds = PATIENCE
    yield found
    series.close()
    records.close()


@pytest.fixture
def client(services: ApiServices) -> TestClient:
    # Starlette's client has no address: with a network that is trusted it is the administrator.
    settings = services.settings.model_copy(update={"trust_network": True})
    gate, _ = make_gate(settings, services.records.engine)
    return TestClient(application_of(services, gate), base_url=BASE)


@pytest.mark.parametrize(
    "path",
    [
        *("/monitoring/dashboard", "/monitoring/system-health", "/monitoring/health/services"),
        *("/monitoring/health/system", "/monitoring/jobs/active", "/monitoring/alerts"),
        "/monitoring/resources/utilization",
    ],
)
def test_what_needs_no_points_is_answered_at_once(client: TestClient, path: str) -> None:
    began = time.monotonic()
    assert client.get(path).status_code == 200
    assert time.monotonic() - began < HANGS / 2


@pytest.mark.parametrize("path", ["/monitoring/analytics/performance", "/monitoring/proxy-stats"])
def test_what_needs_points_says_in_time_that_there_are_none(client: TestClient, path: str) -> None:
    began = time.monotonic()
    answer = client.get(path)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] and "did not answer" in answer.json()["detail"]
    assert time.monotonic() - began < HANGS / 2


def test_checks_and_forecasts_say_what_hangs(services: ApiServices, client: TestClient) -> None:
    asyncio.run(services.checker.check())
    asyncio.run(services.outlook.refresh(now_ns()))
    answer = client.get("/monitoring/system-health").json()
    assert answer["status"] == "critical" and answer["degraded"] == ["forecasts"]
    [advice] = [each for each in answer["recommendations"] if each["resource"] == "influxdb"]
    assert advice["severity"] == "critical" and "did not answer" in advice["text"]
