"""Health with a judgement: what is near its limit, why, and when it will be full."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.health.findings import Kind, Status
from api.health.models import ServiceStatus, SystemHealth
from api.health.outlook import Busy, Filling, Outlook
from api.health.overview import Level, SystemOverview, level_of, overview
from api.resources.machine import MachineReader, MachineReading, Partition
from scrapewatch.forecasts import Forecast
from scrapewatch.time import DAY, HOUR, MINUTE, SECOND, now_ns, to_datetime
from tests.api.stacks import Stack, event

PATH = "/api/v1/monitoring/system-health"
GIB = 2**30


@pytest.fixture(scope="module")
def reading() -> MachineReading:
    """A machine at ease."""
    found = MachineReader().read()
    return replace(
        found,
        host="web-1",
        processors=replace(found.processors, lately=20.0),
        memory_percent=40.0,
        swap_total=0,
        partitions=[Partition("/data", "/dev/sdb1", "ext4", 100 * GIB, 50 * GIB, 50 * GIB, 50.0)],
    )


def judged(machine: MachineReading | None, **given: Any) -> SystemOverview:
    example: Any = SystemHealth.model_config["json_schema_extra"]
    return overview(
        now=now_ns(),
        system=SystemHealth.model_validate(example["example"]),
        machine=machine,
        **{"services": [], "fillings": [], "busy": [], "degraded": [], **given},
    )


def filling(seconds: float, *, mount: str | None = "/data", host: str = "web-1") -> Filling:
    return Filling(host, mount, Forecast(seconds, seconds / 2, seconds * 2), 7 * DAY)


def service(name: str, kind: Kind, status: Status, message: str | None = None) -> ServiceStatus:
    return ServiceStatus(
        name=name,
        kind=kind,
        status=status,
        response_time=None,
        last_check=to_datetime(now_ns()),
        error_message=message,
        uptime_percent_24h=None,
        uptime_percent_30d=None,
    )


@pytest.mark.parametrize(
    ("percent", "level"), [(74.9, "ok"), (75.0, "warning"), (89.9, "warning"), (90.0, "critical")]
)
def test_a_use_is_near_its_limit_from_75_and_90_percent_on(percent: float, level: str) -> None:
    assert level_of(percent) == level


def test_a_machine_at_ease_is_healthy(reading: MachineReading) -> None:
    found = judged(reading)
    assert found.status == "healthy" and found.recommendations == []
    assert {usage.resource for usage in found.usages} == {"cpu", "memory", "disk"}


def test_a_disk_that_fills_is_named_with_when_it_will_be_full(reading: MachineReading) -> None:
    found = judged(reading, fillings=[filling(3 * 86_400)])
    [advice] = found.recommendations
    assert found.status == "warning" and advice.severity == "warning"
    assert advice.text == "disk /data is used to 50 % and will be full in 3 days at this rate"
    assert advice.forecast is not None and advice.forecast.seconds == 3 * 86_400
    assert (advice.forecast.at - found.checked_at).total_seconds() == pytest.approx(3 * 86_400, abs=1)
    [advice] = judged(reading, fillings=[filling(5 * 3_600)]).recommendations
    assert advice.severity == "critical" and "in 5 hours" in advice.text
    assert judged(reading, fillings=[filling(20 * 86_400)]).recommendations == []


def test_what_uses_the_machine_is_named(reading: MachineReading) -> None:
    strained = replace(
        reading,
        processors=replace(reading.processors, lately=97.0),
        memory_percent=80.0,
        swap_total=GIB,
        swap_percent=95.0,
    )
    busy = [
        Busy("web-1", "influxd", 140.0, 2 * GIB),
        Busy("web-1", "python", 30.0, 6 * GIB),
        Busy("other", "go", 700.0, 90 * GIB),
    ]
    found = judged(strained, busy=busy, fillings=[filling(3_600 * 40, mount=None)])
    by_resource = {advice.resource: advice for advice in found.recommendations}
    assert found.status == "critical" and found.recommendations[0].severity is Level.CRITICAL
    assert by_resource["cpu"].text == (
        "cpu is used to 97 %: influxd takes 140 % of a core, python takes 30 % of a core"
    )
    assert by_resource["memory"].text == (
        "memory is used to 80 % and will be full in 2 days at this rate: python takes 6.0 GiB, influxd takes 2.0 GiB"
    )
    assert by_resource["swap"].action


def test_memory_that_rises_from_little_is_no_news(reading: MachineReading) -> None:
    assert judged(reading, fillings=[filling(3_600, mount=None)]).recommendations == []


def test_a_disk_of_another_machine_is_named_with_it(reading: MachineReading) -> None:
    [advice] = judged(reading, fillings=[filling(86_400 * 2, host="worker-1")]).recommendations
    assert advice.text == "disk /data of worker-1 will be full in 2 days at this rate"
    [advice] = judged(reading, fillings=[filling(86_400 * 2, mount="/elsewhere")]).recommendations
    assert advice.text == "disk /elsewhere of web-1 will be full in 2 days at this rate"
    [advice] = judged(None, fillings=[filling(86_400 * 2)]).recommendations
    assert advice.resource == "disk"


def test_services_that_are_down_are_named_with_their_reason(reading: MachineReading) -> None:
    services = [
        service("influxdb", Kind.STORE, Status.DOWN, "connection refused"),
        service("proxies", Kind.SERVICE, Status.DEGRADED, "acme: 9 of 10 requests failed"),
        service("site:indeed", Kind.SITE, Status.DOWN, "its circuit breaker is open"),
        service("sql", Kind.STORE, Status.UP),
        service("grafana", Kind.SERVICE, Status.UNKNOWN),
    ]
    found = judged(reading, services=services)
    assert [(advice.resource, advice.severity) for advice in found.recommendations] == [
        ("influxdb", "critical"),
        ("proxies", "warning"),
        ("site:indeed", "warning"),
    ]
    assert found.recommendations[0].text == "influxdb is down: connection refused"
    assert all(advice.action for advice in found.recommendations)
    assert judged(reading, services=services[2:]).status == "warning", "a site's fault is not the product's"


def host_sample(at: int, percent: float, *, host: str = "web-1", total: int = 100 * GIB) -> dict[str, Any]:
    disk = {"mount": "/data", "total": total, "used": round(percent / 100 * total), "percent": percent}
    value = {
        "host": host,
        "cpu_percent": 10.0,
        "memory_total": 8 * GIB,
        "memory_available": 4 * GIB,
        "memory_percent": 50.0,
        "disks": [disk],
        "processes": [
            {"process": "influxd", "count": 1, "cpu_percent": 120.0, "memory": 2 * GIB},
            {"process": "python", "count": 3, "cpu_percent": 40.0, "memory": GIB},
        ],
    }
    return event("host", value, time=at, session=None)


def refreshed(stack: Stack) -> Outlook:
    asyncio.run(stack.services.outlook.refresh(now_ns()))
    return stack.services.outlook


def test_a_forecast_comes_from_the_samples_that_were_stored(stack: Stack, client: TestClient) -> None:
    now = now_ns()
    # Four days, a percent every four hours: from 70 on it is full after another 24 of them, less what has passed.
    stack.store([host_sample(now - k * HOUR, 94 - k / 4) for k in range(96)])
    stack.roll("host", "host_disks")
    [found] = refreshed(stack).fillings
    assert (found.host, found.mount) == ("web-1", "/data")
    assert found.forecast.seconds == pytest.approx(24 * 3_600, rel=0.05)
    assert [(each.process, each.cpu_percent) for each in stack.services.outlook.busy] == [
        ("influxd", 120.0),
        ("python", 40.0),
    ]
    answer = client.get(PATH).json()
    advice = next(each for each in answer["recommendations"] if "web-1" in each["text"])
    assert "disk /data of web-1 will be full in" in advice["text"]
    assert answer["degraded"] == []


@pytest.mark.parametrize(
    "level",
    [lambda k: 90.0 + k % 3, lambda k: 50.0 + k / 10, lambda k: 60.0],
    ids=["up and down", "falling", "level"],
)
def test_nothing_is_said_where_samples_carry_no_forecast(stack: Stack, level: Callable[[int], float]) -> None:
    now = now_ns()
    stack.store([host_sample(now - k * HOUR, level(k)) for k in range(96)])
    stack.roll("host", "host_disks")
    assert refreshed(stack).fillings == []


def test_a_disk_that_was_made_larger_begins_anew(stack: Stack) -> None:
    now = now_ns()
    small = [host_sample(now - k * HOUR, 99 - k / 10) for k in range(10, 96)]
    large = [host_sample(now - k * HOUR, 49.0 - k / 10, total=200 * GIB) for k in range(10)]
    stack.store([*small, *large])
    stack.roll("host", "host_disks")
    assert refreshed(stack).fillings == [], "ten samples are too few"


def test_what_began_to_fill_today_is_seen_by_the_last_hours(stack: Stack) -> None:
    now = now_ns()
    calm = [host_sample(now - k * HOUR, 40.0) for k in range(7, 96)]
    fills = [host_sample(now - k * 5 * MINUTE, 76.0 - k / 2) for k in range(72)]
    stack.store([*calm, *fills])
    stack.roll("host", "host_disks")
    [found] = refreshed(stack).fillings
    assert found.basis == 6 * HOUR
    assert found.forecast.seconds == pytest.approx(24 / 0.5 * 5 * 60, rel=0.05)


def test_with_the_store_down_forecasts_are_said_to_be_missing(stack: Stack, client: TestClient) -> None:
    stack.store([host_sample(now_ns() - SECOND, 50.0)])
    assert refreshed(stack).known
    stack.series.close()
    assert not refreshed(stack).known
    answer = client.get(PATH)
    assert answer.status_code == 200 and answer.json()["degraded"] == ["forecasts"]


def test_the_route_answers_both_others_with_thresholds(stack: Stack, client: TestClient) -> None:
    asyncio.run(stack.services.checker.check())
    answer = client.get("/monitoring/system-health").json()
    assert answer["thresholds"] == {"warning_percent": 75.0, "critical_percent": 90.0}
    assert answer["system"].keys() == client.get("/monitoring/health/system").json().keys()
    assert answer["services"] == client.get("/monitoring/health/services").json()["items"]
    assert answer["checked_at"].endswith("Z")
