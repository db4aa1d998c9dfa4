"""The routes of health."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from api.access import tenant_of, who_asks
from api.health.models import ServiceList, SystemHealth
from api.health.overview import SystemOverview, overview
from api.health.system import read_system, services_now
from api.resources.machine import MachineReading
from api.resources.routes import read_machine
from api.services import ApiServices
from api.telemetry import CONTENT_TYPE
from scrapewatch.access import READ, visible_to
from scrapewatch.http import problem, problem_responses
from scrapewatch.problems import ScrapewatchError
from scrapewatch.time import now_ns


def build_router(services: ApiServices) -> APIRouter:
    """The routes below ``/monitoring/health``, and ``/monitoring/system-health``."""
    router = APIRouter(prefix="/monitoring", tags=["health"], route_class=services.telemetry.route_class())

    @router.get(
        "/health/system",
        summary="Health at a glance",
        response_model=SystemHealth,
        responses=problem_responses(503),
    )
    async def system_health(request: Request) -> SystemHealth:
        """With the database down it answers the rest, and says so in `degraded`."""
        return await read_system(services, tenant_of(request))

    @router.get("/health/services", summary="Status of each service", response_model=ServiceList)
    async def service_health(request: Request) -> ServiceList:
        """What the last round of checks found (`SCRAPEWATCH_CHECK_INTERVAL`), with the uptime over a day and over 30 days."""
        return ServiceList(items=services_now(services, tenant_of(request)))

    @router.get(
        "/system-health",
        summary="Health with a judgement",
        response_model=SystemOverview,
        responses=problem_responses(503),
    )
    async def system_overview(request: Request) -> SystemOverview:
        """What the two routes above answer, with thresholds, an overall status and recommendations.

        From 75 % on a use is a warning, from 90 % on critical. Recommendations name the cause, with a forecast where the samples of the
        machine carry one.
        """
        tenant = tenant_of(request)
        system = await read_system(services, tenant)
        machine: MachineReading | None = None
        degraded: list[str] = []
        try:
            machine, degraded = await read_machine(services)
        except ScrapewatchError:
            degraded = ["machine"]
        if not services.outlook.known:
            degraded.append("forecasts")
        return overview(
            now=now_ns(),
            system=system,
            services=services_now(services, tenant),
            machine=machine,
            fillings=services.outlook.fillings,
            busy=services.outlook.busy,
            degraded=degraded,
        )

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
        found, held = await _readiness(services)
        wrong = {name: text for name, text in found.items() if text is not None}
        asking = await who_asks(request) if wrong or held else None
        if not wrong:
            seen = visible_to(asking, held)
            return Response(
                orjson.dumps({"status": "ready", "held": seen} if seen else {"status": "ready"}),
                media_type="application/json",
            )
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


async def _readiness(services: ApiServices) -> tuple[dict[str, str | None], Mapping[str, str]]:
    """What is wrong with each part (None: nothing), and whose points wait for a reason of their tenant's own, with the reason."""

    async def store(
        name: str, ready: Callable[[], str | None] | Callable[[], None]
    ) -> tuple[str, str | None]:
        try:
            return name, await services.patience["checks"].call(ready)
        except ScrapewatchError as error:
            return name, str(error)

    asked = [store("series", services.series.ready), store("records", services.records.ping)]
    found = dict(await asyncio.gather(*asked))
    held: Mapping[str, str] = {}
    if services.collector_status is not None:
        try:
            async with asyncio.timeout(5):
                status = await services.collector_status()
            found["collector"] = "; ".join(status["problems"]) or None
            held = status.get("held", held)
        except TimeoutError:
            found["collector"] = "it does not say how it is"
    return found, held
