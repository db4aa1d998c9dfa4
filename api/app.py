"""The API as the composition sees it: one router, and what runs behind it.

.. code-block:: python

    services = ApiServices(settings, series, records, hub, report, collector_status, extra_metrics)
    app = FastAPI(title="scrapewatch", lifespan=…)  # whose lifespan enters background(services)
    install(app, settings)  # scrapewatch.http
    app.include_router(build_router(services))
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from fastapi import APIRouter

from api.admin import routes as admin
from api.alerts import routes as alerts
from api.analytics import routes as analytics
from api.dashboard import routes as dashboard
from api.exports import routes as exports
from api.health import routes as health
from api.jobs import routes as jobs
from api.live import event_stream, sockets
from api.page import routes as page
from api.performance import routes as performance
from api.proxies import routes as proxies
from api.questions import routes as questions
from api.resources import routes as resources
from api.services import ApiServices
from api.sessions import routes as sessions

__all__ = ["PREFIX", "TAGS", "ApiServices", "background", "build_router"]

PREFIX = "/api/v1"

_log = structlog.get_logger("api")

TAGS = [
    {"name": "sessions", "description": "Scrape runs: listed, in detail, and their figures by interval."},
    {"name": "jobs", "description": "The sessions that run, wait, or just failed."},
    {"name": "dashboard", "description": "Everything at a glance."},
    {"name": "health", "description": "The machine, the services and the sites."},
    {"name": "credentials", "description": "Keys, tenants, tokens, and signing in."},
    {
        "name": "questions",
        "description": "Named queries over the points, with columns and units; `scrapewatch ask` asks them.",
    },
    {
        "name": "live",
        "description": "What happens now, without being asked; see docs/websockets.md for the WebSockets.",
    },
    {
        "name": "analytics",
        "description": "How scraping went, what it costs, and what the postings say of the job market.",
    },
    {"name": "exports", "description": "Figures and records as files, at once or repeated."},
    {"name": "proxies", "description": "How each provider and each proxy does."},
    {"name": "resources", "description": "The machine that the API runs on."},
    {"name": "alerts", "description": "What rules found, who saw to it, and when nobody is to be told."},
    {"name": "probes", "description": "For those who run the product: liveness, readiness, metrics."},
]
"""For ``openapi_tags`` of the application."""


def build_router(services: ApiServices) -> APIRouter:
    """All routes of the API: below :data:`PREFIX`, and without it as an alias that the OpenAPI document leaves out."""
    versioned = APIRouter()
    for router in (
        sessions.build_router(services),
        jobs.build_router(services),
        dashboard.build_router(services),
        health.build_router(services),
        questions.build_router(services),
        analytics.build_router(services),
        exports.build_router(services),
        performance.build_router(services),
        proxies.build_router(services),
        resources.build_router(services),
        alerts.build_router(services),
        sockets.build_router(services),
        event_stream.build_router(services),
    ):
        versioned.include_router(router)
    api = APIRouter()
    api.include_router(versioned, prefix=PREFIX)
    api.include_router(versioned, include_in_schema=False)
    if services.gate is not None and services.tokens is not None and services.credentials is not None:
        credentials = admin.build_router(services, services.gate, services.tokens, services.credentials)
        api.include_router(credentials, prefix=PREFIX)
        api.include_router(credentials, include_in_schema=False)
    api.include_router(health.build_probe_router(services))
    api.include_router(page.build_router(services.settings))
    return api


@asynccontextmanager
async def background(services: ApiServices) -> AsyncIterator[None]:
    """Run the checks, the live feed and what else is worked out in the background while the block lasts."""
    tasks = [
        asyncio.create_task(_keep_up("live streams", services.streams.run)),
        asyncio.create_task(_keep_up("live feed", services.feed.run)),
        asyncio.create_task(_keep_up("checks", lambda: _check(services))),
        asyncio.create_task(_keep_up("repeated exports", services.repeated.run)),
        asyncio.create_task(_keep_up("machine", services.machine.run)),
        asyncio.create_task(_keep_up("outlook", services.outlook.run)),
        asyncio.create_task(_keep_up("probes of sites", services.probes.run)),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _check(services: ApiServices) -> None:
    await services.feed.seeded.wait()  # sites are judged by what it knows
    await services.checker.run()


async def _keep_up(name: str, run: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await run()
        except Exception:
            # Nobody waits for these: what ended them must be told, and they must go on.
            _log.error("started again after a failure", part=name, exc_info=True)
        await asyncio.sleep(1)
