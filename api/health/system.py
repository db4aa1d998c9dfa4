"""The machine, the sessions and the services at a glance."""

from __future__ import annotations

from typing import Any

from api.health.findings import Kind, ServiceState, Status
from api.health.judging import judge_proxies, judge_sites
from api.health.models import ServiceStatus, SystemHealth
from api.services import ApiServices
from records.queries import Counts
from scrapewatch.ports import DEFAULT_TENANT
from scrapewatch.problems import ScrapewatchError
from scrapewatch.time import MINUTE, now_ns

_ORDER = {Kind.STORE: 0, Kind.SERVICE: 1, Kind.SITE: 2}


_JUDGED = ("orchestrator", "proxies")
"""Services that are judged by what the scrapers of the tenant ``default`` report, as sites are."""


def states_of(services: ApiServices, tenant: str) -> list[ServiceState]:
    """Each service as last checked, the stores first and the sites last; what is judged by traffic, by that of ``tenant``."""
    states = list(services.checker.states.values())
    if tenant != DEFAULT_TENANT:
        now, activity = now_ns(), services.feed.activity(tenant)
        states = [state for state in states if state.kind is not Kind.SITE and state.name not in _JUDGED]
        states.append(ServiceState("proxies", Kind.SERVICE, judge_proxies(activity, now), now))
        states += [
            ServiceState(f"site:{site}", Kind.SITE, finding, now)
            for site, finding in judge_sites(activity, now).items()
        ]
    return sorted(states, key=lambda state: _ORDER[state.kind])


def services_now(services: ApiServices, tenant: str) -> list[ServiceStatus]:
    """:func:`states_of` as the API shows them."""
    return [ServiceStatus.of(state) for state in states_of(services, tenant)]


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
    states = states_of(services, tenant)
    stores = [state.finding.status for state in states if state.kind is Kind.STORE]
    sites: dict[str, Any] = {
        f"{state.name.removeprefix('site:')}_accessible": state.finding.status is not Status.DOWN
        for state in states
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
        orchestrator_healthy=_healthy(next((each for each in states if each.name == "orchestrator"), None)),
        degraded=degraded,
        **sites,
    )


def _healthy(state: ServiceState | None) -> bool | None:
    if state is None or state.finding.status is Status.UNKNOWN:
        return None
    return state.finding.status is Status.UP
