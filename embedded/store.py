"""The store of points for a machine with nothing installed: one DuckDB file, which one process holds.

What stands in a statement is a name that :mod:`embedded.layout` made; all that came from outside is bound (hence ``noqa: S608``).
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from embedded.incoming import Columns, IncomingTable, read
from embedded.layout import TableLayout, identifier, schema_name
from embedded.rollup import windows_sql
from scrapewatch.line_protocol import Point
from scrapewatch.measurements import MEASUREMENTS, Tier, fields_in, retention
from scrapewatch.ports import Flush, Rejected, Table, TimeRange, WriteResult
from scrapewatch.problems import ConfigurationError, StoreUnavailable
from scrapewatch.questions import QUESTIONS
from scrapewatch.time import HOUR, now_ns

_SQL = Path(__file__).parent / "sql"
_ROLLUPS = (Tier.FLEET_1M, Tier.FLEET_1H)
_LAYOUT_VERSION = 1

Layouts = dict[tuple[str, Tier], dict[str, TableLayout]]


@cache
def question_sql(question: str, tier: Tier) -> str:
    """The SQL of ``question``. The rollups hold gauges under other names, so that some questions have a text of their own there."""
    rollup = _SQL / "rollups" / f"{question}.sql"
    return (rollup if tier in _ROLLUPS and rollup.exists() else _SQL / f"{question}.sql").read_text()


class EmbeddedStore:
    """A :class:`~scrapewatch.ports.SeriesStore` in the file ``path``.

    Any point overwrites the one of the same series and time, field by field, as in InfluxDB; a replayed flush therefore changes
    nothing, and no number of a flush is kept. Reads run beside a write, each on a cursor of its own, and see whole flushes only.
    ``memory_limit_mb`` bounds what the engine takes beside Python; ``retention_days`` sets how long the tiers ``sessions`` and
    ``fleet_1m`` keep points (None: as the registry says); ``clock`` tells the time in ns.

    Each write also deletes what has expired in one table, so that every table has its turn once an hour and no flush waits for all.

    Raises:
        ConfigurationError: the file is held by another process, is no database of ours, or was made by a later version.

    """

    takes_lines = False

    def __init__(
        self,
        path: Path,
        *,
        memory_limit_mb: int = 512,
        retention_days: int | None = None,
        clock: Callable[[], int] = now_ns,
    ) -> None:
        self._path = path
        self._clock = clock
        self._retention = {tier: retention(tier, retention_days) for tier in Tier}
        self._to_sweep: list[tuple[str, Tier, TableLayout]] = []
        self._sweep_begun = 0
        self._settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_limit_mb}MB",
            "threads": min(4, os.cpu_count() or 1),
            # The engine reads our file and nothing else, whatever a statement says.
            "enable_external_access": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
        }
        self._writing = threading.Lock()
        self._trouble: str | None = None
        self._closed = False
        self._numbers: dict[str, int] = {}
        self._layouts: Layouts = {}
        self._db = self._open()

    def write(self, flush: Flush) -> WriteResult:
        """Store the points of ``flush`` in one transaction, on disk when it returns. Never raises.

        A flush that cannot be stored now, such as on a full disk, is kept whole.
        """
        with self._writing:
            try:
                result = self._write(flush)
            except (duckdb.Error, StoreUnavailable, MemoryError) as error:
                self._trouble = f"the embedded store cannot be written to: {_first_line(error)}"
                self._recover()
                return WriteResult(0, kept=self._trouble)
            self._trouble = None
            return result

    def ask(
        self, question: str, parameters: Mapping[str, str], time_range: TimeRange, *, tier: Tier, tenant: str
    ) -> Table:
        """The rows of a question; none for a tenant that never wrote."""
        known = QUESTIONS[question]
        bound: dict[str, Any] = {parameter.name: parameters[parameter.name] for parameter in known.parameters}
        rows = self._read(question_sql(question, tier), bound, time_range, tier=tier, tenant=tenant)
        tags = len(known.key)
        # Points of a window may all lack the fields that were asked for.
        return Table(known.columns, [row for row in rows if any(value is not None for value in row[tags:])])

    def windows(self, measurement: str, time_range: TimeRange, *, tier: Tier, tenant: str) -> list[Point]:
        """The points of ``measurement`` aggregated over each window, as the roller wants them."""
        layout = self._layouts.get((tenant, tier), {}).get(measurement)
        if layout is None:
            return []
        sql, tags, fields = windows_sql(layout, tier)
        points: list[Point] = []
        for time, *values in self._read(sql, {}, time_range, tier=tier, tenant=tenant):
            named = zip(fields, values[len(tags) :], strict=True)
            if held := {name: value for name, value in named if value is not None}:
                series = {tag: text for tag, text in zip(tags, values, strict=False) if text}
                points.append(Point(measurement, series, held, time))
        return points

    def expire(self) -> int:
        """Delete all points that are older than their tier keeps, without waiting for writes to do it; returns how many.

        Raises:
            StoreUnavailable: the file cannot be written to.

        """
        deleted = 0
        for tenant, tier, layout in self._tables():
            # The lock is let go after each table, for the flushes that wait.
            with self._writing, self._translated():
                deleted += self._expire(tenant, tier, layout)
        return deleted

    def ready(self) -> str | None:
        """None when the store can be written to, or else what is wrong and what to do."""
        if self._closed:
            return "the embedded store is closed"
        return f"{self._trouble}; see to the disk of {self._path}" if self._trouble else None

    def close(self) -> None:
        """Bring the file up to date and let go of it."""
        with self._writing:
            self._closed = True
            self._db.close()

    # --- opening

    def _open(self) -> duckdb.DuckDBPyConnection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            db = duckdb.connect(str(self._path), config=self._settings)
        except (duckdb.Error, OSError) as error:
            if "lock" in str(error):
                raise ConfigurationError(
                    f"{self._path} is held by another process: stop that one, or give this one another data folder"
                ) from error
            raise ConfigurationError(
                f"{self._path} cannot be opened as the store of points: {_first_line(error)}"
            ) from error
        try:
            self._prepare(db)
        except duckdb.Error as error:
            db.close()
            raise ConfigurationError(f"{self._path} is no store of points: {_first_line(error)}") from error
        except ConfigurationError:
            db.close()
            raise
        return db

    def _prepare(self, db: duckdb.DuckDBPyConnection) -> None:
        """Bring the file to what the registry of today wants, and learn what it holds."""
        db.execute("CREATE TABLE IF NOT EXISTS main.layout (version INTEGER)")
        db.execute("CREATE TABLE IF NOT EXISTS main.tenants (id VARCHAR, number INTEGER)")
        version = db.execute("SELECT max(version) FROM main.layout").fetchall()[0][0]
        if version is None:
            db.execute("INSERT INTO main.layout VALUES ($version)", {"version": _LAYOUT_VERSION})
        elif version > _LAYOUT_VERSION:
            raise ConfigurationError(f"{self._path} was made by a later version of scrapewatch")
        columns: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        listed = "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() ORDER BY column_index"
        for schema, table, column, sql_type in db.execute(listed).fetchall():
            columns[schema, table][column] = sql_type
        layouts: Layouts = {}
        numbers = dict(db.execute("SELECT id, number FROM main.tenants").fetchall())
        for tenant, number in numbers.items():
            for tier in Tier:
                # A tier that came later than the tenant.
                db.execute(f"CREATE SCHEMA IF NOT EXISTS {schema_name(number, tier)}")
                stored = [
                    TableLayout.stored(table, tier, of_table)
                    for (schema, table), of_table in columns.items()
                    if schema == schema_name(number, tier)
                ]
                layouts[tenant, tier] = {layout.measurement: layout for layout in stored}
                for name, wanted in _registered(tier).items():
                    before = layouts[tenant, tier].get(name)
                    for statement in wanted.statements(schema_name(number, tier), before):
                        db.execute(statement)
                    if before is not None:
                        wanted = TableLayout(
                            name,
                            wanted.table,
                            wanted.tags | before.tags,
                            wanted.fields | before.fields,
                            wanted.types | before.types,
                        )
                    layouts[tenant, tier][name] = wanted
        self._numbers, self._layouts = numbers, layouts

    def _recover(self) -> None:
        """After a failed write: an engine that met a fatal error, such as a full disk, answers nothing until it is opened anew."""
        if self._closed:
            return
        try:
            self._db.execute("SELECT version FROM main.layout").fetchall()
        except duckdb.Error:
            self._db.close()
            try:
                self._db = self._open()
            except ConfigurationError as error:
                self._trouble = str(error)

    # --- writing

    def _write(self, flush: Flush) -> WriteResult:
        now = self._clock()
        self._sweep(now)
        rejected: list[Rejected] = []
        incoming: list[tuple[str, Tier, IncomingTable]] = []
        for batch in flush.batches:
            layouts = self._layouts_of(batch.tenant, batch.tier) if batch.lines else {}
            tables, refused = read(batch, layouts, now - self._retention[batch.tier])
            rejected += refused
            for table in tables.values():
                self._widen(batch.tenant, batch.tier, table)
                incoming.append((batch.tenant, batch.tier, table))
        if incoming:
            self._db.begin()
            try:
                for tenant, tier, table in incoming:
                    layout = self._layouts[tenant, tier][table.layout.measurement]
                    self._store(self._name(tenant, tier, layout), layout, table.columns(layout))
                self._db.commit()
            except BaseException:
                self._roll_back()
                raise
        return WriteResult(sum(len(batch.lines) for batch in flush.batches) - len(rejected), rejected)

    def _tables(self) -> list[tuple[str, Tier, TableLayout]]:
        return [
            (tenant, tier, layout)
            for (tenant, tier), tables in list(self._layouts.items())
            for layout in list(tables.values())
        ]

    def _expire(self, tenant: str, tier: Tier, layout: TableLayout) -> int:
        statement = f"DELETE FROM {self._name(tenant, tier, layout)} WHERE time < $oldest"  # noqa: S608
        row = self._db.execute(statement, {"oldest": self._clock() - self._retention[tier]}).fetchone()
        return int(row[0]) if row else 0

    def _sweep(self, now: int) -> None:
        """Expire one table, if it is due."""
        if not self._to_sweep and now - self._sweep_begun >= HOUR:
            self._to_sweep, self._sweep_begun = self._tables(), now
        if self._to_sweep:
            self._expire(*self._to_sweep.pop())

    def _store(self, name: str, layout: TableLayout, columns: Columns) -> None:
        """Insert the rows that are new, and merge those whose series and time the table may hold already."""
        times = columns["time"]
        low, high = int(times.min()), int(times.max())
        sql = f"SELECT time FROM {name} WHERE time BETWEEN $low AND $high"  # noqa: S608
        if high - low > HOUR:
            # Much may lie between the ends; a join costs more than a look at a few row groups, but does not fetch it.
            self._db.register("incoming", {"time": times})
            sql += " AND time IN (SELECT time FROM incoming)"
        taken = self._db.execute(sql, {"low": low, "high": high}).fetchnumpy()["time"]
        again = np.isin(times, taken)
        if not again.all():
            self._db.register("incoming", {column: values[~again] for column, values in columns.items()})
            self._db.execute(f"INSERT INTO {name} BY NAME SELECT * FROM incoming")  # noqa: S608
        if again.any():
            self._db.register("incoming", {column: values[again] for column, values in columns.items()})
            keys = ["time", *map(identifier, layout.tags.values())]
            fields = [c for c in map(identifier, columns) if c not in keys and c != '"time"']
            same = " AND ".join(f"old.{key} = new.{key}" for key in keys)
            kept = ", ".join(f"{field} = coalesce(new.{field}, old.{field})" for field in fields)
            self._db.execute(
                f"MERGE INTO {name} AS old USING incoming AS new ON {same} AND old.time BETWEEN $low AND $high"
                f" WHEN MATCHED THEN UPDATE SET {kept} WHEN NOT MATCHED THEN INSERT BY NAME",
                {"low": low, "high": high},
            )

    def _layouts_of(self, tenant: str, tier: Tier) -> dict[str, TableLayout]:
        """The tables of a tenant's tier; a new tenant gets all that the registry knows."""
        if tenant not in self._numbers:
            number = max(self._numbers.values(), default=0) + 1
            statements = []
            for each in Tier:
                statements.append(f"CREATE SCHEMA {schema_name(number, each)}")
                for layout in _registered(each).values():
                    statements += layout.statements(schema_name(number, each), None)
            with self._transaction():
                for statement in statements:
                    self._db.execute(statement)
                self._db.execute(
                    "INSERT INTO main.tenants VALUES ($id, $number)", {"id": tenant, "number": number}
                )
            self._layouts |= {(tenant, each): _registered(each) for each in Tier}
            self._numbers[tenant] = number
        return self._layouts[tenant, tier]

    def _widen(self, tenant: str, tier: Tier, table: IncomingTable) -> None:
        """Give the file the table and columns that these points need and it does not have.

        Code may have changed between a crash and its replay, and foreign lines bring names of their own.
        """
        before = self._layouts[tenant, tier].get(table.layout.measurement)
        after = table.widened()
        if before is not None and not table.new_tags and not table.new_fields:
            return
        with self._transaction():
            for statement in after.statements(schema_name(self._numbers[tenant], tier), before):
                self._db.execute(statement)
        self._layouts[tenant, tier][after.measurement] = after

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.begin()
        try:
            yield
            self._db.commit()
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        try:
            self._db.rollback()
        except duckdb.Error:
            # A failed commit has rolled back by itself.
            return

    # --- reading

    def _read(
        self, sql: str, bound: dict[str, Any], time_range: TimeRange, *, tier: Tier, tenant: str
    ) -> list[tuple[Any, ...]]:
        number = self._numbers.get(tenant)
        if number is None:
            return []
        bound |= {"start": time_range.start, "stop": time_range.stop, "every": time_range.every}
        with self._translated():
            cursor = self._db.cursor()
            try:
                cursor.execute(f"USE {schema_name(number, tier)}")
                return cursor.execute(sql, bound).fetchall()
            finally:
                cursor.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            raise StoreUnavailable(f"the embedded store does not answer: {_first_line(error)}") from error

    def _name(self, tenant: str, tier: Tier, layout: TableLayout) -> str:
        return f"{schema_name(self._numbers[tenant], tier)}.{identifier(layout.table)}"


def _registered(tier: Tier) -> dict[str, TableLayout]:
    """A table for each measurement; questions name some that hold no points in the tier, which then have no fields."""
    return {name: TableLayout.new(name, tier) for name, m in MEASUREMENTS.items() if fields_in(m, tier)}


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
