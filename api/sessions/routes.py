"""The routes of sessions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request

from api.access import tenant_of
from api.services import ApiServices
from api.sessions.metrics import range_of, windows_of
from api.sessions.models import Session, SessionDetail, SessionList, SessionMetrics, Wished
from scrapewatch.answers import ask
from scrapewatch.http import problem_responses
from scrapewatch.measurements import KEEPING, Tier
from scrapewatch.time import DAY, now_ns, to_datetime, to_ns

Status = Literal["queued", "running", "paused", "completed", "failed", "cancelled"]
Wish = Literal["pause", "resume", "cancel"]
SessionId = Annotated[
    str, Path(min_length=1, max_length=200, description="Id of the session.", examples=["s1"])
]


async def read_session(services: ApiServices, tenant: str, session_id: str) -> SessionDetail:
    """One session of ``tenant`` with all that belongs to it.

    Raises:
        NotFound: there is none, or it is another tenant's.
        StoreUnavailable: the records cannot be read now.
    """
    found = await services.patience["records"].call(services.records.session, tenant, session_id)
    return SessionDetail.of(found)


def build_router(services: ApiServices) -> APIRouter:
    """The routes of sessions."""
    router = APIRouter(
        prefix="/monitoring/sessions", tags=["sessions"], route_class=services.telemetry.route_class()
    )
    records, series = services.patience["records"], services.patience["series"]

    @router.get(
        "",
        summary="Sessions, newest first",
        response_model=SessionList,
        responses=problem_responses(422, 503),
    )
    async def list_sessions(
        request: Request,
        status: Annotated[Status | None, Query(description="Only sessions in this state.")] = None,
        site: Annotated[
            str | None,
            Query(max_length=100, description="Only sessions that visit this site.", examples=["indeed"]),
        ] = None,
        search_term: Annotated[
            str | None, Query(max_length=500, description="Only sessions that search for exactly this.")
        ] = None,
        source: Annotated[
            str | None,
            Query(
                max_length=100, description="Only sessions of scrapers made with this.", examples=["scrapy"]
            ),
        ] = None,
        limit: Annotated[int, Query(ge=1, le=200, description="Most sessions to answer.")] = 20,
        cursor: Annotated[
            str | None, Query(max_length=1_000, description="`next_cursor` of the page before.")
        ] = None,
    ) -> SessionList:
        """`next_cursor` leads to the next page: a session that begins meanwhile neither repeats nor hides another."""
        page = await records.call(
            services.records.sessions,
            tenant_of(request),
            status=status,
            site=site,
            search_term=search_term,
            source=source,
            limit=limit,
            cursor=cursor,
        )
        return SessionList(
            items=[Session.model_validate(item) for item in page.items], next_cursor=page.next_cursor
        )

    @router.get(
        "/{session_id}",
        summary="One session",
        response_model=SessionDetail,
        responses=problem_responses(404, 422, 503),
    )
    async def show_session(request: Request, session_id: SessionId) -> SessionDetail:
        """The session with its site executions, breaker states, verdict with evidence, and error groups."""
        return await read_session(services, tenant_of(request), session_id)

    @router.get(
        "/{session_id}/metrics",
        summary="Figures of a session by interval",
        response_model=SessionMetrics,
        responses=problem_responses(404, 422, 503),
    )
    async def session_metrics(
        request: Request,
        session_id: SessionId,
        interval: Annotated[
            Literal["1m", "5m", "1h", "1d"], Query(description="Length of a window, in UTC.")
        ] = "1m",
    ) -> SessionMetrics:
        """One item a window, from the first with an event to the last.

        Windows without an event are there, too: with rates of 0 and gauges of null. At most 2,000 windows are answered; for a
        longer session the problem says which interval to ask for.
        """
        tenant = tenant_of(request)
        session = await read_session(services, tenant, session_id)
        known = (
            session.begun_at,
            session.queued_at,
            session.started_at,
            session.last_event_at,
            session.completed_at,
        )
        moments = [moment for moment in known if moment is not None]
        start, stop = to_ns(min(moments)), to_ns(max(moments)) + 1_000
        retention = min(services.settings.metrics_retention_days * DAY, KEEPING[Tier.SESSIONS].retention)
        oldest = now_ns() - retention
        expired = start < oldest
        if stop <= oldest:
            return SessionMetrics(session_id=session_id, interval=interval, items=[], points_expired=True)
        time_range = range_of(max(start, oldest), stop, interval)
        table = await series.call(
            ask, services.series, "session_metrics", {"session_id": session_id}, time_range, tenant=tenant
        )
        return SessionMetrics(
            session_id=session_id,
            interval=interval,
            items=windows_of(table, time_range.every),
            points_expired=expired,
        )

    async def wished(request: Request, session_id: str, wish: Wish) -> Wished:
        made = await records.call(services.records.make_wish, tenant_of(request), session_id, wish)
        if made is None:
            return Wished(session_id=session_id, wish=None, wished_at=None)
        return Wished(session_id=session_id, wish=wish, wished_at=to_datetime(made.wished_at))

    wishing: dict[str, Any] = {
        "status_code": 202,
        "response_model": Wished,
        "responses": problem_responses(404, 409, 422, 503),
    }

    @router.post("/{session_id}/pause", summary="Wish that a session pauses", **wishing)
    async def pause(request: Request, session_id: SessionId) -> Wished:
        """The answers to the session's events tell its scraper, until it reports `session_paused` or another wish takes this one's place.

        A session that has ended is a 409.
        """
        return await wished(request, session_id, "pause")

    @router.post("/{session_id}/resume", summary="Wish that a session goes on", **wishing)
    async def resume(request: Request, session_id: SessionId) -> Wished:
        """The answers to the session's events tell its scraper, until it reports `session_resumed` or another wish takes this one's place.

        A session that has ended is a 409. One that reports nothing while it is paused hears nothing: `progress` will do.
        """
        return await wished(request, session_id, "resume")

    @router.post("/{session_id}/cancel", summary="Wish that a session ends", **wishing)
    async def cancel(request: Request, session_id: SessionId) -> Wished:
        """The answers to the session's events tell its scraper, until it reports `session_finished` or another wish takes this one's place.

        A session that has ended is a 409.
        """
        return await wished(request, session_id, "cancel")

    return router
