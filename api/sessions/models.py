"""Sessions as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from api.sessions.metrics import SessionWindow
from records import queries

_EXAMPLE: JsonDict = {
    "session_id": "s1",
    "source": "scrapy",
    "search_term": "data engineer",
    "location": "Berlin",
    "sites": ["indeed", "linkedin"],
    "schedule": None,
    "max_jobs_per_site": 100,
    "max_concurrency": 8,
    "status": "completed",
    "status_reason": None,
    "verdict": "blocked",
    "begun_at": "2026-01-05T10:00:00Z",
    "queued_at": None,
    "started_at": "2026-01-05T10:00:00Z",
    "completed_at": "2026-01-05T10:04:12Z",
    "last_event_at": "2026-01-05T10:04:12Z",
    "stalled_at": None,
    "duration_seconds": 252.0,
    "total_jobs_found": 12,
    "total_jobs_saved": 12,
    "duplicates_skipped": 0,
    "jobs_dropped": 0,
    "jobs_invalid": 0,
    "total_pages": 40,
    "pages_ok": 9,
    "pages_blocked": 31,
    "errors_count": 31,
    "total_sites": 2,
    "successful_sites": 1,
    "failed_sites": 1,
    "events": 87,
}

_DETAIL_EXAMPLE: JsonDict = {
    **_EXAMPLE,
    "wish": None,
    "verdict_evidence": [
        {
            "rule": "block_share",
            "text": "31 of 40 pages (78%) were block pages or refusals.",
            "figures": {"pages": 40, "blocked": 31, "share": 0.775},
        }
    ],
    "site_executions": [
        {
            "site_name": "indeed",
            "attempt_number": 1,
            "started_at": "2026-01-05T10:00:00Z",
            "completed_at": "2026-01-05T10:04:12Z",
            "duration_seconds": 252.0,
            "jobs_scraped": 12,
            "pages_processed": 40,
            "pages_ok": 9,
            "pages_blocked": 31,
            "errors_count": 31,
            "success": False,
            "error_message": "blocked",
            "circuit_breaker_state": "open",
            "circuit_breaker_failures": 5,
            "avg_page_load_time": 0.8,
            "memory_usage_mb": 210.0,
            "cpu_usage_percent": 35.0,
        }
    ],
    "breakers": [{"site_name": "indeed", "state": "open", "failures": 5, "at": "2026-01-05T10:03:40Z"}],
    "error_groups": [
        {
            "fingerprint": "5f2b0c41d8e97a36",
            "site_name": "indeed",
            "type": "403",
            "message": "Forbidden",
            "url": "https://indeed.example/jobs?start=90",
            "count": 31,
            "first_seen": "2026-01-05T10:00:41Z",
            "last_seen": "2026-01-05T10:04:10Z",
        }
    ],
}


class _Shown(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Evidence(_Shown):
    """Why a verdict is what it is."""

    rule: str = Field(description="The rule that holds.")
    text: str = Field(description="It in a sentence.")
    figures: dict[str, Any] = Field({}, description="The figures it rests on.")


class Session(_Shown):
    """One scrape run over one or more sites."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": _EXAMPLE})

    session_id: str = Field(description="Its id, unique among the tenant's.")
    source: str | None = Field(description="What the scraper is made with.")
    search_term: str | None = Field(description="What it searches for.")
    location: str | None = Field(description="Where.")
    sites: list[str] = Field(description="The sites it visits.")
    schedule: str | None = Field(description="How often it should run.")
    max_jobs_per_site: int | None = Field(description="Postings after which it leaves a site.")
    max_concurrency: int | None = Field(description="Requests at once.")
    status: str = Field(description="queued, running, paused, completed, failed or cancelled.")
    status_reason: str | None = Field(description="Why, where that is known.")
    verdict: str | None = Field(
        description="What the run really was: healthy, degraded, blocked, empty, truncated, stalled or missing; "
        "null while that is open."
    )
    begun_at: datetime = Field(
        description="What lists are sorted by: when it started, or was queued before that."
    )
    queued_at: datetime | None = Field(description="When it was queued.")
    started_at: datetime | None = Field(description="When it started.")
    completed_at: datetime | None = Field(description="When it ended.")
    last_event_at: datetime | None = Field(description="When it was last heard of.")
    stalled_at: datetime | None = Field(description="Since when it is silent, while it should not be.")
    duration_seconds: float | None = Field(description="How long it ran, s.", json_schema_extra={"unit": "s"})
    total_jobs_found: int = Field(description="Postings found.")
    total_jobs_saved: int = Field(description="Of these, stored.")
    duplicates_skipped: int = Field(description="Of these, seen before.")
    jobs_dropped: int = Field(description="Of these, left out.")
    jobs_invalid: int = Field(description="Of these, without a required field.")
    total_pages: int = Field(description="Pages processed.")
    pages_ok: int = Field(description="Of these, good.")
    pages_blocked: int = Field(description="Of these, blocks, captchas and consent walls.")
    errors_count: int = Field(description="Errors.")
    total_sites: int = Field(description="Sites it visited or said it would.")
    successful_sites: int = Field(description="Sites whose last attempt ended well.")
    failed_sites: int = Field(description="Sites whose last attempt ended badly.")
    events: int = Field(description="Events that it reported.")


class Execution(_Shown):
    """One attempt of a session at one site."""

    site_name: str = Field(description="The site.")
    attempt_number: int = Field(description="Number of the attempt, from 1.")
    started_at: datetime | None = Field(description="When it began.")
    completed_at: datetime | None = Field(description="When it ended.")
    duration_seconds: float | None = Field(
        description="How long it took, s.", json_schema_extra={"unit": "s"}
    )
    jobs_scraped: int = Field(description="Postings found.")
    pages_processed: int = Field(description="Pages processed.")
    pages_ok: int = Field(description="Of these, good.")
    pages_blocked: int = Field(description="Of these, blocks.")
    errors_count: int = Field(description="Errors.")
    success: bool | None = Field(description="Whether it ended well; null while it runs.")
    error_message: str | None = Field(description="Why not.")
    circuit_breaker_state: str | None = Field(description="closed, half_open or open.")
    circuit_breaker_failures: int | None = Field(description="Failures that the breaker counts.")
    avg_page_load_time: float | None = Field(
        description="Mean time of a page, s.", json_schema_extra={"unit": "s"}
    )
    memory_usage_mb: float | None = Field(
        description="Memory of the scraper's process, MiB.", json_schema_extra={"unit": "MiBy"}
    )
    cpu_usage_percent: float | None = Field(
        description="Use of one core by the scraper's process, 0–100.", json_schema_extra={"unit": "percent"}
    )


class ErrorGroup(_Shown):
    """Errors that are one error."""

    fingerprint: str = Field(description="What they have in common.")
    site_name: str = Field(description="The site.")
    type: str | None = Field(description="Type of the error.")
    message: str | None = Field(description="Message of one of them.")
    url: str | None = Field(description="Where that one happened.")
    count: int = Field(description="How many.")
    first_seen: datetime | None = Field(description="When the first happened.")
    last_seen: datetime | None = Field(description="When the last happened.")


class BreakerState(_Shown):
    """The latest state of a site's circuit breaker."""

    site_name: str = Field(description="The site.")
    state: str = Field(description="closed, half_open or open.")
    failures: int | None = Field(description="Failures that it counts.")
    at: datetime | None = Field(description="When that was said.")


class SessionDetail(Session):
    """One session with all that belongs to it."""

    model_config = ConfigDict(json_schema_extra={"example": _DETAIL_EXAMPLE})

    verdict_evidence: list[Evidence] = Field(description="What the verdict rests on, the weightiest first.")
    site_executions: list[Execution] = Field(description="Its attempts, by site and number.")
    breakers: list[BreakerState] = Field(description="The breakers of its sites.")
    error_groups: list[ErrorGroup] = Field(description="Its errors, the most frequent first.")
    wish: Literal["pause", "resume", "cancel"] | None = Field(
        None, description="What its scraper is asked to do and has not done yet."
    )

    @classmethod
    def of(cls, found: queries.SessionDetail) -> SessionDetail:
        """The session as the records know it."""
        return cls(
            **Session.model_validate(found.session).model_dump(),
            verdict_evidence=[Evidence.model_validate(piece) for piece in found.evidence],
            site_executions=[Execution.model_validate(execution) for execution in found.executions],
            breakers=[BreakerState.model_validate(breaker) for breaker in found.breakers],
            error_groups=[ErrorGroup.model_validate(group) for group in found.errors],
            wish=found.wish,
        )


class Wished(BaseModel):
    """What is wished for a session."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"session_id": "s1", "wish": "pause", "wished_at": "2026-01-05T10:00:00Z"}
        }
    )

    session_id: str = Field(description="The session.")
    wish: Literal["pause", "resume", "cancel"] | None = Field(
        description="What the answers to its events tell its scraper, until it reports that it is so; null where it is so already."
    )
    wished_at: datetime | None = Field(description="Since when it is wished.")


class SessionList(BaseModel):
    """A page of sessions, newest first."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"items": [_EXAMPLE], "next_cursor": "WzE3Njc2MDcyMDAwMDAwMDAsMTJd"}}
    )

    items: list[Session] = Field(description="The sessions.")
    next_cursor: str | None = Field(description="For the next page; null at the end.")


class SessionMetrics(BaseModel):
    """The figures of a session by interval."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "session_id": "s1",
                "interval": "1m",
                "items": [
                    {
                        "time": "2026-01-05T10:00:00Z",
                        "jobs_per_minute": 12.0,
                        "active_scrapers": 4.0,
                        "queue_depth": 31.0,
                        "memory_usage_mb": 210.0,
                        "cpu_usage_percent": 35.0,
                        "site_response_times": {"indeed": 0.8},
                        "site_success_rates": {"indeed": 0.225},
                        "error_counts": {"403": 31},
                    }
                ],
                "next_cursor": None,
                "points_expired": False,
            }
        }
    )

    session_id: str = Field(description="The session.")
    interval: str = Field(description="Length of a window.")
    items: list[SessionWindow] = Field(
        description="The windows from the first with an event to the last, without a gap."
    )
    next_cursor: str | None = Field(None, description="Always null: all windows are answered at once.")
    points_expired: bool = Field(
        description="Whether points of this session are past their retention, so that windows are missing."
    )
