"""The machine, the sessions and the services at a glance."""

from __future__ import annotations

from typing import Any

from api.health.findings import Kind, ServiceState, Status
from api.health.models import ServiceStatus, SystemHealth
from api.services import ApiServices
from records.queries import Counts
from scrapewatch.problems import ScrapewatchError
from scrapewatch.time import MINUTE, now_ns

_ORDER = {Kind.STORE: 0, Kind.SERVICE: 1, Kind.SITE: 2}


def services_now(services: ApiServices, tenant: str) -> list[ServiceStatus]:
    """Each service as last checked, as ``tenant`` may see it: the stores first and the sites last."""
    states = sorted(services.states(tenant).values(), key=lambda state: _ORDER[state.kind])
    return [ServiceStatus.of(state) for state in states]


async def read_system(services: ApiServices, tenant: str) -> SystemHealth:
    """Health at a glance; with the database down the rest, and ``degraded`` says so.

    Raises:
        StoreUnavailable: the machine cannot be read.
    """
    activity = services.feed.activity(tenant)
    host = await services.patience["machine"].call(services.host.read)
    counts: Counts | None = None
    degraded = []
    try:
        counts = await services.patience["records"].call(services.records.counts, tenant)
    except ScrapewatchError:
        degraded.append("records")
    states = services.states(tenant)
    stores = [state.finding.status for state in states.values() if state.kind is Kind.STORE]
    sites: dict[str, Any] = {
        f"{state.name.removeprefix('site:')}_accessible": state.finding.status is not Status.DOWN
        for state in states.values()
        if state.kind is Kind.SITE and state.finding.status is not Status.UNKNOWN
    }
    return SystemHealth(
        total_memory_mb=round(host.memory_total_mb, 1),
        available_memory_mb=round(host.memory_available_mb, 1),
        cpu_usage_percent=round(host.cpu_percent, 1),
        disk_usage_percent=host.disk_percent,
        active_sessions=None if counts is None else counts.active,
        total_scrapers_running=activity.active_scrapers(now_ns() - 5 * MINUTE),
        database_connections=services.database_connections(),
        fastapi_healthy=True,
        database_healthy=not degraded and all(status is Status.UP for status in stores),
        orchestrator_healthy=_healthy(states.get("orchestrator")),
        degraded=degraded,
        **sites,
    )


def _healthy(state: ServiceState | None) -> bool | None:
    if state is None or state.finding.status is Status.UNKNOWN:
        return None
    return state.finding.status is Status.UP
