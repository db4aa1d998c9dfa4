"""The records on SQLite or PostgreSQL: numbered flushes, each applied once, in one transaction with its number."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from typing import Any

import orjson
import structlog
from sqlalchemy import (
    BigInteger,
    ColumnClause,
    ColumnElement,
    Connection,
    String,
    Table,
    TableValuedAlias,
    and_,
    any_,
    bindparam,
    cast,
    column,
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

from records import migrate
from records.engine import make_engine, reading, writing
from records.merge import TERMINAL, Row, blank, clean, key_of, merge
from records.models import (
    AppliedSource,
    Base,
    Collector,
    DirtyWindowRow,
    ErrorGroup,
    JobPosting,
    Lease,
    ScrapeSession,
    SiteExecution,
)
from records.settle import heard_from, settle_execution, settle_session
from scrapewatch.measurements import KEEPING, Tier
from scrapewatch.ports import DirtyWindow, RecordChanges, RowChange
from scrapewatch.problems import ConfigurationError, StoreUnavailable
from scrapewatch.time import SECOND, now_ns, to_datetime

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
_COLLECTORS, _SOURCES, _WINDOWS, _LEASES = (
    Base.metadata.tables[model.__tablename__] for model in (Collector, AppliedSource, DirtyWindowRow, Lease)
)

_KEYS = {
    _SESSIONS: ("session_id",),
    _EXECUTIONS: ("session_id", "site_name", "attempt_number"),
    _ERRORS: ("session_id", "site_name", "fingerprint"),
    _POSTINGS: ("fingerprint",),
}
"""What tells the rows of a tenant apart."""

_TABLES = {table.name: table for table in _KEYS}

Key = tuple[Any, ...]
"""Tenant, then the values of :data:`_KEYS`."""


class SqlRecords:
    """The :class:`~scrapewatch.ports.RecordStore` at ``url``. Nothing connects before it is used.

    The tables must have been brought up to date with :func:`records.migrate.upgrade`; :meth:`ready` says so when they were not.

    Two flushes cannot wait for each other: each takes sources, then sessions, then postings, and each of these in the order of their
    keys. A session's row is also the lock of its executions and error groups.

    Raises:
        ConfigurationError: ``url`` is none that the records can be kept at.
    """

    def __init__(self, url: str) -> None:
        self.engine = make_engine(url)

    def lease_collector(self, spool_id: str) -> int:
        """The number (0–98) of the collector that owns the spool ``spool_id``: the same one at every call.

        Raises:
            ConfigurationError: every number was used within retention.
            StoreUnavailable: the database does not answer.
        """
        now = now_ns()
        with writing(self.engine) as db:
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
        with writing(self.engine) as db:
            if not _advance(db, collector_no, number):
                return False
            touched = _Touched()
            for change in _not_applied(db, changes):
                touched.add(change)
            _apply_to_sessions(db, touched)
            _apply_to_postings(db, touched.rows[_POSTINGS])
            return True

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
            with writing(self.engine) as db:
                # A mark that never was before, so that one seen earlier cannot clear it.
                _mark_windows(db, windows, now_ns())

    def dirty_windows(self, limit: int, *, settled_before: Mapping[Tier, int]) -> list[DirtyWindow]:
        """Up to ``limit`` dirty windows, oldest first.

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
            .where(and_(true(), *settled))
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
        with writing(self.engine) as db:
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
        with writing(self.engine) as db:
            # One clock for all: the database's, where several machines share it.
            now: ColumnElement[int] = literal(now_ns(), BigInteger)
            if db.dialect.name == "postgresql":
                now = cast(func.extract("epoch", func.clock_timestamp()) * SECOND, BigInteger)
            until = now + int(seconds * SECOND)
            put = _insert(db)(_LEASES).values(name=name, holder=holder, expires_at=until)
            taken = put.on_conflict_do_update(
                index_elements=[_LEASES.c.name],
                set_={"holder": put.excluded.holder, "expires_at": put.excluded.expires_at},
                where=or_(_LEASES.c.holder == holder, _LEASES.c.expires_at <= now),
            ).returning(_LEASES.c.holder)
            return db.scalar(taken) is not None

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
            select(_SESSIONS)
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
            with writing(self.engine) as db:
                before = [dict(row) for row in db.execute(silent).mappings()]
                after = [dict(row) for row in before]
                for row in after:
                    row["stalled_at"] = to_datetime(now)
                    if row["last_event_at"] <= abandoned_before:
                        row["closed_by"] = "watch"
                        row["status_reason"] = f"no event for {_length(abandon_after)}"
                keys = [(row["tenant"], row["session_id"]) for row in after]
                _settle(db, after, _find(db, _EXECUTIONS, keys).values())
                _update(db, _SESSIONS, zip(before, after, strict=True))
            changed += [row["session_id"] for row in after]
            if len(after) < WATCHED_AT_ONCE:
                return changed

    def ready(self) -> str | None:
        """None when the records can be written to, or else what is wrong and what to do."""
        try:
            with writing(self.engine) as db:
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
        self.engine.dispose()


@dataclass(slots=True)
class _Touched:
    """The changes of a flush by row."""

    rows: dict[Table, dict[Key, list[RowChange]]] = field(
        default_factory=lambda: {table: defaultdict(list) for table in _KEYS}
    )

    def add(self, changes: RecordChanges) -> None:
        tenant = clean(changes.tenant, 64)
        for change in changes.rows:
            table = _TABLES.get(change.table)
            if table is None:
                log.warning("unknown_table", table=change.table)
                continue
            key = (tenant, *key_of(table, change.key, _KEYS[table]))
            self.rows[table][key].append(change)
            if table is not _SESSIONS and table is not _POSTINGS:
                self.rows[_SESSIONS][key[:2]]  # touched, if only to count its sites


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


def _apply_to_sessions(db: Connection, touched: _Touched) -> None:
    made = {"begun_at": to_datetime(now_ns()), "status": "running"}
    before = _claim(db, _SESSIONS, touched.rows[_SESSIONS], made)
    after = {key: dict(row) for key, row in before.items()}
    for key, changes in touched.rows[_SESSIONS].items():
        for change in changes:
            merge(_SESSIONS, after[key], change)
        if after[key]["last_event_at"] != before[key]["last_event_at"]:
            heard_from(after[key])
    executions = _find(db, _EXECUTIONS, before)
    executions |= _apply_below(db, _EXECUTIONS, touched.rows[_EXECUTIONS], executions)
    errors = touched.rows[_ERRORS]
    _apply_below(db, _ERRORS, errors, _find(db, _ERRORS, errors))
    _settle(db, after.values(), executions.values())
    _update(db, _SESSIONS, ((before[key], after[key]) for key in sorted(after)))


def _apply_below(
    db: Connection, table: Table, touched: Mapping[Key, list[RowChange]], found: Mapping[Key, Row]
) -> dict[Key, Row]:
    """Apply changes to rows that belong to sessions whose rows are locked, so that nobody else can add any; returns the rows."""
    names = ("tenant", *_KEYS[table])
    after = {}
    for key in sorted(touched):
        row = dict(found[key]) if key in found else blank(table) | dict(zip(names, key, strict=True))
        for change in touched[key]:
            merge(table, row, change)
        if table is _EXECUTIONS:
            settle_execution(row)
        after[key] = row
    new = [row for key, row in after.items() if key not in found]
    _insert_new(db, table, new)
    _update(db, table, ((found[key], row) for key, row in after.items() if key in found))
    return after


def _apply_to_postings(db: Connection, touched: Mapping[Key, list[RowChange]]) -> None:
    before = _claim(db, _POSTINGS, touched, {})
    pairs = []
    for key in sorted(touched):
        row = dict(before[key])
        for change in touched[key]:
            merge(_POSTINGS, row, change)
        pairs.append((before[key], row))
    _update(db, _POSTINGS, pairs)


def _claim(db: Connection, table: Table, keys: Collection[Key], first: Mapping[str, Any]) -> dict[Key, Row]:
    """The rows under ``keys``, locked; those that were not there are made, with the values of ``first``."""
    missing = sorted(set(keys) - _find(db, table, keys, only_keys=True).keys())
    names = ("tenant", *_KEYS[table])
    _insert_new(db, table, [{**dict(zip(names, key, strict=True)), **first} for key in missing])
    found = _find(db, table, keys, lock=True)
    if len(found) < len(keys):
        raise StoreUnavailable("a record was deleted while it was written to", retry_after=0.1)
    return found


def _find(
    db: Connection, table: Table, keys: Collection[Key], *, only_keys: bool = False, lock: bool = False
) -> dict[Key, Row]:
    """The rows that have a tenant and a session (a posting: a fingerprint) of ``keys``, by key; error groups only those of ``keys``."""
    names = ("tenant", *_KEYS[table])
    columns = [table.c[name] for name in names]
    query = select(*(columns if only_keys else table.columns)).order_by(*columns)
    query = query.where(columns[0] == bindparam("of"), _one_of(db, columns[1], "first"))
    if table is _ERRORS:
        query = query.where(_one_of(db, columns[-1], "last"))
    if lock:
        query = query.with_for_update()
    found: dict[Key, Row] = {}
    for tenant, rest in groupby(sorted(keys), key=itemgetter(0)):
        of_tenant = list(rest)
        values = {"of": tenant, "first": _list(db, {key[1] for key in of_tenant})}
        if table is _ERRORS:
            values["last"] = _list(db, {key[-1] for key in of_tenant})
        key_of_row = itemgetter(*names)
        for row in db.execute(query, values).mappings():
            found[key_of_row(row)] = dict(row)
    return found


def _one_of(db: Connection, column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    """Whether ``column`` is in the :func:`_list` bound as ``name``: one parameter, so that the statement is always the same."""
    if db.dialect.name == "postgresql":
        return column == any_(bindparam(name, type_=postgresql.ARRAY(String)))
    each = func.json_each(bindparam(name, type_=String)).table_valued("value")
    return column.in_(select(each.c.value))


def _list(db: Connection, values: Iterable[str]) -> Any:
    names = sorted(values)
    return names if db.dialect.name == "postgresql" else json.dumps(names)


def _update(db: Connection, table: Table, pairs: Iterable[tuple[Row, Row]]) -> None:
    """Write what is different in the second of each pair."""
    changed = [(before, after) for before, after in pairs if before != after]
    # One statement for all of them, with the columns that changed in any.
    names = sorted({name for before, after in changed for name in after if after[name] != before[name]})
    if not names:
        return
    rows = [{"id": row["id"], **{name: row[name] for name in names}} for _, row in changed]
    if db.dialect.name == "postgresql":
        given = _given(table, ["id", *names])
        statement = update(table).where(table.c.id == given.c.id).values({n: given.c[n] for n in names})
        db.execute(statement, {"rows": orjson.dumps(rows).decode()})
    else:
        # A column's own name cannot be bound beside it.
        statement = (
            update(table).where(table.c.id == bindparam("_id")).values({n: bindparam(n) for n in names})
        )
        db.execute(statement, [{"_id": row.pop("id"), **row} for row in rows])


def _insert_new(db: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Add ``rows``, which all have the same columns, unless they are there."""
    if not rows:
        return
    put = _insert(db)(table)
    if db.dialect.name == "postgresql":
        names = list(rows[0])
        given = _given(table, names)
        put = put.from_select(names, select(*(given.c[name] for name in names)))
        db.execute(put.on_conflict_do_nothing(), {"rows": orjson.dumps(rows).decode()})
    else:
        db.execute(put.on_conflict_do_nothing(), rows)


def _given(table: Table, names: Iterable[str]) -> TableValuedAlias:
    """The rows bound as ``rows``, with the columns ``names`` of ``table``.

    A statement a flush, where one a row would make PostgreSQL plan each (1,000 sessions: half a second of its time).
    """
    rows = func.json_to_recordset(cast(bindparam("rows", type_=String), postgresql.JSON))
    columns: list[ColumnClause[Any]] = [column(name, table.c[name].type) for name in names]
    return rows.table_valued(*columns).render_derived(name="given", with_types=True)


def _settle(db: Connection, sessions: Collection[Row], executions: Iterable[Row]) -> None:
    """Set the derived columns of ``sessions``, whose rows are locked and which have ``executions``."""
    of_session: dict[Key, list[Row]] = defaultdict(list)
    for row in executions:
        of_session[row["tenant"], row["session_id"]].append(row)
    judged = [
        row for row in sessions if row["closed_by"] or row["stalled_at"] or row["status_rank"] == TERMINAL
    ]
    errors = _errors_by_type(db, judged)
    for session in sessions:
        key = (session["tenant"], session["session_id"])
        settle_session(session, of_session[key], errors[key])


def _errors_by_type(db: Connection, sessions: Iterable[Row]) -> dict[Key, dict[tuple[str, str], int]]:
    """How many errors of each (site, type) there were, by (tenant, session)."""
    columns = _ERRORS.c
    query = (
        select(columns.session_id, columns.site_name, columns.type, func.sum(columns.count).label("n"))
        .where(columns.tenant == bindparam("of"), _one_of(db, columns.session_id, "ids"))
        .group_by(columns.session_id, columns.site_name, columns.type)
    )
    errors: dict[Key, dict[tuple[str, str], int]] = defaultdict(dict)
    for tenant, rest in groupby(
        sorted((row["tenant"], row["session_id"]) for row in sessions), key=itemgetter(0)
    ):
        ids = _list(db, (session_id for _, session_id in rest))
        for session_id, site, kind, count in db.execute(query, {"of": tenant, "ids": ids}):
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
