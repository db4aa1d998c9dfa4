"""The records on SQLite or PostgreSQL: numbered flushes, each applied once, in one transaction with its number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from threading import Lock
from typing import Any

import structlog
from sqlalchemy import (
    ColumnElement,
    Connection,
    String,
    Table,
    and_,
    any_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from records import migrate, wishes
from records.engine import make_engine, reading, writing
from records.known import KnownSession, KnownSessions, rows_of
from records.leases import hold_lease
from records.market import count_days, counts_of, search_key, settle_posting, stated
from records.merge import TERMINAL, as_text, blank, clean, key_reader, merge, moment
from records.models import (
    AppliedSource,
    Base,
    Collector,
    DirtyWindowRow,
    ErrorGroup,
    JobPosting,
    ScrapeSession,
    SiteExecution,
)
from records.rows import Key, Known, Rows, rows_in
from records.settle import heard_from, settle_execution, settle_session
from scrapewatch.measurements import KEEPING, Tier
from scrapewatch.ports import DirtyWindow, RecordChanges, RowChange
from scrapewatch.problems import ConfigurationError, StoreUnavailable
from scrapewatch.time import SECOND, now_ns, to_datetime, to_ns
from scrapewatch.wishes import Wish

log = structlog.get_logger(__name__)

COLLECTORS = 99
"""How many numbers there are to lease, from 0; the next one, 99, stamps history."""

STAMP_RETENTION = max(keeping.retention for keeping in KEEPING.values() if keeping.window == 0)
"""How long points stamped with a collector's number are kept (ns): until then another collector with it could overwrite them."""

WATCHED_AT_ONCE = 500

_NEVER = -1

_SESSIONS, _EXECUTIONS, _ERRORS, _POSTINGS = (
    Base.metadata.tables[model.__tablename__]
    for model in (ScrapeSession, SiteExecution, ErrorGroup, JobPosting)
)
_COLLECTORS, _SOURCES, _WINDOWS = (
    Base.metadata.tables[model.__tablename__] for model in (Collector, AppliedSource, DirtyWindowRow)
)

_KEYS = {
    _SESSIONS: ("session_id",),
    _EXECUTIONS: ("session_id", "site_name", "attempt_number"),
    _ERRORS: ("session_id", "site_name", "fingerprint"),
    _POSTINGS: ("fingerprint",),
}
"""What tells the rows of a tenant apart."""

_TABLES = {table.name: (table, key_reader(table, key)) for table, key in _KEYS.items()}


class SqlRecords:
    """The :class:`~scrapewatch.ports.RecordStore` at ``url``. Nothing connects before it is used.

    The tables must have been brought up to date with :func:`records.migrate.upgrade`; :meth:`ready` says so when they were not.

    Two flushes cannot wait for each other: each takes sources, then sessions, postings and the counts of days, and each of these in the
    order of their keys. A session's row is also the lock of its executions and error groups.

    Raises:
        ConfigurationError: ``url`` is none that the records can be kept at.
    """

    def __init__(self, url: str) -> None:
        self.engine = make_engine(url)
        # All that is written to a file of SQLite goes over one connection, which so knows when another process wrote.
        self._writer = (
            make_engine(url, connections=1) if self.engine.dialect.name == "sqlite" else self.engine
        )
        self._known = KnownSessions()
        self._knowing = Lock()

    def lease_collector(self, spool_id: str) -> int:
        """The number (0–98) of the collector that owns the spool ``spool_id``: the same one at every call.

        Raises:
            ConfigurationError: every number was used within retention.
            StoreUnavailable: the database does not answer.
        """
        now = now_ns()
        with writing(self._writer) as db:
            _lock(db, "collectors")
            query = select(_COLLECTORS.c.number, _COLLECTORS.c.spool_id, _COLLECTORS.c.last_seen)
            known: dict[int, tuple[str | None, int]] = {
                n: (spool, seen) for n, spool, seen in db.execute(query)
            }
            for number, (spool, _) in known.items():
                if spool == spool_id:
                    db.execute(
                        update(_COLLECTORS).where(_COLLECTORS.c.number == number).values(last_seen=now)
                    )
                    return number
            unused = [number for number in range(COLLECTORS) if number not in known]
            if unused:
                db.execute(insert(_COLLECTORS).values({**_lease_of(spool_id, now), "number": unused[0]}))
                return unused[0]
            seen, number = min((seen, number) for number, (_, seen) in known.items() if number < COLLECTORS)
            if seen >= now - STAMP_RETENTION:
                free_at = to_datetime(seen + STAMP_RETENTION)
                raise ConfigurationError(
                    f"all {COLLECTORS} collector numbers were used within the retention of their points. Start this collector on "
                    f"the spool of one that is gone (its folder's spool file), or wait until {free_at:%Y-%m-%d}; "
                    "wiping a collector's folder at each start uses the numbers up"
                )
            db.execute(
                update(_COLLECTORS).where(_COLLECTORS.c.number == number).values(_lease_of(spool_id, now))
            )
            return number

    def apply(self, collector_no: int, number: int, changes: Sequence[RecordChanges]) -> bool:
        """Apply flush ``number`` in one transaction with its number; False when it was applied before and nothing changed.

        Raises:
            StoreUnavailable: the database does not answer; nothing was applied.
        """
        with self._knowing:
            try:
                with writing(self._writer) as db:
                    if not _advance(db, collector_no, number):
                        return False
                    touched = _Touched()
                    for change in _not_applied(db, changes):
                        touched.add(change)
                    searches = _apply_to_sessions(db, touched, self._known)
                    _apply_to_postings(db, touched.rows[_POSTINGS], searches)
                    return True
            except BaseException:
                self._known.forget_all()
                raise

    def source_applied(self, tenant: str, source: str) -> bool:
        """Whether history under the key ``source`` was applied.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        with reading(self.engine) as db:
            found = select(literal(1)).where(
                _SOURCES.c.tenant == clean(tenant, 64), _SOURCES.c.source == _source_key(source)
            )
            return db.scalar(found) is not None

    def mark_windows(self, changes: Sequence[RecordChanges]) -> None:
        """Mark the windows of ``changes`` dirty: once the points of their flush are stored, and as often as need be.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        windows = {
            (clean(change.tenant, 64), str(tier), start)
            for change in changes
            for tier, starts in change.windows.items()
            for start in starts
        }
        if windows:
            with writing(self._writer) as db:
                # A mark that never was before, so that one seen earlier cannot clear it.
                _mark_windows(db, windows, now_ns())

    def dirty_windows(
        self, limit: int, *, settled_before: Mapping[Tier, int], without: Collection[str] = ()
    ) -> list[DirtyWindow]:
        """Up to ``limit`` dirty windows, oldest first, but for those of the tenants ``without``.

        A window whose tier is in ``settled_before`` is left out while it starts at or after that time (ns) – to be taken later.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        columns = _WINDOWS.c
        settled = [
            or_(columns.tier != str(tier), columns.start < before) for tier, before in settled_before.items()
        ]
        query = (
            select(columns.tenant, columns.tier, columns.start, columns.mark)
            .where(and_(true(), *settled, *((columns.tenant.not_in(without),) if without else ())))
            .order_by(columns.start, columns.tenant, columns.tier)
            .limit(limit)
        )
        with reading(self.engine) as db:
            return [
                DirtyWindow(tenant, Tier(tier), start, mark)
                for tenant, tier, start, mark in db.execute(query)
            ]

    def clear_window(self, window: DirtyWindow) -> None:
        """Forget a dirty window unless it was marked anew since.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        with writing(self._writer) as db:
            db.execute(
                delete(_WINDOWS).where(
                    _WINDOWS.c.tenant == window.tenant,
                    _WINDOWS.c.tier == str(window.tier),
                    _WINDOWS.c.start == window.start,
                    _WINDOWS.c.mark == window.mark,
                )
            )

    def hold_lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take or keep the lease ``name`` for ``holder``; False while another holds it. With ``seconds=0`` it is let go.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        return hold_lease(self._writer, name, holder, seconds)

    def watch_sessions(self, now: int, *, stall_after: float, abandon_after: float) -> list[str]:
        """Mark running sessions silent for ``stall_after`` seconds as stalled, close those silent for ``abandon_after`` as failed.

        A session that is paused or queued is meant to be silent: it is only closed. A newer event undoes both. Returns the ids of the
        sessions that changed.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        columns = _SESSIONS.c
        stalled_before = to_datetime(now - int(stall_after * SECOND))
        abandoned_before = to_datetime(now - int(abandon_after * SECOND))
        silent = (
            select(columns.tenant, columns.session_id)
            .where(
                or_(
                    and_(
                        columns.status == "running",
                        columns.stalled_at.is_(None),
                        columns.last_event_at <= stalled_before,
                    ),
                    and_(
                        columns.status.in_(("queued", "running", "paused")),
                        columns.last_event_at <= abandoned_before,
                    ),
                )
            )
            .order_by(columns.tenant, columns.session_id)
            .limit(WATCHED_AT_ONCE)
            # One that is being written to is not silent.
            .with_for_update(skip_locked=True)
        )
        changed: list[str] = []
        while True:
            with self._knowing, writing(self._writer) as db:
                self._known.forget_all()
                sessions, executions = _rows(db, _SESSIONS), _rows(db, _EXECUTIONS)
                found = {
                    key: KnownSession(before, sessions.row(before))
                    for key, before in sessions.find(db, [tuple(row) for row in db.execute(silent)]).items()
                }
                for key, before in executions.find(db, found).items():
                    found[key[:2]].executions[key] = Known(before, executions.row(before))
                for known in found.values():
                    row = known.row
                    row["stalled_at"] = moment(now)
                    if row["last_event_at"] <= moment(to_ns(abandoned_before)):
                        row["closed_by"] = "watch"
                        row["status_reason"] = f"no event for {_length(abandon_after)}"
                _settle(db, found)
                sessions.save(db, found)
            changed += [session_id for _, session_id in sorted(found)]
            if len(found) < WATCHED_AT_ONCE:
                return changed

    def wishes(self) -> list[Wish]:
        """The wishes for sessions that are not fulfilled; those that are go."""
        return wishes.pending(self.engine)

    def ready(self) -> str | None:
        """None when the records can be written to, or else what is wrong and what to do."""
        try:
            with writing(self._writer) as db:
                found, needed = migrate.current(db), migrate.newest()
                if found != needed:
                    return (
                        f"the records' tables are at revision {found or 'none'} and this version needs {needed}: "
                        "restart the collector, which brings them up to date"
                    )
                if db.dialect.name == "postgresql" and db.scalar(select(func.pg_is_in_recovery())):
                    return "the records are on a standby of PostgreSQL, which cannot be written to: name the primary"
        except StoreUnavailable as error:
            return f"{error}: see that the database runs and that DATABASE_URL names it"
        return None

    def close(self) -> None:
        """Let go of connections."""
        self._writer.dispose()
        self.engine.dispose()


@dataclass(slots=True)
class _Touched:
    """The changes of a flush by row."""

    rows: dict[Table, dict[Key, list[RowChange]]] = field(
        default_factory=lambda: {table: defaultdict(list) for table in _KEYS}
    )

    def add(self, changes: RecordChanges) -> None:
        tenant = clean(changes.tenant, 64)
        sessions = self.rows[_SESSIONS]
        for change in changes.rows:
            known = _TABLES.get(change.table)
            if known is None:
                log.warning("unknown_table", table=change.table)
                continue
            table, key_of = known
            key = key_of(tenant, change.key)
            self.rows[table][key].append(change)
            if len(key) > 2:
                sessions[key[:2]]  # touched, if only to count its sites


def _lease_of(spool_id: str, now: int) -> dict[str, Any]:
    return {"spool_id": spool_id, "leased_at": now, "last_seen": now, "last_flush": _NEVER}


def _advance(db: Connection, collector_no: int, number: int) -> bool:
    """Note that flush ``number`` is applied; False when it was before."""
    now = now_ns()
    put = _insert(db)(_COLLECTORS).values(
        number=collector_no, leased_at=now, last_seen=now, last_flush=number
    )
    advanced = put.on_conflict_do_update(
        index_elements=[_COLLECTORS.c.number],
        set_={"last_flush": put.excluded.last_flush, "last_seen": put.excluded.last_seen},
        where=_COLLECTORS.c.last_flush < put.excluded.last_flush,
    ).returning(_COLLECTORS.c.number)
    return db.scalar(advanced) is not None


def _not_applied(db: Connection, changes: Sequence[RecordChanges]) -> list[RecordChanges]:
    """The ``changes`` whose source is new; it is noted as applied."""
    first: dict[Key, int] = {}
    for k, change in enumerate(changes):
        if change.source is not None:
            first.setdefault((clean(change.tenant, 64), _source_key(change.source)), k)
    new = set()
    # One by one: a flush has few sources, and each must be waited for when another collector is applying it.
    for (tenant, source), k in sorted(first.items()):
        put = _insert(db)(_SOURCES).values(tenant=tenant, source=source).on_conflict_do_nothing()
        if db.scalar(put.returning(_SOURCES.c.tenant)) is not None:
            new.add(k)
    return [change for k, change in enumerate(changes) if change.source is None or k in new]


def _source_key(source: str) -> str:
    """``source`` as its column holds it: a long one by its digest, so that no two become one."""
    text = clean(source)
    return text if len(text) <= 400 else f"{text[:400]} {sha256(text.encode()).hexdigest()}"


def _apply_to_sessions(db: Connection, touched: _Touched, known: KnownSessions) -> Mapping[Key, str | None]:
    """Apply the changes of sessions and of what belongs to them; what each of the sessions searches for."""
    sessions, executions, errors = (_rows(db, table) for table in (_SESSIONS, _EXECUTIONS, _ERRORS))
    made = {"begun_at": moment(now_ns()), "status": "running"}
    claimed = known.claim(db, sessions, executions, touched.rows[_SESSIONS], made)
    for key, changes in touched.rows[_SESSIONS].items():
        row = claimed[key].row
        last = row["last_event_at"]
        for change in changes:
            merge(_SESSIONS, row, change)
        if row["last_event_at"] != last:
            heard_from(row)
    below: dict[Key, Known] = {}
    for key, changes in touched.rows[_EXECUTIONS].items():
        of_session = claimed[key[:2]].executions
        below[key] = of_session[key] = _merged(_EXECUTIONS, key, of_session.get(key), changes)
        settle_execution(below[key].row)
    written = executions.save(db, below)
    groups = {
        key: Known(row, errors.row(row))
        for key, row in errors.find(db, touched.rows[_ERRORS], all_parts=True).items()
    }
    errors.save(
        db,
        {
            key: _merged(_ERRORS, key, groups.get(key), changes)
            for key, changes in touched.rows[_ERRORS].items()
        },
    )
    _settle(db, claimed)
    changed = set(sessions.save(db, claimed))
    quiet = {key[:2] for key in written} - changed
    sessions.touch(db, [claimed[key].row["id"] for key in quiet])
    version = sessions.own_version(db)
    if version is not None:
        for key in changed | quiet:
            claimed[key].version = version
    known.keep(claimed)
    return {key: session.row["search_term"] for key, session in claimed.items()}


def _merged(table: Table, key: Key, known: Known | None, changes: Iterable[RowChange]) -> Known:
    """``known``, or else a new row under ``key``, after ``changes``."""
    if known is None:
        known = Known(None, blank(table) | dict(zip(("tenant", *_KEYS[table]), key, strict=True)))
    for change in changes:
        merge(table, known.row, change)
    return known


def _apply_to_postings(
    db: Connection, touched: Mapping[Key, list[RowChange]], searches: Mapping[Key, str | None]
) -> None:
    if not touched:
        return
    postings = _rows(db, _POSTINGS)
    postings.make(db, touched, {})
    found = postings.find(db, touched, lock=True)
    if len(found) < len(touched):
        raise StoreUnavailable("a record was deleted while it was written to", retry_after=0.1)
    rows: dict[Key, Known] = {}
    counted = []
    for key, before in found.items():
        rows[key] = known = Known(before, postings.row(before))
        was = known.row.copy()
        _merged(_POSTINGS, key, known, touched[key])
        search = search_key(searches.get((key[0], known.row["session_id"])))
        known.row["search_key"] = search or known.row["search_key"]
        if stated(known.row) != stated(was):
            settle_posting(known.row)
            counted.append((counts_of(was), counts_of(known.row)))
    postings.save(db, rows)
    count_days(db, counted)


def _rows(db: Connection, table: Table) -> Rows:
    return rows_in(db.dialect.name, table, _KEYS[table])


def _one_of(db: Connection, column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    """Whether ``column`` is in the :func:`_list` bound as ``name``: one parameter, so that the statement is always the same."""
    if db.dialect.name == "postgresql":
        return column == any_(bindparam(name, type_=postgresql.ARRAY(String)))
    each = func.json_each(bindparam(name, type_=String)).table_valued("value")
    return column.in_(select(each.c.value))


def _list(db: Connection, texts: Iterable[str]) -> Any:
    names = sorted(texts)
    return names if db.dialect.name == "postgresql" else as_text(names)


def _settle(db: Connection, sessions: Mapping[Key, KnownSession]) -> None:
    """Set the derived columns of ``sessions``, whose rows are locked."""
    judged = [
        key
        for key, known in sessions.items()
        if known.row["closed_by"] or known.row["stalled_at"] or known.row["status_rank"] == TERMINAL
    ]
    errors = _errors_by_type(db, judged) if judged else {}
    for key, known in sessions.items():
        settle_session(known.row, rows_of(known), errors.get(key))


def _errors_by_type(db: Connection, sessions: Iterable[Key]) -> dict[Key, dict[tuple[str, str], int]]:
    """How many errors of each (site, type) there were, by (tenant, session)."""
    columns = _ERRORS.c
    query = (
        select(columns.session_id, columns.site_name, columns.type, func.sum(columns.count).label("n"))
        .where(columns.tenant == bindparam("of"), _one_of(db, columns.session_id, "ids"))
        .group_by(columns.session_id, columns.site_name, columns.type)
    )
    errors: dict[Key, dict[tuple[str, str], int]] = defaultdict(dict)
    of_tenant: dict[str, list[str]] = defaultdict(list)
    for tenant, session_id in sessions:
        of_tenant[tenant].append(session_id)
    for tenant, ids in sorted(of_tenant.items()):
        for session_id, site, kind, count in db.execute(query, {"of": tenant, "ids": _list(db, ids)}):
            errors[tenant, session_id][site, kind or "other"] = int(count)
    return errors


def _mark_windows(db: Connection, windows: Iterable[Key], mark: int) -> None:
    rows = [
        {"tenant": tenant, "tier": tier, "start": start, "mark": mark}
        for tenant, tier, start in sorted(windows)
    ]
    if rows:
        put = _insert(db)(_WINDOWS)
        db.execute(
            put.on_conflict_do_update(
                index_elements=["tenant", "tier", "start"], set_={"mark": put.excluded.mark}
            ),
            rows,
        )


def _insert(db: Connection) -> Any:
    """The ``insert`` of this database that knows ON CONFLICT."""
    return postgresql.insert if db.dialect.name == "postgresql" else sqlite.insert


def _lock(db: Connection, name: str) -> None:
    """Let one transaction at a time go beyond this point; on SQLite every writing one is alone anyway."""
    if db.dialect.name == "postgresql":
        db.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"scrapewatch.{name}", 0))))


def _length(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
