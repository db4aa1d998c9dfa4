"""The formats of exports: each makes bytes of rows as they come, and keeps none of them in memory.

JSON holds a list for each table. CSV and Parquet are one table with a column ``metric``, which names the table that a row is of, and the
columns of all of them; a cell that a row does not have is empty. Prometheus' text format holds figures alone, each with the time of its
window; it wants all samples of a family together, so they wait in temporary files, as the rows of Parquet do.
"""

from __future__ import annotations

import csv
import io
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Final

import orjson

from api.exports.tables import ExportTable, Rows, Selection
from scrapewatch import histogram
from scrapewatch.ports import Column
from scrapewatch.problems import InvalidInput
from scrapewatch.time import SECOND, to_ns, to_rfc3339

Read = Callable[[ExportTable], Iterator[Rows]]
"""The rows of a table, some at a time."""

Encode = Callable[[Selection, Read, Path], Iterator[bytes]]
"""A selection, what reads its tables, and a folder for temporary files → the export, piece by piece."""

_PIECE = 64 * 1024
_METRIC = Column("metric", "string", "", "what the row is of")


def _shown(value: Any, kind: str) -> Any:
    """A value as JSON and CSV show it."""
    if value is None or kind not in ("time", "bool"):
        return value
    if kind == "bool":
        return bool(value)
    return _rfc3339(to_ns(value) if isinstance(value, datetime) else value)


_rfc3339 = lru_cache(maxsize=4_096)(to_rfc3339)  # the rows of a window have one time


def as_json(selection: Selection, read: Read, _: Path) -> Iterator[bytes]:
    """An object: ``start``, ``stop``, ``interval_seconds``, and ``metrics`` with the columns and items of each table."""
    head = {
        "start": to_rfc3339(selection.start),
        "stop": to_rfc3339(selection.stop),
        "interval_seconds": selection.every / SECOND,
    }
    yield orjson.dumps(head)[:-1] + b',"metrics":{'
    for number, table in enumerate(selection.tables):
        columns = [
            {"name": c.name, "type": c.type, "unit": c.unit, "description": c.description}
            for c in table.columns
        ]
        opening = orjson.dumps(table.name) + b':{"columns":' + orjson.dumps(columns) + b',"items":['
        yield (b"," if number else b"") + opening
        kinds = [(column.name, column.type) for column in table.columns]
        between = b""
        for rows in read(table):
            # Also without rows: who leaves is noticed between two pieces.
            items = [
                {name: _shown(value, kind) for (name, kind), value in zip(kinds, row, strict=True)}
                for row in rows
            ]
            yield between + orjson.dumps(items)[1:-1] if items else b""
            between = b"," if items else between
        yield b"]}"
    yield b"}}"


_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


def neutral(text: str) -> str:
    """``text`` so that no spreadsheet takes it for a formula: with a quote before it where it begins like one and is no number."""
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def _cell(value: Any, kind: str) -> Any:
    value = _shown(value, kind)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        value = "; ".join(map(str, value))
    return neutral(value) if isinstance(value, str) else value


def as_csv(selection: Selection, read: Read, _: Path) -> Iterator[bytes]:
    """One table of all (RFC 4180, UTF-8); lists are parted by semicolons."""
    columns = _united(selection.tables)
    text = io.StringIO(newline="")
    writer = csv.writer(text)

    def taken() -> bytes:
        piece = text.getvalue().encode("utf-8", "replace")
        text.seek(0)
        text.truncate()
        return piece

    writer.writerow([column.name for column in columns])
    yield taken()
    for table in selection.tables:
        kinds = [(column.name, column.type) for column in table.columns]
        for rows in read(table):
            for row in rows:
                cells = {name: _cell(value, kind) for (name, kind), value in zip(kinds, row, strict=True)}
                writer.writerow([table.name, *(cells.get(column.name) for column in columns[1:])])
            yield taken()


def _united(tables: Sequence[ExportTable]) -> list[Column]:
    """The columns of all ``tables`` behind one for the name of the table. Of a name with several types, the one that holds all."""
    columns = {"metric": _METRIC}
    for table in tables:
        for column in table.columns:
            known = columns.setdefault(column.name, column)
            if known.type != column.type:
                both = {known.type, column.type}
                kind = "float" if both == {"int", "float"} else "string"
                columns[column.name] = Column(column.name, kind, known.unit, known.description)
    return list(columns.values())


def as_prometheus(selection: Selection, read: Read, folder: Path) -> Iterator[bytes]:
    """Text format 0.0.4: a gauge ``scrapewatch_<table>_<column>`` for each figure, with a sample a series and window.

    The buckets of histograms are left out: they would look like figures of their own.

    Raises:
        InvalidInput: a table is one of records.
    """
    records = [table.name for table in selection.tables if not table.figures]
    if records:
        raise InvalidInput(
            f"Prometheus takes figures only, not {', '.join(records)}: choose json, csv or parquet for those",
            "query.metrics",
        )
    for table in selection.tables:
        figures = [
            (place, column)
            for place, column in enumerate(table.columns)
            if column.name not in table.key and column.name not in histogram.FIELDS
        ]
        labels = [
            (k, c.name) for k, c in enumerate(table.columns) if c.name in table.key and c.name != "time"
        ]
        time_at = next(place for place, column in enumerate(table.columns) if column.name == "time")
        with ExitStack() as files:
            waiting: dict[int, IO[bytes]] = {
                place: files.enter_context(tempfile.TemporaryFile(dir=folder)) for place, _ in figures
            }
            for rows in read(table):
                texts = {place: io.StringIO() for place in waiting}
                for row in rows:
                    series = ",".join(f'{name}="{_label(row[place])}"' for place, name in labels)
                    milliseconds = row[time_at] // 1_000_000
                    for place, text in texts.items():
                        if row[place] is not None:
                            text.write(f"{{{series}}} {row[place]} {milliseconds}\n")
                for place, text in texts.items():
                    _put(waiting[place], f"scrapewatch_{table.name}_{table.columns[place].name}", text)
                yield b""
            for place, column in figures:
                yield from _family(table, column, waiting[place])


def _put(file: IO[bytes], name: str, samples: io.StringIO) -> None:
    for line in samples.getvalue().splitlines(keepends=True):
        file.write((name + line).encode("utf-8", "replace"))


def _label(value: str) -> str:
    # Any other break would end the line for splitlines, and for some readers.
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return re.sub("[\r\v\f\x1c-\x1e\x85\u2028\u2029]", " ", escaped)


def _family(table: ExportTable, column: Column, samples: IO[bytes]) -> Iterator[bytes]:
    if samples.tell():
        name = f"scrapewatch_{table.name}_{column.name}"
        unit = f" ({column.unit})" if column.unit not in ("", "1") else ""
        described = f"{column.description}{unit}, by window".replace("\\", "\\\\").replace("\n", " ")
        yield f"# HELP {name} {described}\n# TYPE {name} gauge\n".encode()
        samples.seek(0)
        yield from _pieces(samples)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece


_SQL_TYPES: Final[Mapping[str, str]] = {
    "string": "VARCHAR",
    "time": "TIMESTAMPTZ",
    "int": "BIGINT",
    "float": "DOUBLE",
    "bool": "BOOLEAN",
    "names": "VARCHAR[]",
}


def as_parquet(selection: Selection, read: Read, folder: Path) -> Iterator[bytes]:
    """One table of all, in row groups, made by DuckDB beside the other temporary files."""
    import duckdb  # here, since where InfluxDB is used nothing else needs it

    columns = _united(selection.tables)
    with ExitStack() as opened:
        place = Path(opened.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        limits: dict[str, Any] = {
            "memory_limit": "256MB",
            "threads": 1,
            "temp_directory": str(place),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        db = opened.enter_context(closing(duckdb.connect(str(place / "rows.duckdb"), config=limits)))
        made = ", ".join(f'"{column.name}" {_SQL_TYPES[column.type]}' for column in columns)
        db.execute(f"CREATE TABLE rows ({made})")
        for table in selection.tables:
            for rows in read(table):
                _insert(db, columns, table, rows)
                yield b""
        done = place / "rows.parquet"
        db.table("rows").write_parquet(str(done), row_group_size=100_000, compression="zstd")
        with done.open("rb") as file:
            yield from _pieces(file)


def _insert(db: Any, columns: Sequence[Column], table: ExportTable, rows: Rows) -> None:
    """Add ``rows``: as texts, of which the engine makes its own types; columns that a table lacks are null."""
    if not rows:
        return
    import numpy as np

    kinds = {column.name: column.type for column in columns}
    given = {"metric": np.full(len(rows), table.name, dtype=object)}
    for column, values in zip(table.columns, zip(*rows, strict=True), strict=True):
        texts = np.empty(len(rows), dtype=object)
        texts[:] = [None if value is None else _text(value, column.type) for value in values]
        given[column.name] = texts
    db.register("given", given)
    names = [f'"{name}"' for name in given]
    read = [
        f"from_json({quoted}::VARCHAR, '[\"VARCHAR\"]')"
        if kinds[name] == "names"
        else f"{quoted}::VARCHAR::{_SQL_TYPES[kinds[name]]}"
        for name, quoted in zip(given, names, strict=True)
    ]
    db.execute(f"INSERT INTO rows ({', '.join(names)}) SELECT {', '.join(read)} FROM given")  # noqa: S608
    db.unregister("given")


def _text(value: Any, kind: str) -> str:
    if kind == "names":
        return orjson.dumps(value).decode()
    shown = _shown(value, kind)
    return shown if type(shown) is str else repr(shown)


class Format:
    """A format: its name, what files of it end in, what HTTP calls it, and what makes it."""

    def __init__(self, name: str, extension: str, media_type: str, encode: Encode) -> None:
        self.name = name
        self.extension = extension
        self.media_type = media_type
        self.encode = encode


FORMATS: Final = MappingProxyType(
    {
        each.name: each
        for each in (
            Format("json", "json", "application/json", as_json),
            Format("csv", "csv", "text/csv; charset=utf-8", as_csv),
            Format("prometheus", "prom", "text/plain; version=0.0.4; charset=utf-8", as_prometheus),
            Format("parquet", "parquet", "application/vnd.apache.parquet", as_parquet),
        )
    }
)
"""Every format by name."""
