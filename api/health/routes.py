"""The routes of health."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api.access import tenant_of, who_asks
from api.health.checks import Kind, ServiceState, Status
from api.services import ApiServices
from api.telemetry import CONTENT_TYPE
from records.queries import Counts
from scrapewatch.access import READ
from scrapewatch.http import problem, problem_responses
from scrapewatch.problems import ScrapewatchError
from scrapewatch.time import MINUTE, now_ns, to_datetime


class SystemHealth(BaseModel):
    """The machine, the sessions and the services at a glance. `{site}_accessible` is there for each site with traffic lately."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "total_memory_mb": 16_000.0,
                "available_memory_mb": 9_000.0,
                "cpu_usage_percent": 12.5,
                "disk_usage_percent": 41.0,
                "active_sessions": 3,
                "total_scrapers_running": 12,
                "database_connections": 2,
                "fastapi_healthy": True,
                "database_healthy": True,
                "orchestrator_healthy": True,
                "degraded": [],
                "indeed_accessible": True,
                "linkedin_accessible": False,
            }
        },
    )

    total_memory_mb: float = Field(
        description="Memory of the machine, MiB.", json_schema_extra={"unit": "MiBy"}
    )
    available_memory_mb: float = Field(
        description="Memory that can be had without swapping, MiB.", json_schema_extra={"unit": "MiBy"}
    )
    cpu_usage_percent: float = Field(
        description="Use of all cores, 0–100.", json_schema_extra={"unit": "percent"}
    )
    disk_usage_percent: float = Field(
        description="Use of the file system that holds the data, 0–100.",
        json_schema_extra={"unit": "percent"},
    )
    active_sessions: int | None = Field(
        description="Sessions that run; null where the records cannot be read."
    )
    total_scrapers_running: int = Field(
        description="Scrapers at work, as the sessions heard of in the last 5 minutes said."
    )
    database_connections: int | None = Field(
        description="Connections to the database in use by this process."
    )
    fastapi_healthy: bool = Field(description="Whether the API works: it answers this.")
    database_healthy: bool = Field(description="Whether the last check found both stores up.")
    orchestrator_healthy: bool | None = Field(
        description="Whether scrapers report as they should; null where none runs."
    )
    degraded: list[str] = Field([], description="What could not be asked now.")


class ServiceStatus(BaseModel):
    """A service as last checked."""

    name: str = Field(description="Its name; sites begin with `site:`.", examples=["influxdb"])
    kind: Kind = Field(description="What it is.")
    status: Status = Field(description="How it does.")
    response_time: float | None = Field(
        description="How long the check took, s; for a site, the mean time of a page.",
        json_schema_extra={"unit": "s"},
    )
    last_check: datetime = Field(description="When it was checked.")
    error_message: str | None = Field(description="What is wrong.")
    uptime_percent_24h: float | None = Field(
        description="Share of the checks of 24 hours that found it up, 0–100.",
        json_schema_extra={"unit": "percent"},
    )
    uptime_percent_30d: float | None = Field(
        description="Share of the checks of 30 days that found it up, 0–100.",
        json_schema_extra={"unit": "percent"},
    )

    @classmethod
    def of(cls, state: ServiceState) -> ServiceStatus:
        """The service of ``state``."""
        return cls(
            name=state.name,
            kind=state.kind,
            status=state.finding.status,
            response_time=state.finding.response_time,
            last_check=to_datetime(state.checked_at),
            error_message=state.finding.message,
            uptime_percent_24h=state.uptime_24h,
            uptime_percent_30d=state.uptime_30d,
        )


class ServiceList(BaseModel):
    """The services."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "items": [
                    {
                        "name": "influxdb",
                        "kind": "store",
                        "status": "up",
                        "response_time": 0.004,
                        "last_check": "2026-01-05T10:02:00Z",
                        "error_message": None,
                        "uptime_percent_24h": 100.0,
                        "uptime_percent_30d": 99.9,
                    },
                    {
                        "name": "site:indeed",
                        "kind": "site",
                        "status": "down",
                        "response_time": 0.8,
                        "last_check": "2026-01-05T10:02:00Z",
                        "error_message": "its circuit breaker is open",
                        "uptime_percent_24h": 91.7,
                        "uptime_percent_30d": 98.2,
                    },
                ],
                "next_cursor": None,
            }
        }
    )

    items: list[ServiceStatus] = Field(description="The services, the stores first and the sites last.")
    next_cursor: str | None = Field(None, description="Always null.")


def build_router(services: ApiServices) -> APIRouter:
    """The routes below ``/monitoring/health``."""
    router = APIRouter(
        prefix="/monitoring/health", tags=["health"], route_class=services.telemetry.route_class()
    )

    @router.get("/system", summary="Health at a glance", response_model=SystemHealth)
    async def system_health(request: Request) -> SystemHealth:
        """With the database down it answers the rest, and says so in `degraded`."""
        tenant = tenant_of(request)
        activity = services.feed.activity(tenant)
        host = await asyncio.to_thread(services.host.read)
        counts: Counts | None = None
        degraded = []
        try:
            counts = await services.patience["records"].call(services.records.counts, tenant)
        except ScrapewatchError:
            degraded.append("records")
        states = services.states(tenant)
        stores = [state.finding.status for state in states.values() if state.kind is Kind.STORE]
        sites: dict[str, Any] = {
            f"{name.removeprefix('site:')}_accessible": state.finding.status is not Status.DOWN
            for name, state in states.items()
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

    @router.get("/services", summary="Status of each service", response_model=ServiceList)
    async def service_health(request: Request) -> ServiceList:
        """What the last round of checks found (`SCRAPEWATCH_CHECK_INTERVAL`), with the uptime over a day and over 30 days."""
        order = {Kind.STORE: 0, Kind.SERVICE: 1, Kind.SITE: 2}
        states = sorted(services.states(tenant_of(request)).values(), key=lambda state: order[state.kind])
        return ServiceList(items=[ServiceStatus.of(state) for state in states])

    return router


def build_probe_router(services: ApiServices) -> APIRouter:
    """``/healthz``, ``/readyz`` and ``/metrics``, for those who run the product."""
    router = APIRouter(tags=["probes"])

    @router.get(
        "/healthz", summary="Whether the process lives", responses={200: _shown({"status": "alive"}, "Alive")}
    )
    async def alive() -> dict[str, str]:
        """200 while the process answers at all."""
        return {"status": "alive"}

    @router.get(
        "/readyz",
        summary="Whether it can do its work",
        responses={200: _shown({"status": "ready"}, "Ready"), **problem_responses(503)},
    )
    async def ready(request: Request) -> Response:
        """200 with every part ready, or a 503 problem that says what is wrong with which, to who may read."""
        wrong = {name: text for name, text in (await _readiness(services)).items() if text is not None}
        if not wrong:
            return Response(b'{"status":"ready"}', media_type="application/json")
        asking = await who_asks(request)
        if asking is None or not asking.may(READ):
            wrong = dict.fromkeys(wrong, "is not ready")
        return problem(
            503,
            "Not ready",
            "; ".join(f"{name}: {text}" for name, text in wrong.items()),
            kind="not-ready",
            headers={"Retry-After": "5"},
            wrong=wrong,
        )

    @router.get(
        "/metrics",
        summary="Metrics for Prometheus",
        response_class=Response,
        responses={
            200: _shown("scrapewatch_events_accepted_total 445.0\n", "The metrics", media_type="text/plain")
        },
    )
    async def metrics() -> Response:
        """The product's own metrics in Prometheus' text format."""
        return Response(services.telemetry.text(), media_type=CONTENT_TYPE)

    return router


def _shown(example: Any, description: str, *, media_type: str = "application/json") -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"example": example}}}


async def _readiness(services: ApiServices) -> dict[str, str | None]:
    async def store(
        name: str, ready: Callable[[], str | None] | Callable[[], None]
    ) -> tuple[str, str | None]:
        try:
            return name, await services.patience["checks"].call(ready)
        except ScrapewatchError as error:
            return name, str(error)

    asked = [store("series", services.series.ready), store("records", services.records.ping)]
    found = dict(await asyncio.gather(*asked))
    if services.collector_status is not None:
        try:
            async with asyncio.timeout(5):
                problems = (await services.collector_status())["problems"]
            found["collector"] = "; ".join(problems) or None
        except TimeoutError:
            found["collector"] = "it does not say how it is"
    return found


def _healthy(state: ServiceState | None) -> bool | None:
    if state is None or state.finding.status is Status.UNKNOWN:
        return None
    return state.finding.status is Status.UP
