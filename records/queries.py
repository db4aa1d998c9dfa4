"""What the API asks of the records. Everything blocks, and answers for one tenant only: what is another's does not exist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    Table,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSONB

from records import wishes
from records.engine import reading
from records.merge import clean
from records.models import Base, ErrorGroup, ScrapeSession, SessionWish, SiteExecution
from records.paging import behind, cursor_at
from records.settle import OPEN
from scrapewatch.problems import InvalidInput, NotFound
from scrapewatch.time import DAY, now_ns, to_datetime, window_start
from scrapewatch.wishes import Wish

ENDED = ("completed", "failed", "cancelled")
STATUSES = (*OPEN, *ENDED)
MOST_ITEMS = 1_000
"""Longest page of a list."""

_SESSIONS, _EXECUTIONS, _ERRORS = (
    Base.metadata.tables[model.__tablename__] for model in (ScrapeSession, SiteExecution, ErrorGroup)
)


@dataclass(frozen=True, slots=True)
class Session:
    """A session as a list shows it. Times are aware and in UTC, durations in seconds.

    Totals are reconciled: the greater of what was seen and what the scraper reported. ``begun_at`` is what lists are sorted by:
    ``started_at``, or ``queued_at`` before that. ``verdict`` is None while it goes on and is not stalled. ``closed_by`` is
    ``scraper``, or ``watch`` where it was given up.
    """

    session_id: str
    status: str
    status_reason: str | None
    verdict: str | None
    source: str | None
    search_term: str | None
    location: str | None
    sites: list[str]
    schedule: str | None
    max_jobs_per_site: int | None
    max_concurrency: int | None
    begun_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    last_event_at: datetime | None
    stalled_at: datetime | None
    closed_by: str | None
    duration_seconds: float | None
    total_jobs_found: int
    total_jobs_saved: int
    duplicates_skipped: int
    jobs_dropped: int
    jobs_invalid: int
    total_pages: int
    pages_ok: int
    pages_blocked: int
    errors_count: int
    total_sites: int
    successful_sites: int
    failed_sites: int
    events: int


@dataclass(frozen=True, slots=True)
class Execution:
    """One attempt of a session at one site; totals are reconciled as those of its session.

    ``success`` and ``completed_at`` are None while it goes on; ``avg_page_load_time`` is in seconds, None where no page's time is known.
    """

    site_name: str
    attempt_number: int
    started_at: datetime | None
    completed_at: datetime | None
    duration_seconds: float | None
    jobs_scraped: int
    pages_processed: int
    pages_ok: int
    pages_blocked: int
    errors_count: int
    success: bool | None
    error_message: str | None
    circuit_breaker_state: str | None
    circuit_breaker_failures: int | None
    avg_page_load_time: float | None
    memory_usage_mb: float | None
    cpu_usage_percent: float | None


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors that are one error: ``message`` and ``url`` are of the first that came."""

    site_name: str
    fingerprint: str
    type: str | None
    message: str | None
    url: str | None
    count: int
    first_seen: datetime | None
    last_seen: datetime | None


@dataclass(frozen=True, slots=True)
class Breaker:
    """The circuit breaker of a site: ``state`` is closed, half_open or open, since or at ``at``."""

    site_name: str
    state: str
    failures: int | None
    at: datetime | None
    session_id: str


@dataclass(frozen=True, slots=True)
class SessionDetail:
    """A session with all that is known of it; ``evidence`` is of its verdict: rule, text and figures of each piece."""

    session: Session
    evidence: list[dict[str, Any]]
    executions: list[Execution]
    breakers: list[Breaker]
    errors: list[Errors]
    wish: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some sessions of a list; ``next_cursor`` leads to those after them, None at the end."""

    items: list[Session]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Counts:
    """Sessions by what they do now, and those of this UTC day that ended. ``stalled`` ones are running ones too."""

    queued: int
    running: int
    paused: int
    stalled: int
    completed_today: int
    failed_today: int
    cancelled_today: int

    @property
    def active(self) -> int:
        """Sessions that go on."""
        return self.queued + self.running + self.paused


@dataclass(frozen=True, slots=True)
class SessionNumbers:
    """How many sessions began in some time, by status, and by verdict those that have one."""

    by_status: dict[str, int]
    by_verdict: dict[str, int]


Shape = TypeVar("Shape", Session, Errors)


class RecordQueries:
    """The questions of the API to the records behind ``engine`` (that of :class:`records.store.SqlRecords`).

    All raise :class:`~scrapewatch.problems.StoreUnavailable` when the database does not answer.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def sessions(
        self,
        tenant: str,
        *,
        status: str | None = None,
        site: str | None = None,
        search_term: str | None = None,
        source: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page:
        """Sessions of ``tenant`` by the given values (exact), newest first.

        The cursor names a place in the order and not a number of rows: sessions that come meanwhile neither repeat nor hide one.

        Raises:
            InvalidInput: no such status, a ``limit`` outside 1–1,000, or a cursor that no list gave out.
        """
        if status is not None and status not in STATUSES:
            raise InvalidInput(f"status is none of {', '.join(STATUSES)}", "status")
        if not 1 <= limit <= MOST_ITEMS:
            raise InvalidInput(f"limit is from 1 to {MOST_ITEMS}", "limit")
        columns = _SESSIONS.c
        query = select(_SESSIONS).where(columns.tenant == clean(tenant))
        for column, value in (
            (columns.status, status),
            (columns.search_term, search_term),
            (columns.source, source),
        ):
            if value is not None:
                query = query.where(column == clean(value))
        if cursor is not None:
            query = query.where(behind(cursor, columns.begun_at, columns.id))
        with reading(self.engine) as db:
            if site is not None:
                query = query.where(_visits(db, tenant, site))
            rows = _rows(db, query.order_by(columns.begun_at.desc(), columns.id.desc()).limit(limit + 1))
        items = [_shaped(Session, row) for row in rows[:limit]]
        last = rows[limit - 1] if len(rows) > limit else None
        return Page(items, None if last is None else cursor_at(last["begun_at"], last["id"]))

    def session(self, tenant: str, session_id: str) -> SessionDetail:
        """One session with its executions, breakers and errors.

        Raises:
            NotFound: ``tenant`` has none of that id.
        """
        with reading(self.engine) as db:
            found = _rows(db, _of(_SESSIONS, tenant, session_id))
            if not found:
                raise NotFound(f"there is no session {session_id[:200]!r}")
            columns = _EXECUTIONS.c
            query = _of(_EXECUTIONS, tenant, session_id).order_by(columns.site_name, columns.attempt_number)
            executions = _rows(db, query)
            wish = db.scalar(
                select(SessionWish.wish).filter_by(tenant=clean(tenant), session_id=clean(session_id))
            )
            errors = _rows(
                db, _of(_ERRORS, tenant, session_id).order_by(_ERRORS.c.count.desc(), _ERRORS.c.id)
            )
        return SessionDetail(
            session=_shaped(Session, found[0]),
            evidence=found[0]["verdict_evidence"],
            executions=[_execution(row) for row in executions],
            breakers=_breakers(executions),
            errors=[_shaped(Errors, row) for row in errors],
            wish=wish,
        )

    def make_wish(self, tenant: str, session_id: str, wish: str) -> Wish | None:
        """Wish that a session be what ``wish`` says: see :func:`records.wishes.make`."""
        return wishes.make(self.engine, tenant, session_id, wish)

    def active_sessions(self, tenant: str, limit: int = 100) -> list[Session]:
        """Sessions that are running, queued or paused, newest first."""
        columns = _SESSIONS.c
        query = (
            select(_SESSIONS)
            .where(columns.tenant == clean(tenant), columns.status.in_(OPEN))
            # By an expression, or SQLite would go through all sessions in this order: those that go on are few.
            .order_by(func.coalesce(columns.begun_at, columns.begun_at).desc(), columns.id.desc())
            .limit(limit)
        )
        with reading(self.engine) as db:
            return [_shaped(Session, row) for row in _rows(db, query)]

    def failed_sessions(self, tenant: str, since: datetime, limit: int = 100) -> list[Session]:
        """Sessions that failed ``since``, those that ended last first."""
        columns = _SESSIONS.c
        query = (
            select(_SESSIONS)
            .where(
                columns.tenant == clean(tenant),
                columns.status == "failed",
                # No session ends later than its last event, by which there is an index.
                columns.last_event_at >= since,
                columns.completed_at >= since,
            )
            .order_by(columns.completed_at.desc(), columns.id.desc())
            .limit(limit)
        )
        with reading(self.engine) as db:
            return [_shaped(Session, row) for row in _rows(db, query)]

    def jobs_by_site(self, tenant: str, session_ids: Sequence[str]) -> dict[str, dict[str, int]]:
        """Postings that each of these sessions found at each site, over all attempts."""
        columns = _EXECUTIONS.c
        query = select(
            columns.session_id, columns.site_name, columns.jobs_scraped, columns.jobs_reported
        ).where(
            columns.tenant == clean(tenant), columns.session_id.in_([clean(name) for name in session_ids])
        )
        found: dict[str, dict[str, int]] = {}
        with reading(self.engine) as db:
            for session_id, site, seen, reported in db.execute(query):
                sites = found.setdefault(session_id, {})
                sites[site] = sites.get(site, 0) + max(seen, reported or 0)
        return found

    def counts(self, tenant: str) -> Counts:
        """How many sessions are in which state."""
        columns = _SESSIONS.c
        of_tenant = columns.tenant == clean(tenant)
        today = to_datetime(window_start(now_ns(), DAY))
        # Two ways to the rows, each by an index of its own: with one condition for both every session would be read.
        found = union_all(
            select(columns.status, columns.stalled_at).where(of_tenant, columns.status.in_(OPEN)),
            select(columns.status, null()).where(
                of_tenant,
                columns.status.not_in(OPEN),
                # No session ends later than its last event: by that, those of today are found.
                columns.last_event_at >= today,
                columns.completed_at >= today,
            ),
        ).subquery()
        query = select(found.c.status, func.count(), func.count(found.c.stalled_at)).group_by(found.c.status)
        with reading(self.engine) as db:
            number, stalled = Counter[str](), Counter[str]()
            for status, sessions, silent in db.execute(query):
                number[status], stalled[status] = sessions, silent
        return Counts(
            **{status: number[status] for status in OPEN},
            stalled=stalled["running"],
            **{f"{status}_today": number[status] for status in ENDED},
        )

    def session_numbers(self, tenant: str, start: datetime, stop: datetime) -> SessionNumbers:
        """The sessions that began from ``start`` to before ``stop``."""
        columns = _SESSIONS.c
        query = (
            select(columns.status, columns.verdict, func.count())
            .where(columns.tenant == clean(tenant), columns.begun_at >= start, columns.begun_at < stop)
            .group_by(columns.status, columns.verdict)
        )
        by_status: Counter[str] = Counter()
        by_verdict: Counter[str] = Counter()
        with reading(self.engine) as db:
            for status, verdict, number in db.execute(query):
                by_status[status] += number
                if verdict is not None:
                    by_verdict[verdict] += number
        return SessionNumbers(dict(sorted(by_status.items())), dict(sorted(by_verdict.items())))

    def last_event_at(self, tenant: str) -> datetime | None:
        """The time of the latest event of any session; None before the first."""
        with reading(self.engine) as db:
            query = select(func.max(_SESSIONS.c.last_event_at)).where(_SESSIONS.c.tenant == clean(tenant))
            latest: datetime | None = db.scalar(query)
            return latest

    def breakers(self, tenant: str) -> list[Breaker]:
        """The circuit breaker of each site that running sessions told of: of several, the latest word."""
        columns = _EXECUTIONS.c
        running = select(_SESSIONS.c.session_id).where(
            _SESSIONS.c.tenant == clean(tenant), _SESSIONS.c.status == "running"
        )
        told = (
            columns.session_id,
            columns.site_name,
            columns.circuit_breaker_state,
            columns.circuit_breaker_failures,
            columns.latest_at,
        )
        query = select(*told).where(
            columns.tenant == clean(tenant),
            columns.session_id.in_(running),
            columns.circuit_breaker_state.is_not(None),
        )
        with reading(self.engine) as db:
            return _breakers(_rows(db, query))

    def ping(self) -> None:
        """Ask the database for a sign of life."""
        with reading(self.engine) as db:
            db.execute(select(literal(1)))


def _of(table: Table, tenant: str, session_id: str) -> Select[Any]:
    return select(table).where(table.c.tenant == clean(tenant), table.c.session_id == clean(session_id))


def _rows(db: Connection, query: Select[Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in db.execute(query).mappings()]


def _visits(db: Connection, tenant: str, site: str) -> ColumnElement[bool]:
    """Whether a session means to visit ``site``, or did."""
    columns, site = _EXECUTIONS.c, clean(site)
    visited = select(columns.session_id).where(columns.tenant == clean(tenant), columns.site_name == site)
    if db.dialect.name == "postgresql":
        declared: ColumnElement[bool] = _SESSIONS.c.sites.op("@>")(cast(literal([site], JSONB), JSONB))
    else:
        each = func.json_each(_SESSIONS.c.sites).table_valued("value")
        declared = select(literal(1)).select_from(each).where(each.c.value == site).exists()
    return or_(_SESSIONS.c.session_id.in_(visited), declared)


def _shaped(shape: type[Shape], row: Mapping[str, Any]) -> Shape:
    return shape(**{field.name: row[field.name] for field in fields(shape)})


def _execution(row: Mapping[str, Any]) -> Execution:
    values: dict[str, Any] = {field.name: row.get(field.name) for field in fields(Execution)}
    for name, reported in (
        ("jobs_scraped", "jobs_reported"),
        ("pages_processed", "pages_reported"),
        ("errors_count", "errors_reported"),
    ):
        values[name] = max(row[name], row[reported] or 0)
    timed = row["page_load_count"]
    values["avg_page_load_time"] = row["page_load_sum"] / timed if timed else None
    return Execution(**values)


def _breakers(executions: Sequence[Mapping[str, Any]]) -> list[Breaker]:
    latest: dict[str, tuple[int, Breaker]] = {}
    for row in executions:
        if row["circuit_breaker_state"] is None:
            continue
        at = row["latest_at"].get("circuit_breaker_state", 0)
        if row["site_name"] not in latest or at >= latest[row["site_name"]][0]:
            breaker = Breaker(
                site_name=row["site_name"],
                state=row["circuit_breaker_state"],
                failures=row["circuit_breaker_failures"],
                at=to_datetime(at) if at else None,
                session_id=row["session_id"],
            )
            latest[row["site_name"]] = (at, breaker)
    return [breaker for _, (_, breaker) in sorted(latest.items())]
