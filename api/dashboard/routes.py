"""The route of the dashboard."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from api.access import tenant_of
from api.alerts.models import Alert
from api.health.models import ServiceStatus
from api.health.system import services_now
from api.jobs.routes import JOB_EXAMPLE, Job, read_jobs
from api.live.activity import SPAN, STEP, Activity
from api.live.summary import RATE
from api.resources.routes import read_machine
from api.services import ApiServices
from scrapewatch.answers import per_minute
from scrapewatch.problems import ScrapewatchError
from scrapewatch.time import MINUTE, SECOND, now_ns, to_datetime

ACTIVE_JOBS = 20
RECENT_ALERTS = 10


class NetworkIo(BaseModel):
    """What all interfaces but the loopback carried over the last seconds."""

    bytes_sent_per_second: float = Field(
        description="Sent, bytes per second.", json_schema_extra={"unit": "By/s"}
    )
    bytes_received_per_second: float = Field(
        description="Received, bytes per second.", json_schema_extra={"unit": "By/s"}
    )


class SystemMetrics(BaseModel):
    """The machine that the API runs on."""

    cpu_usage: float = Field(description="Use of all cores, 0–100.", json_schema_extra={"unit": "percent"})
    memory_usage: float = Field(description="Use of memory, 0–100.", json_schema_extra={"unit": "percent"})
    disk_usage: float = Field(
        description="Use of the file system that holds the data, 0–100.",
        json_schema_extra={"unit": "percent"},
    )
    network_io: NetworkIo = Field(description="The network.")
    uptime_seconds: float = Field(
        description="How long scrapewatch runs, s.", json_schema_extra={"unit": "s"}
    )


class RealTimeStats(BaseModel):
    """What the scrapers do now: rates are those of the last whole minute."""

    active_crawlers: int = Field(
        description="Scrapers at work, as the sessions heard of in the last 5 minutes said."
    )
    requests_per_minute: float = Field(
        description="Pages requested, failed ones included.", json_schema_extra={"unit": "1/min"}
    )
    success_rate: float | None = Field(
        description="Share of them that brought a good page, 0–1; null without any.",
        json_schema_extra={"unit": "share"},
    )
    average_response_time: float | None = Field(
        description="Mean time of a page, ms; null where none is known.", json_schema_extra={"unit": "ms"}
    )
    queue_size: int = Field(
        description="Requests that wait, as the sessions heard of in the last 5 minutes said."
    )
    error_rate: float | None = Field(
        description="Share of requests that failed, 0–1; null without any.",
        json_schema_extra={"unit": "share"},
    )


class SiteMetrics(BaseModel):
    """A site over the last minutes."""

    site: str = Field(description="The site.")
    jobs_per_minute: float = Field(description="Postings found.", json_schema_extra={"unit": "1/min"})
    requests_per_minute: float = Field(description="Pages requested.", json_schema_extra={"unit": "1/min"})
    success_rate: float | None = Field(
        description="Share of attempts that brought a good page, 0–1.", json_schema_extra={"unit": "share"}
    )
    average_response_time: float | None = Field(
        description="Mean time of a page, ms.", json_schema_extra={"unit": "ms"}
    )
    breaker: str | None = Field(description="Its circuit breaker: closed, half_open or open.")


class PerformanceMetrics(BaseModel):
    """The last fifteen minutes."""

    window_seconds: float = Field(
        description="The time that is looked at, s.", json_schema_extra={"unit": "s"}
    )
    jobs_per_minute: float = Field(description="Postings found.", json_schema_extra={"unit": "1/min"})
    pages_per_minute: float = Field(description="Pages processed.", json_schema_extra={"unit": "1/min"})
    success_rate: float | None = Field(
        description="Share of attempts that brought a good page, 0–1.", json_schema_extra={"unit": "share"}
    )
    average_response_time: float | None = Field(
        description="Mean time of a page, ms.", json_schema_extra={"unit": "ms"}
    )
    blocked_pages: int = Field(description="Pages that were blocks.")
    errors: dict[str, int] = Field(description="Errors by type, the most frequent first.")
    sites: list[SiteMetrics] = Field(description="The sites that were visited, by name.")


_EXAMPLE: JsonDict = {
    "taken_at": "2026-01-05T10:04:15Z",
    "system_metrics": {
        "cpu_usage": 37.5,
        "memory_usage": 62.5,
        "disk_usage": 41.0,
        "network_io": {"bytes_sent_per_second": 12000.0, "bytes_received_per_second": 240000.0},
        "uptime_seconds": 86400.0,
    },
    "services": [
        {
            "name": "influxdb",
            "kind": "store",
            "status": "up",
            "response_time": 0.004,
            "last_check": "2026-01-05T10:04:02Z",
            "error_message": None,
            "uptime_percent_24h": 100.0,
            "uptime_percent_30d": 99.9,
        }
    ],
    "real_time_stats": {
        "active_crawlers": 4,
        "requests_per_minute": 42.0,
        "success_rate": 0.95,
        "average_response_time": 812.0,
        "queue_size": 31,
        "error_rate": 0.05,
    },
    "active_jobs": [JOB_EXAMPLE],
    "recent_alerts": [],
    "performance_metrics": {
        "window_seconds": 900.0,
        "jobs_per_minute": 17.2,
        "pages_per_minute": 40.1,
        "success_rate": 0.94,
        "average_response_time": 840.0,
        "blocked_pages": 12,
        "errors": {"403": 12, "timeout": 3},
        "sites": [
            {
                "site": "indeed",
                "jobs_per_minute": 17.2,
                "requests_per_minute": 40.1,
                "success_rate": 0.94,
                "average_response_time": 840.0,
                "breaker": "closed",
            }
        ],
    },
    "degraded": [],
}


class DashboardData(BaseModel):
    """Everything at a glance."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    taken_at: datetime = Field(description="When.")
    system_metrics: SystemMetrics | None = Field(description="The machine; null where it cannot be read now.")
    services: list[ServiceStatus] = Field(description="Each service as last checked.")
    real_time_stats: RealTimeStats = Field(description="What the scrapers do now.")
    active_jobs: list[Job] | None = Field(
        description="The newest jobs that go on, then those that failed; null where the records cannot be read now."
    )
    recent_alerts: list[Alert] | None = Field(
        description="The alerts that started last; null where the records cannot be read now."
    )
    performance_metrics: PerformanceMetrics = Field(description="The last fifteen minutes.")
    degraded: list[str] = Field([], description="What could not be asked now.")


def real_time_stats(activity: Activity, now: int) -> RealTimeStats:
    """What the scrapers do now."""
    stop = now - now % STEP
    counts = activity.total(stop - RATE, stop)
    since = now - 5 * MINUTE
    success = counts.success_rate
    return RealTimeStats(
        active_crawlers=activity.active_scrapers(since),
        requests_per_minute=per_minute(counts.attempts, RATE),
        success_rate=success,
        average_response_time=_ms(counts.response_time),
        queue_size=activity.queued(since),
        error_rate=None if success is None else 1.0 - success,
    )


def performance_metrics(activity: Activity, now: int) -> PerformanceMetrics:
    """The last fifteen minutes."""
    stop = now - now % STEP
    start = stop - SPAN + STEP
    length = stop - start
    counts = activity.total(start, stop)
    return PerformanceMetrics(
        window_seconds=length / SECOND,
        jobs_per_minute=per_minute(counts.jobs, length),
        pages_per_minute=per_minute(counts.pages, length),
        success_rate=counts.success_rate,
        average_response_time=_ms(counts.response_time),
        blocked_pages=counts.blocked,
        errors=activity.errors(start, stop),
        sites=[
            SiteMetrics(
                site=site,
                jobs_per_minute=per_minute(found.jobs, length),
                requests_per_minute=per_minute(found.attempts, length),
                success_rate=found.success_rate,
                average_response_time=_ms(found.response_time),
                breaker=activity.breakers[site].state if site in activity.breakers else None,
            )
            for site, found in activity.sites(start, stop).items()
            if found.attempts or found.jobs
        ],
    )


def build_router(services: ApiServices) -> APIRouter:
    """The route ``/monitoring/dashboard``."""
    router = APIRouter(prefix="/monitoring", tags=["dashboard"], route_class=services.telemetry.route_class())

    @router.get("/dashboard", summary="Everything at a glance", response_model=DashboardData)
    async def dashboard(request: Request) -> DashboardData:
        """Made from what is in memory and in the records. With the database down it answers the rest, and says so in `degraded`."""
        tenant = tenant_of(request)
        now = now_ns()
        degraded: list[str] = []
        system: SystemMetrics | None = None
        try:
            system, degraded = await _system(services, now)
        except ScrapewatchError:
            degraded = ["machine"]
        shown: dict[str, Any] = {"active_jobs": None, "recent_alerts": None}
        try:
            shown["active_jobs"] = (await read_jobs(services, tenant, ACTIVE_JOBS)).items
        except ScrapewatchError:
            degraded.append("jobs")
        try:
            page = await services.patience["records"].call(
                services.alerts.alerts, tenant, now=to_datetime(now), limit=RECENT_ALERTS
            )
            shown["recent_alerts"] = [Alert.model_validate(found) for found in page.items]
        except ScrapewatchError:
            degraded.append("alerts")
        activity = services.feed.activity(tenant)
        return DashboardData(
            taken_at=to_datetime(now),
            system_metrics=system,
            services=services_now(services, tenant),
            real_time_stats=real_time_stats(activity, now),
            performance_metrics=performance_metrics(activity, now),
            degraded=degraded,
            **shown,
        )

    return router


async def _system(services: ApiServices, now: int) -> tuple[SystemMetrics, list[str]]:
    machine, degraded = await read_machine(services)
    host = await services.patience["machine"].call(services.host.read)
    return SystemMetrics(
        cpu_usage=machine.processors.percent,
        memory_usage=machine.memory_percent,
        disk_usage=host.disk_percent,
        network_io=NetworkIo(
            bytes_sent_per_second=machine.sent_per_second,
            bytes_received_per_second=machine.received_per_second,
        ),
        uptime_seconds=(now - services.started_at) / SECOND,
    ), degraded


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1_000 * seconds
