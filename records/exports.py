"""Records for exports, page by page, and the exports that are repeated.

A page is a query of its own that names its place in the order: an export neither holds a transaction open while its reader takes its
time, nor takes more memory the longer it gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Double,
    Engine,
    Integer,
    Table,
    and_,
    delete,
    insert,
    literal,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from records.engine import reading, writing
from records.merge import clean
from records.models import (
    Base,
    ErrorGroup,
    ExportSchedule,
    JobPosting,
    Json,
    ScrapeSession,
    SiteExecution,
    UtcDateTime,
)
from scrapewatch.ports import Column
from scrapewatch.problems import Conflict, InvalidInput, NotFound

_SESSIONS, _EXECUTIONS, _ERRORS, _POSTINGS, _SCHEDULES = (
    Base.metadata.tables[model.__tablename__]
    for model in (ScrapeSession, SiteExecution, ErrorGroup, JobPosting, ExportSchedule)
)

Place = tuple[datetime, int]
"""A place in the order of an export: time and id of the last row before it."""

PAGE = 1_000
"""Rows a page; of what belongs to sessions, the rows of a tenth as many sessions."""

MOST_SCHEDULES = 100
"""Repeated exports of a tenant."""


@dataclass(frozen=True, slots=True)
class Exported:
    """Records that can be exported, in the order of ``time``: those at which this lies in the range asked for.

    ``columns``: their names, types (``time``, ``string``, ``int``, ``float``, ``bool``, or ``names`` for a list of texts) and meaning.
    ``of_sessions``: each belongs to a session, and ``time`` is the session's.
    """

    table: Table
    description: str
    time: ColumnElement[datetime]
    columns: tuple[Column, ...]
    of_sessions: bool = False


def _type(column: ColumnElement[Any]) -> str:
    kind = column.type
    if isinstance(kind, UtcDateTime):
        return "time"
    if isinstance(kind, Boolean):
        return "bool"
    if isinstance(kind, Double):
        return "float"
    if isinstance(kind, BigInteger | Integer):
        return "int"
    return "names" if isinstance(kind, type(Json)) else "string"


def _columns(table: Table, **described: tuple[str, str]) -> tuple[Column, ...]:
    return tuple(
        Column(name, _type(table.c[name]), unit, description)
        for name, (unit, description) in described.items()
    )


EXPORTED = MappingProxyType(
    {
        "sessions": Exported(
            _SESSIONS,
            "Sessions that began in the range.",
            _SESSIONS.c.begun_at,
            _columns(
                _SESSIONS,
                session_id=("", "its id"),
                source=("", "what the scraper is made with"),
                search_term=("", "what it searches for"),
                location=("", "where"),
                sites=("", "the sites it visits"),
                status=("", "what it does now"),
                status_reason=("", "why"),
                verdict=("", "what it really was"),
                begun_at=("", "when it started, or was queued before that"),
                completed_at=("", "when it ended"),
                duration_seconds=("s", "how long it ran"),
                total_jobs_found=("1", "postings found"),
                total_jobs_saved=("1", "of these, stored"),
                duplicates_skipped=("1", "of these, seen before"),
                jobs_dropped=("1", "of these, left out"),
                jobs_invalid=("1", "of these, invalid"),
                total_pages=("1", "pages processed"),
                pages_ok=("1", "of these, good"),
                pages_blocked=("1", "of these, block pages"),
                errors_count=("1", "errors"),
                total_sites=("1", "sites it visited or said it would"),
                successful_sites=("1", "sites whose last attempt ended well"),
                failed_sites=("1", "sites whose last attempt ended badly"),
            ),
        ),
        "site_executions": Exported(
            _EXECUTIONS,
            "Attempts at sites of the sessions that began in the range.",
            _SESSIONS.c.begun_at,
            _columns(
                _EXECUTIONS,
                session_id=("", "the session"),
                site_name=("", "the site"),
                attempt_number=("1", "number of the attempt, from 1"),
                started_at=("", "when it began"),
                completed_at=("", "when it ended"),
                duration_seconds=("s", "how long it took"),
                jobs_scraped=("1", "postings found"),
                pages_processed=("1", "pages processed"),
                pages_ok=("1", "of these, good"),
                pages_blocked=("1", "of these, block pages"),
                page_load_sum=("s", "times of the pages, added up"),
                page_load_count=("1", "pages whose time is known"),
                errors_count=("1", "errors"),
                success=("", "whether it ended well"),
                error_message=("", "why not"),
                circuit_breaker_state=("", "closed, half_open or open"),
                memory_usage_mb=("MiBy", "memory of the scraper's process"),
                cpu_usage_percent=("percent", "use of one core by it"),
            ),
            of_sessions=True,
        ),
        "error_groups": Exported(
            _ERRORS,
            "Errors that are one error, of the sessions that began in the range.",
            _SESSIONS.c.begun_at,
            _columns(
                _ERRORS,
                session_id=("", "the session"),
                site_name=("", "the site"),
                fingerprint=("", "what they have in common"),
                type=("", "type of the error"),
                message=("", "message of one of them"),
                url=("", "where that one happened"),
                count=("1", "how many"),
                first_seen=("", "when the first happened"),
                last_seen=("", "when the last happened"),
            ),
            of_sessions=True,
        ),
        "postings": Exported(
            _POSTINGS,
            "Postings first seen in the range, without their descriptions.",
            _POSTINGS.c.first_seen,
            _columns(
                _POSTINGS,
                fingerprint=("", "the same for every sight of it"),
                site_name=("", "the site"),
                session_id=("", "the session that found it last"),
                title=("", "title"),
                company=("", "company"),
                location=("", "place"),
                salary_text=("", "salary as the site shows it"),
                salary_min=("currency", "least salary, as given"),
                salary_max=("currency", "highest salary, as given"),
                salary_interval=("", "what that is paid for, as given"),
                salary_currency=("", "its currency, as given"),
                yearly_min=("currency/a", "least salary a year"),
                yearly_max=("currency/a", "highest salary a year"),
                yearly_currency=("", "ISO 4217 code of both"),
                skills=("", "skills asked for"),
                job_type=("", "full-time, contract, …"),
                is_remote=("", "whether it can be done from anywhere"),
                posted_at=("", "when it was posted"),
                url=("", "its address"),
                times_seen=("1", "how often it was found"),
                first_seen=("", "when it was found first"),
                last_seen=("", "when it was found last"),
            ),
        ),
    }
)
"""What can be exported, by name."""


class RecordExports:
    """Records of one tenant behind ``engine``.

    Raises :class:`~scrapewatch.problems.StoreUnavailable` when the database does not answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def page(
        self, name: str, tenant: str, start: datetime, stop: datetime, after: Place | None
    ) -> tuple[list[tuple[Any, ...]], Place | None]:
        """Rows of ``name`` in ``start`` to before ``stop`` behind the place ``after``, and the place for the next ones; None at the end."""
        exported = EXPORTED[name]
        keyed = _SESSIONS if exported.of_sessions else exported.table
        inside = and_(
            keyed.c.tenant == clean(tenant),
            exported.time >= start,
            exported.time < stop,
            _behind(exported, after),
        )
        order = (exported.time, keyed.c.id)
        wanted = [exported.table.c[column.name] for column in exported.columns]
        with reading(self._engine) as db:
            if not exported.of_sessions:
                query = select(*order, *wanted).where(inside).order_by(*order).limit(PAGE)
                found = [tuple(row) for row in db.execute(query)]
                place = (found[-1][0], found[-1][1]) if len(found) == PAGE else None
                return [row[2:] for row in found], place
            query = select(*order, keyed.c.session_id).where(inside).order_by(*order).limit(PAGE // 10)
            sessions = [tuple(row) for row in db.execute(query)]
            below = (
                select(*wanted)
                .where(
                    exported.table.c.tenant == clean(tenant),
                    exported.table.c.session_id.in_([session_id for _, _, session_id in sessions]),
                )
                .order_by(exported.table.c.session_id, exported.table.c.id)
            )
            rows = [tuple(row) for row in db.execute(below)] if sessions else []
            place = (sessions[-1][0], sessions[-1][1]) if len(sessions) == PAGE // 10 else None
            return rows, place


def _behind(exported: Exported, after: Place | None) -> ColumnElement[bool]:
    if after is None:
        return true()
    keyed = _SESSIONS if exported.of_sessions else exported.table
    place = tuple_(literal(after[0], exported.time.type), literal(after[1], BigInteger))
    return tuple_(exported.time, keyed.c.id) > place


@dataclass(frozen=True, slots=True)
class Schedule:
    """An export that is repeated. ``cadence`` and ``timeframe`` are lengths of time such as ``24h``; ``keep`` counts files.

    ``next_run_at`` is the end of the range that the next file covers.
    """

    tenant: str
    name: str
    format: str
    cadence: str
    timeframe: str
    metrics: list[str]
    keep: int
    created_at: datetime
    last_run_at: datetime | None = None
    next_run_at: datetime | None = None
    last_error: str | None = None
    last_file: str | None = None


class ExportSchedules:
    """The repeated exports behind ``engine``.

    All raise :class:`~scrapewatch.problems.StoreUnavailable` when the database does not answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, schedule: Schedule) -> None:
        """Add ``schedule``.

        Raises:
            Conflict: its tenant has one of that name.
            InvalidInput: its tenant has too many.
        """
        values = {field.name: getattr(schedule, field.name) for field in fields(Schedule)}
        mine = select(_SCHEDULES.c.id).where(_SCHEDULES.c.tenant == schedule.tenant)
        try:
            with writing(self._engine) as db:
                if len(db.execute(mine.limit(MOST_SCHEDULES)).all()) == MOST_SCHEDULES:
                    raise InvalidInput(f"there are {MOST_SCHEDULES} schedules already: delete one first")
                db.execute(insert(_SCHEDULES).values(**values, enabled=True))
        except IntegrityError as error:
            raise Conflict(
                f"there is a schedule {schedule.name!r} already: delete it first, or choose another name"
            ) from error

    def of_tenant(self, tenant: str, *, after: str = "", limit: int = MOST_SCHEDULES) -> list[Schedule]:
        """Those of ``tenant`` by name, from behind the name ``after``."""
        columns = _SCHEDULES.c
        return self._read(
            and_(columns.tenant == clean(tenant), columns.name > clean(after)), columns.name, limit
        )

    def delete(self, tenant: str, name: str) -> None:
        """Forget one; the files stay.

        Raises:
            NotFound: ``tenant`` has none of that name.
        """
        columns = _SCHEDULES.c
        with writing(self._engine) as db:
            gone = db.execute(
                delete(_SCHEDULES).where(columns.tenant == clean(tenant), columns.name == clean(name))
            )
            if not gone.rowcount:
                raise NotFound(f"there is no schedule {name[:200]!r}")

    def due(self, now: datetime, limit: int = 10) -> list[Schedule]:
        """Those whose next run is due at ``now``, of all tenants, the longest due first."""
        columns = _SCHEDULES.c
        return self._read(
            and_(columns.next_run_at <= now, columns.enabled.is_(True)), columns.next_run_at, limit
        )

    def ran(self, schedule: Schedule, at: datetime, *, file: str, next_run_at: datetime) -> None:
        """Note that the file due at ``schedule.next_run_at`` was written."""
        self._note(schedule, last_run_at=at, last_file=file, last_error=None, next_run_at=next_run_at)

    def failed(self, schedule: Schedule, error: str, *, next_run_at: datetime | None) -> None:
        """Note why it was not; ``next_run_at`` as it is when it is to be tried again."""
        self._note(schedule, last_error=error[:1_000], next_run_at=next_run_at)

    def _note(self, schedule: Schedule, **values: Any) -> None:
        columns = _SCHEDULES.c
        mine = and_(
            columns.tenant == schedule.tenant,
            columns.name == schedule.name,
            # Another of the same name may have been made meanwhile.
            columns.created_at == schedule.created_at,
        )
        with writing(self._engine) as db:
            db.execute(update(_SCHEDULES).where(mine).values(**values))

    def _read(self, where: ColumnElement[bool], order: ColumnElement[Any], limit: int) -> list[Schedule]:
        names: Sequence[str] = [field.name for field in fields(Schedule)]
        query = select(*(_SCHEDULES.c[name] for name in names)).where(where).order_by(order).limit(limit)
        with reading(self._engine) as db:
            return [Schedule(**dict(zip(names, row, strict=True))) for row in db.execute(query)]
