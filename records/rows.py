"""Rows to and from the database, hundreds with each statement, in the driver's own terms: SQLAlchemy's cost a row would be most of all.

A row is what :data:`records.merge.Row` says. On PostgreSQL the statements turn its columns into that form and back, and rows go there
as one JSON document, since it would plan a statement a row anew each time (1,000 sessions: half a second of its time).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import compress
from operator import is_not, itemgetter
from typing import Any

from sqlalchemy import Boolean, Column, Connection, Table
from sqlalchemy.dialects import postgresql

from records.merge import Row, as_text
from records.models import Json, UtcDateTime

Key = tuple[Any, ...]
"""Tenant, then the values of the other columns that tell its rows apart."""

Before = tuple[Any, ...]
"""A row as it was found: its values in the order of :attr:`Rows.names`."""


@dataclass(slots=True)
class Known:
    """A row: as it is in the database (None: it is not there), and as it shall be."""

    before: Before | None
    row: Row


@cache
def rows_in(dialect: str, table: Table, key: tuple[str, ...]) -> Rows:
    """The rows of ``table`` in a database of ``dialect``; ``key`` names the columns that tell those of a tenant apart."""
    return PostgresRows(table, key) if dialect == "postgresql" else SqliteRows(table, key)


class Rows:
    """The rows of one table. Raises what SQLAlchemy raises."""

    def __init__(self, table: Table, key: tuple[str, ...]) -> None:
        self.table = table
        self.names = tuple(column.name for column in table.columns)
        self._places = range(len(self.names))
        self._name = _quoted(table.name)
        self._first = _quoted(key[0])
        self._last = _quoted(key[-1])
        self._key = tuple(map(_quoted, ("tenant", *key)))
        self._named = key
        self._key_of = itemgetter(*(self.names.index(name) for name in ("tenant", *key)))
        self._columns = {column.name: column for column in table.columns}

    def find(
        self, db: Connection, keys: Collection[Key], *, lock: bool = False, all_parts: bool = False
    ) -> dict[Key, Before]:
        """The rows that have the tenant and the first part of any of ``keys`` – with ``all_parts`` the last part of any, too."""
        found: dict[Key, Before] = {}
        for tenant, of_tenant in _by_tenant(keys).items():
            values = [tenant, self._list(sorted({key[1] for key in of_tenant}))]
            if all_parts:
                values.append(self._list(sorted({key[-1] for key in of_tenant})))
            result = db.exec_driver_sql(self._select(lock, all_parts), tuple(values))
            assert result.cursor is not None, "it is a query"  # noqa: S101
            # Past SQLAlchemy, whose rows cost as much again.
            rows = result.cursor.fetchall()
            result.close()
            found.update(zip(map(self._key_of, rows), rows, strict=True))
        return found

    def row(self, before: Before) -> Row:
        """A row as it was found, to be changed."""
        return dict(zip(self.names, before, strict=True))

    def make(self, db: Connection, keys: Collection[Key], first: Mapping[str, Any]) -> None:
        """Add a row with the values of ``first`` for each of ``keys``, all of which have two parts, that no row has."""
        missing: list[Key] = []
        for tenant, of_tenant in _by_tenant(keys).items():
            values = (self._list([key[1] for key in of_tenant]), tenant)
            missing += [
                (tenant, row[0]) for row in db.exec_driver_sql(self._select_missing(), values).fetchall()
            ]
        # In the order of their keys, so that two flushes that make the same ones cannot wait for each other.
        self._insert(
            db,
            [{**dict(zip(("tenant", *self._named), key, strict=True)), **first} for key in sorted(missing)],
        )

    def lock(self, db: Connection, keys: Collection[Key]) -> Mapping[Key, Any]:
        """Lock the rows under ``keys`` that are there; a version of each, which is another one once somebody else wrote to it."""
        raise NotImplementedError

    def own_version(self, db: Connection) -> Any:
        """The version of what this transaction writes; None where it has that of before."""
        raise NotImplementedError

    def touch(self, db: Connection, ids: Sequence[int]) -> None:
        """Give the rows of ``ids`` a new version, though nothing in them changes."""
        raise NotImplementedError

    def save(self, db: Connection, rows: Mapping[Key, Known]) -> list[Key]:
        """Add the rows that are not there, and write what is different in the others; the keys of all these."""
        new: list[Row] = []
        changed: defaultdict[tuple[str, ...], list[Row]] = defaultdict(list)
        written = []
        for key, known in rows.items():
            row = known.row
            if known.before is None:
                new.append(row)
            else:
                before, after = known.before, tuple(row.values())
                # Most values are the very same objects, which need not be looked at.
                other = compress(self._places, map(is_not, before, after))
                names = tuple([self.names[k] for k in other if before[k] != after[k]])
                if not names:
                    continue
                changed[names].append(row)
                known.before = after
            written.append(key)
        self._insert(db, new)
        self._update(db, changed)
        return written

    def _insert(self, db: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add ``rows``, which all have the same columns, unless they are there."""
        raise NotImplementedError

    def _update(self, db: Connection, changed: Mapping[tuple[str, ...], list[Row]]) -> None:
        """Write the named columns of each row."""
        raise NotImplementedError

    def _list(self, texts: list[str]) -> Any:
        raise NotImplementedError

    def _select(self, lock: bool, all_parts: bool) -> str:
        raise NotImplementedError

    def _select_missing(self) -> str:
        raise NotImplementedError


class SqliteRows(Rows):
    """Rows in SQLite: a statement for all rows in which the same columns changed, so that an index is only written where it must be."""

    def lock(self, db: Connection, keys: Collection[Key]) -> Mapping[Key, Any]:
        """See :meth:`Rows.lock`: a writing transaction has the database to itself, and knows whether another connection wrote."""
        version = db.exec_driver_sql("PRAGMA data_version").scalar()
        return dict.fromkeys(keys, version)

    def own_version(self, db: Connection) -> Any:
        """See :meth:`Rows.own_version`."""
        return None

    def touch(self, db: Connection, ids: Sequence[int]) -> None:
        """See :meth:`Rows.touch`: whatever a connection writes is news to the others."""

    def _insert(self, db: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            names = tuple(rows[0])
            columns, marks = ", ".join(map(_quoted, names)), ", ".join("?" * len(names))
            statement = f"INSERT INTO {self._name} ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608
            db.exec_driver_sql(statement, [tuple(row.values()) for row in rows])

    def _update(self, db: Connection, changed: Mapping[tuple[str, ...], list[Row]]) -> None:
        for names, rows in changed.items():
            db.exec_driver_sql(self._statement(names), list(map(itemgetter(*names, "id"), rows)))

    @cache  # noqa: B019  # tables are few and live as long as the process
    def _statement(self, names: tuple[str, ...]) -> str:
        sets = ", ".join(f"{_quoted(name)} = ?" for name in names)
        return f"UPDATE {self._name} SET {sets} WHERE id = ?"  # noqa: S608

    def _list(self, texts: list[str]) -> Any:
        return as_text(texts)

    @cache  # noqa: B019
    def _select(self, lock: bool, all_parts: bool) -> str:
        last = f" AND {self._last} IN (SELECT value FROM json_each(?))" if all_parts else ""  # noqa: S608
        return (
            f"SELECT {', '.join(map(_quoted, self.names))} FROM {self._name}"  # noqa: S608
            f" WHERE tenant = ? AND {self._first} IN (SELECT value FROM json_each(?)){last}"
        )

    def _select_missing(self) -> str:
        return (
            f"SELECT value FROM json_each(?) AS given WHERE NOT EXISTS (SELECT 1 FROM {self._name}"  # noqa: S608
            f" WHERE tenant = ? AND {self._first} = given.value)"
        )


class PostgresRows(Rows):
    """Rows in PostgreSQL, where other collectors may write beside this one."""

    def lock(self, db: Connection, keys: Collection[Key]) -> Mapping[Key, Any]:
        """See :meth:`Rows.lock`: the version is the number of the transaction that wrote last."""
        statement = (
            f"SELECT {self._first}, xmin::text::bigint FROM {self._name} WHERE tenant = %s"  # noqa: S608
            f" AND {self._first} = ANY(%s::varchar[]) ORDER BY {', '.join(self._key)} FOR UPDATE"
        )
        found: dict[Key, Any] = {}
        for tenant, of_tenant in _by_tenant(keys).items():
            result = db.exec_driver_sql(statement, (tenant, self._list([key[1] for key in of_tenant])))
            found |= {(tenant, name): version for name, version in result.fetchall()}
        return found

    def own_version(self, db: Connection) -> Any:
        """See :meth:`Rows.own_version`."""
        return db.exec_driver_sql("SELECT mod(txid_current(), 4294967296)").scalar()

    def touch(self, db: Connection, ids: Sequence[int]) -> None:
        """See :meth:`Rows.touch`."""
        if ids:
            statement = f"UPDATE {self._name} SET tenant = tenant WHERE id = ANY(%s::bigint[])"  # noqa: S608
            db.exec_driver_sql(statement, (list(ids),))

    def _insert(self, db: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            db.exec_driver_sql(self._insertion(tuple(rows[0])), (as_text(rows),))

    def _update(self, db: Connection, changed: Mapping[tuple[str, ...], list[Row]]) -> None:
        if changed:
            # One statement for all of them, with the columns that changed in any.
            names = tuple(sorted({name for each in changed for name in each}))
            rows = [{name: row[name] for name in ("id", *names)} for each in changed.values() for row in each]
            db.exec_driver_sql(self._statement(names), (as_text(rows),))

    @cache  # noqa: B019
    def _insertion(self, names: tuple[str, ...]) -> str:
        columns = ", ".join(map(_quoted, names))
        values = ", ".join(_written(self._columns[name]) for name in names)
        return (
            f"INSERT INTO {self._name} ({columns}) SELECT {values}{self._given(names)} ON CONFLICT DO NOTHING"
        )

    @cache  # noqa: B019
    def _statement(self, names: tuple[str, ...]) -> str:
        sets = ", ".join(f"{_quoted(name)} = {_written(self._columns[name])}" for name in names)
        given = self._given(("id", *names))
        return f"UPDATE {self._name} SET {sets}{given} WHERE {self._name}.id = given.id"  # noqa: S608

    def _given(self, names: tuple[str, ...]) -> str:
        columns = ", ".join(f"{_quoted(name)} {_carried(self._columns[name])}" for name in names)
        return f" FROM json_to_recordset(%s::json) AS given ({columns})"

    def _list(self, texts: list[str]) -> Any:
        return texts

    @cache  # noqa: B019
    def _select(self, lock: bool, all_parts: bool) -> str:
        last = f" AND {self._last} = ANY(%s::varchar[])" if all_parts else ""
        return (
            f"SELECT {', '.join(_read(self._columns[name]) for name in self.names)} FROM {self._name}"  # noqa: S608
            f" WHERE tenant = %s AND {self._first} = ANY(%s::varchar[]){last}"
            f" ORDER BY {', '.join(self._key)}{' FOR UPDATE' if lock else ''}"
        )

    def _select_missing(self) -> str:
        return (
            f"SELECT name FROM unnest(%s::varchar[]) AS given (name) WHERE NOT EXISTS (SELECT 1 FROM {self._name}"  # noqa: S608
            f" WHERE tenant = %s AND {self._first} = given.name)"
        )


def _by_tenant(keys: Iterable[Key]) -> dict[str, list[Key]]:
    found: defaultdict[str, list[Key]] = defaultdict(list)
    for key in keys:
        found[key[0]].append(key)
    return dict(sorted(found.items()))


def _quoted(name: str) -> str:
    return f'"{name}"'


def _read(column: Column[Any]) -> str:
    """What PostgreSQL is asked for, for a row to hold it."""
    name = _quoted(column.name)
    if isinstance(column.type, UtcDateTime):
        return f"to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
    if isinstance(column.type, Boolean):
        return f"{name}::int"
    return f"{name}::text" if isinstance(column.type, type(Json)) else name


def _carried(column: Column[Any]) -> str:
    """As which type PostgreSQL reads what a row holds."""
    if isinstance(column.type, UtcDateTime):
        return "timestamp"
    if isinstance(column.type, Boolean):
        return "int"
    if isinstance(column.type, type(Json)):
        return "text"
    return str(column.type.compile(postgresql.dialect()))  # type: ignore[no-untyped-call]


def _written(column: Column[Any]) -> str:
    """What PostgreSQL makes of that for its column."""
    name = f"given.{_quoted(column.name)}"
    if isinstance(column.type, UtcDateTime):
        return f"{name} AT TIME ZONE 'UTC'"
    if isinstance(column.type, Boolean):
        return f"{name}::boolean"
    return f"{name}::jsonb" if isinstance(column.type, type(Json)) else name
