"""Health as the API shows it."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from api.health.findings import Kind, ServiceState, Status
from scrapewatch.time import to_datetime


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
