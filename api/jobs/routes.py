"""The route of the jobs that are active."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from api.access import tenant_of
from api.jobs.figures import progress_of, rest_of
from api.live.activity import STEP, SessionActivity
from api.services import ApiServices
from records.queries import Counts, Session
from scrapewatch.answers import per_minute
from scrapewatch.http import problem_responses
from scrapewatch.time import HOUR, MINUTE, SECOND, now_ns, to_datetime, to_ns

FAILED_FOR = HOUR
"""How long a job that failed is shown."""
JOB_EXAMPLE: JsonDict = {
    "session_id": "s1",
    "status": "running",
    "stalled": False,
    "reason": None,
    "source": "scrapy",
    "search_term": "data engineer",
    "location": "Berlin",
    "sites": ["indeed", "linkedin"],
    "started_at": "2026-01-05T10:00:00Z",
    "completed_at": None,
    "last_event_at": "2026-01-05T10:04:12Z",
    "running_seconds": 260.0,
    "progress": {"done": 80, "total": 200, "share": 0.4, "basis": "max_jobs"},
    "jobs_found": 80,
    "pages": 40,
    "errors": 2,
    "jobs_per_minute": 18.0,
    "pages_per_minute": 9.0,
    "success_rate": 0.95,
    "resources": {
        "memory_mb": 210.0,
        "cpu_percent": 35.0,
        "active_scrapers": 4,
        "queue_depth": 31,
    },
    "eta": {
        "at": "2026-01-05T10:11:00Z",
        "seconds": 400.0,
        "low_seconds": 330.0,
        "high_seconds": 470.0,
    },
}


class JobProgress(BaseModel):
    """How far a job is."""

    done: int = Field(description="Steps done, or postings found.")
    total: int | None = Field(description="In all; null where it is not known.")
    share: float | None = Field(
        description="Share that is done, 0–1; null where the whole is not known.",
        json_schema_extra={"unit": "share"},
    )
    basis: Literal["progress", "max_jobs"] = Field(
        description="What it is by: `progress` events, or else postings against `max_jobs_per_site`, which is the most it may find."
    )


class JobResources(BaseModel):
    """What a job uses, as last heard."""

    memory_mb: float | None = Field(
        description="Memory of its process, MiB.", json_schema_extra={"unit": "MiBy"}
    )
    cpu_percent: float | None = Field(
        description="Use of one core by its process, percent.", json_schema_extra={"unit": "percent"}
    )
    active_scrapers: int | None = Field(description="Scrapers at work.")
    queue_depth: int | None = Field(description="Requests that wait.")


class JobEta(BaseModel):
    """When a job will be done, by its pace of the last minutes."""

    at: datetime = Field(description="When.")
    seconds: float = Field(description="In how long, s.", json_schema_extra={"unit": "s"})
    low_seconds: float = Field(
        description="The interval from here to `high_seconds` holds in 80 of 100 cases, s.",
        json_schema_extra={"unit": "s"},
    )
    high_seconds: float = Field(description="See `low_seconds`.", json_schema_extra={"unit": "s"})


class Job(BaseModel):
    """A session that runs, waits, or just failed."""

    model_config = ConfigDict(json_schema_extra={"example": JOB_EXAMPLE})

    session_id: str = Field(description="Its session.")
    status: Literal["running", "queued", "paused", "error"] = Field(
        description="running, queued, paused, or error: it failed within the last hour."
    )
    stalled: bool = Field(description="Whether it is silent although it should not be.")
    reason: str | None = Field(description="Why it is in that state, where that is known.")
    source: str | None = Field(description="What the scraper is made with.")
    search_term: str | None = Field(description="What it searches for.")
    location: str | None = Field(description="Where.")
    sites: list[str] = Field(description="The sites it visits.")
    started_at: datetime | None = Field(description="When it started.")
    completed_at: datetime | None = Field(description="When it failed.")
    last_event_at: datetime | None = Field(description="When it was last heard of.")
    running_seconds: float | None = Field(
        description="How long it runs or ran, s.", json_schema_extra={"unit": "s"}
    )
    progress: JobProgress | None = Field(description="How far it is; null where nothing tells.")
    jobs_found: int = Field(description="Postings found.")
    pages: int = Field(description="Pages processed.")
    errors: int = Field(description="Errors.")
    jobs_per_minute: float | None = Field(
        description="Postings found in the last minute; null where nothing was heard lately.",
        json_schema_extra={"unit": "1/min"},
    )
    pages_per_minute: float | None = Field(
        description="Pages of the last minute; null where nothing was heard lately.",
        json_schema_extra={"unit": "1/min"},
    )
    success_rate: float | None = Field(
        description="Share of its attempts that brought a good page, 0–1.",
        json_schema_extra={"unit": "share"},
    )
    resources: JobResources = Field(description="What it uses.")
    eta: JobEta | None = Field(
        description="When it will be done; null where its pace or its whole is not known."
    )


class JobList(BaseModel):
    """The jobs that are active."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "items": [JOB_EXAMPLE],
                "next_cursor": None,
                "counts": {"running": 1, "queued": 0, "paused": 0, "error": 0},
            }
        }
    )

    items: list[Job] = Field(description="Those that go on, newest first, then those that failed.")
    next_cursor: str | None = Field(None, description="Always null.")
    counts: dict[str, int] = Field(
        description="How many there are by status, also of those beyond the limit; of `error` only those that are shown."
    )


async def read_jobs(services: ApiServices, tenant: str, limit: int) -> JobList:
    """The jobs of ``tenant`` that are active.

    Raises:
        StoreUnavailable: the records cannot be read now.
    """
    now = now_ns()
    counts, sessions, jobs = await services.patience["records"].call(
        jobs_in_records, services, tenant, to_datetime(now - FAILED_FOR), limit
    )
    activity = services.feed.activity(tenant)
    items = [
        job_of(session, activity.session(session.session_id), jobs.get(session.session_id, {}), now)
        for session in sessions
    ]
    return JobList(
        items=items,
        counts={
            "running": counts.running,
            "queued": counts.queued,
            "paused": counts.paused,
            "error": sum(item.status == "error" for item in items),
        },
    )


def jobs_in_records(
    services: ApiServices, tenant: str, since: datetime, limit: int
) -> tuple[Counts, list[Session], Mapping[str, Mapping[str, int]]]:
    """What the records know of jobs: how many are in which state, the sessions, and by session their postings by site.

    Sessions that go on come first, then those that failed ``since`` then, ``limit`` in all. It blocks.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    records = services.records
    sessions = records.active_sessions(tenant, limit)
    if len(sessions) < limit:
        sessions += records.failed_sessions(tenant, since, limit - len(sessions))
    jobs = records.jobs_by_site(tenant, [session.session_id for session in sessions]) if sessions else {}
    return records.counts(tenant), sessions, jobs


def job_of(session: Session, activity: SessionActivity | None, jobs: Mapping[str, int], now: int) -> Job:
    """The job that ``session`` is; ``jobs`` are its postings by site, ``activity`` what was heard of it lately."""
    stop = now - now % STEP
    lately = None if activity is None else activity.windows.between(stop - MINUTE, stop)
    progress = progress_of(session, activity, jobs)
    rest = rest_of(session, progress, activity, now)
    failed = session.status == "failed"
    end = to_ns(session.completed_at) if session.completed_at is not None else now
    errors = max(session.total_pages - session.pages_ok, session.errors_count)
    attempts = session.pages_ok + errors
    return Job(
        session_id=session.session_id,
        status="error" if failed else session.status,
        stalled=session.stalled_at is not None,
        reason=session.status_reason,
        source=session.source,
        search_term=session.search_term,
        location=session.location,
        sites=session.sites,
        started_at=session.started_at,
        completed_at=session.completed_at,
        last_event_at=session.last_event_at,
        running_seconds=None
        if session.started_at is None
        else max(end - to_ns(session.started_at), 0) / SECOND,
        progress=None
        if progress is None
        else JobProgress(
            done=progress.done,
            total=progress.total,
            share=progress.share,
            basis="progress" if progress.by_events else "max_jobs",
        ),
        jobs_found=session.total_jobs_found,
        pages=session.total_pages,
        errors=session.errors_count,
        jobs_per_minute=None if failed or lately is None else per_minute(lately.jobs, MINUTE),
        pages_per_minute=None if failed or lately is None else per_minute(lately.pages, MINUTE),
        success_rate=session.pages_ok / attempts if attempts else None,
        resources=_resources(activity),
        eta=None
        if rest is None
        else JobEta(
            at=to_datetime(now + round(rest.seconds * SECOND)),
            seconds=round(rest.seconds, 1),
            low_seconds=round(rest.low, 1),
            high_seconds=round(rest.high, 1),
        ),
    )


def _resources(activity: SessionActivity | None) -> JobResources:
    if activity is None:
        return JobResources(memory_mb=None, cpu_percent=None, active_scrapers=None, queue_depth=None)
    return JobResources(
        memory_mb=activity.memory_mb,
        cpu_percent=activity.cpu_percent,
        active_scrapers=sum(activity.active_scrapers.values()) if activity.active_scrapers else None,
        queue_depth=sum(activity.depth.values()) if activity.depth else None,
    )


def build_router(services: ApiServices) -> APIRouter:
    """The routes below ``/monitoring/jobs``."""
    router = APIRouter(prefix="/monitoring/jobs", tags=["jobs"], route_class=services.telemetry.route_class())

    @router.get(
        "/active",
        summary="Jobs that run, wait, or just failed",
        response_model=JobList,
        responses=problem_responses(422, 503),
    )
    async def active_jobs(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=200, description="Most jobs to answer.")] = 50,
    ) -> JobList:
        """With their progress, speed, success rate and resources, and when they will be done."""
        return await read_jobs(services, tenant_of(request), limit)

    return router
