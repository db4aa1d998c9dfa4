"""Health with a judgement: what is near its limit, what is down, why, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from api.health.findings import Kind, Status
from api.health.models import ServiceStatus, SystemHealth
from api.health.outlook import Busy, Filling
from api.resources.machine import MachineReading
from scrapewatch.time import DAY, HOUR, MINUTE, SECOND, to_datetime

WARNING_PERCENT = 75.0
CRITICAL_PERCENT = 90.0
"""Usages from which something is near its limit."""

SOON = 7 * DAY / SECOND
VERY_SOON = DAY / SECOND
"""Seconds until something is full from which that is told, and from which it is critical."""
MEMORY_LEAST = 50.0
"""Memory in use (percent) below which its rise is no news: programs that start take memory."""
_NAMED = 3


class Level(StrEnum):
    """How near something is to its limit."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"


_WORSE = {Level.OK: 0, Level.WARNING: 1, Level.CRITICAL: 2}


class Overall(StrEnum):
    """The one word."""

    HEALTHY = "healthy"
    WARNING = "warning"
    CRITICAL = "critical"


class Thresholds(BaseModel):
    """Usages from which something is near its limit."""

    warning_percent: float = Field(
        WARNING_PERCENT, description="From here it is a warning.", json_schema_extra={"unit": "percent"}
    )
    critical_percent: float = Field(
        CRITICAL_PERCENT, description="From here it is critical.", json_schema_extra={"unit": "percent"}
    )


class Usage(BaseModel):
    """How much of something is used."""

    resource: str = Field(description="cpu, memory, swap or disk.")
    name: str | None = Field(description="Which, such as where a file system is mounted.")
    percent: float = Field(
        description="Use, 0–100; of the processors over the last minute.",
        json_schema_extra={"unit": "percent"},
    )
    level: Level = Field(description="How near it is to its limit.")


class ForecastShown(BaseModel):
    """When something will be full, at the rate at which it fills."""

    at: datetime = Field(description="When.")
    seconds: float = Field(description="In how long, s.", json_schema_extra={"unit": "s"})
    earliest_seconds: float = Field(
        description="In how long at the earliest, s: the rate is known to 95 %.",
        json_schema_extra={"unit": "s"},
    )
    latest_seconds: float | None = Field(
        description="In how long at the latest, s.", json_schema_extra={"unit": "s"}
    )
    basis_seconds: float = Field(
        description="How far back the samples reach that it rests on, s.", json_schema_extra={"unit": "s"}
    )


class Recommendation(BaseModel):
    """What needs a look, why, and what to do."""

    severity: Level = Field(description="warning or critical.")
    resource: str = Field(description="What it is about, such as `disk`, `influxdb` or `site:indeed`.")
    text: str = Field(description="What is wrong and why, in a sentence.")
    action: str | None = Field(description="What to do about it.")
    forecast: ForecastShown | None = Field(None, description="When it will be full, where samples tell.")


class SystemOverview(BaseModel):
    """The health of the system with a judgement."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "status": "critical",
                "checked_at": "2026-01-05T10:02:00Z",
                "thresholds": {"warning_percent": 75.0, "critical_percent": 90.0},
                "usages": [{"resource": "disk", "name": "/data", "percent": 91.0, "level": "critical"}],
                "system": SystemHealth.model_config["json_schema_extra"]["example"],  # type: ignore[index]
                "services": [
                    {
                        "name": "influxdb",
                        "kind": "store",
                        "status": "up",
                        "response_time": 0.004,
                        "last_check": "2026-01-05T10:02:00Z",
                        "error_message": None,
                        "uptime_percent_24h": 100.0,
                        "uptime_percent_30d": 99.9,
                    }
                ],
                "recommendations": [
                    {
                        "severity": "critical",
                        "resource": "disk",
                        "text": "disk /data is used to 91 % and will be full in 3 days at this rate",
                        "action": "make room on it, or give it more",
                        "forecast": {
                            "at": "2026-01-08T10:02:00Z",
                            "seconds": 259200.0,
                            "earliest_seconds": 216000.0,
                            "latest_seconds": 324000.0,
                            "basis_seconds": 604800.0,
                        },
                    }
                ],
                "degraded": [],
            }
        }
    )

    status: Overall = Field(description="healthy, warning or critical: the worst of all that follows.")
    checked_at: datetime = Field(description="When.")
    thresholds: Thresholds = Field(description="Usages from which something is near its limit.")
    usages: list[Usage] = Field(description="What of the machine is used how much.")
    system: SystemHealth = Field(description="What `/monitoring/health/system` answers.")
    services: list[ServiceStatus] = Field(description="What `/monitoring/health/services` answers.")
    recommendations: list[Recommendation] = Field(description="What needs a look, the worst first.")
    degraded: list[str] = Field([], description="What could not be asked now.")


def overview(
    *,
    now: int,
    system: SystemHealth,
    services: Sequence[ServiceStatus],
    machine: MachineReading | None,
    fillings: Sequence[Filling],
    busy: Sequence[Busy],
    degraded: Iterable[str],
) -> SystemOverview:
    """All of it together; ``machine`` is None where it could not be read."""
    usages = [] if machine is None else usages_of(machine)
    found = [
        *(_about_machine(usages, machine.host, fillings, busy, now) if machine is not None else ()),
        *_about_others(usages, None if machine is None else machine.host, fillings, now),
        *_about_services(services),
    ]
    found.sort(key=lambda each: -_WORSE[each.severity])
    worst = max((each.severity for each in found), key=_WORSE.__getitem__, default=Level.OK)
    return SystemOverview(
        status=Overall.HEALTHY if worst is Level.OK else Overall(worst),
        checked_at=to_datetime(now),
        thresholds=Thresholds(),
        usages=usages,
        system=system,
        services=list(services),
        recommendations=found,
        degraded=sorted({*degraded, *system.degraded}),
    )


def level_of(percent: float) -> Level:
    """How near a use of ``percent`` is to its limit."""
    if percent >= CRITICAL_PERCENT:
        return Level.CRITICAL
    return Level.WARNING if percent >= WARNING_PERCENT else Level.OK


def usages_of(machine: MachineReading) -> list[Usage]:
    """What of the machine is used how much."""
    found = [
        ("cpu", None, machine.processors.lately),
        ("memory", None, machine.memory_percent),
        *([("swap", None, machine.swap_percent)] if machine.swap_total else []),
        *(("disk", each.mount, each.percent) for each in machine.partitions),
    ]
    return [
        Usage(resource=resource, name=name, percent=percent, level=level_of(percent))
        for resource, name, percent in found
    ]


def _about_machine(
    usages: Iterable[Usage], host: str, fillings: Iterable[Filling], busy: Iterable[Busy], now: int
) -> list[Recommendation]:
    own = {each.mount: each for each in fillings if each.host == host}
    processes = [each for each in busy if each.host == host]
    found = []
    for usage in usages:
        filling = None
        if usage.resource == "disk":
            filling = own.get(usage.name)
        elif usage.resource == "memory" and usage.percent >= MEMORY_LEAST:
            filling = own.get(None)
        level = max(usage.level, _urgency(filling), key=_WORSE.__getitem__)
        if level is Level.OK:
            continue
        name = f"disk {usage.name}" if usage.resource == "disk" else usage.resource
        text = f"{name} is used to {usage.percent:.0f} %"
        soon = filling is not None and _urgency(filling) is not Level.OK
        if filling is not None and soon:
            text += f" and will be full in {_span(filling.forecast.seconds)} at this rate"
        text += _because(usage.resource, processes)
        found.append(
            Recommendation(
                severity=level,
                resource=usage.resource,
                text=text,
                action=_ACTIONS[usage.resource],
                forecast=_shown(filling, now) if filling is not None and soon else None,
            )
        )
    return found


_ACTIONS = {
    "cpu": "run less at once, or move it to a machine of its own",
    "memory": "restart or limit what takes most, or give the machine more",
    "swap": "the machine has too little memory for what runs on it: it slows everything down",
    "disk": "make room on it, or give it more; METRICS_RETENTION_DAYS bounds what is kept of points",
}


def _about_others(
    usages: Iterable[Usage], own: str | None, fillings: Iterable[Filling], now: int
) -> list[Recommendation]:
    """Of disks that only samples tell of: those of other machines, where collectors run, and what is not mounted here."""
    shown = {(own, usage.name) for usage in usages if usage.resource == "disk"}
    return [
        Recommendation(
            severity=_urgency(each),
            resource="disk",
            text=f"disk {each.mount} of {each.host} will be full in {_span(each.forecast.seconds)} at this rate",
            action=_ACTIONS["disk"],
            forecast=_shown(each, now),
        )
        for each in fillings
        if (each.host, each.mount) not in shown and each.mount is not None and _urgency(each) is not Level.OK
    ]


def _about_services(services: Iterable[ServiceStatus]) -> list[Recommendation]:
    found = []
    for service in services:
        if service.status not in (Status.DOWN, Status.DEGRADED):
            continue
        # A site that is down leaves the product itself at work.
        bad = service.status is Status.DOWN and service.kind is not Kind.SITE
        verb = "are" if service.name == "proxies" else "is"
        text = f"{service.name.removeprefix('site:')} {verb} {service.status}"
        if service.error_message:
            text += f": {service.error_message}"
        found.append(
            Recommendation(
                severity=Level.CRITICAL if bad else Level.WARNING,
                resource=service.name,
                text=text,
                action=_service_action(service),
            )
        )
    return found


def _service_action(service: ServiceStatus) -> str | None:
    if service.kind is Kind.STORE:
        return "events wait in the spool meanwhile; see that it runs and can be reached"
    if service.kind is Kind.SITE:
        return "look at its sessions' errors; slow down, or let other proxies go there"
    return {
        "proxies": "let another provider go in their place, or rest the banned ones",
        "orchestrator": "see whether the scrapers still run and reach the collector",
        "collector": "docs/operations.md says what to look at",
    }.get(service.name)


def _because(resource: str, processes: Sequence[Busy]) -> str:
    if resource == "cpu":
        top = sorted(processes, key=lambda each: -each.cpu_percent)[:_NAMED]
        said = [f"{each.process} takes {each.cpu_percent:.0f} % of a core" for each in top]
    elif resource in ("memory", "swap"):
        top = sorted(processes, key=lambda each: -each.memory)[:_NAMED]
        said = [f"{each.process} takes {each.memory / 2**30:.1f} GiB" for each in top]
    else:
        return ""
    return f": {', '.join(said)}" if said else ""


def _urgency(filling: Filling | None) -> Level:
    if filling is None or filling.forecast.seconds > SOON:
        return Level.OK
    return Level.CRITICAL if filling.forecast.seconds <= VERY_SOON else Level.WARNING


def _shown(filling: Filling, now: int) -> ForecastShown:
    forecast = filling.forecast
    return ForecastShown(
        at=to_datetime(now + round(forecast.seconds) * SECOND),
        seconds=round(forecast.seconds),
        earliest_seconds=round(forecast.earliest),
        latest_seconds=None if forecast.latest is None else round(forecast.latest),
        basis_seconds=filling.basis / SECOND,
    )


def _span(seconds: float) -> str:
    for unit, name in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute")):
        count = round(seconds * SECOND / unit)
        if seconds * SECOND >= 1.5 * unit or unit == MINUTE:
            return f"{count} {name}{'' if count == 1 else 's'}"
    raise AssertionError("minutes are the last")
