"""What a :class:`~scrapewatch.ports.RowChange` does to a row: pure, and forgiving.

A change was made durable by whatever version of the code then ran, and is applied until it succeeds. So nothing in it may make a
database refuse it for good: what a column does not know or cannot hold is left out with a warning, text is cut to the column's length.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any

import orjson
import structlog
from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, String, Table

from records.models import UtcDateTime
from scrapewatch.ports import RowChange
from scrapewatch.time import SECOND, to_datetime

log = structlog.get_logger(__name__)

Row = dict[str, Any]
"""A row by column, as SQLite stores it and PostgreSQL is asked for it: a time as :func:`moment` writes it, JSON as text, a truth as 0 or 1.

So a value that no change touches goes from the database and back without being read, and times compare as they are.
"""

_MOST = 2**63 - 1
# No database stores NUL, or half of a surrogate pair.
_NOT_TEXT = dict.fromkeys((0, *range(0xD800, 0xE000)), "\ufffd")
_NO_VALUE = (TypeError, ValueError, OverflowError, OSError)
"""What a converter raises for a value that its column cannot hold."""

TERMINAL = 4
"""The rank of a state that ends a session; queued is 0, running 1, paused 2, resumed (running again) 3, and an ordinary event -1."""


def moment(ns: int) -> str:
    """The time ``ns`` as rows hold it, cut to the microsecond: ``2026-01-05 12:00:00.000000``, in UTC."""
    return f"{_second(ns // SECOND)}.{ns % SECOND // 1_000:06d}"


@lru_cache(maxsize=4096)  # a flush has few
def _second(seconds: int) -> str:
    return to_datetime(seconds * SECOND).replace(tzinfo=None).isoformat(" ")


@lru_cache(maxsize=4096)
def as_datetime(text: str) -> datetime:
    """The time that :func:`moment` wrote, aware and in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def as_text(value: Any) -> str:
    """A list or an object as rows hold it."""
    return orjson.dumps(value).decode()


@lru_cache(maxsize=4096)  # many sessions have the same sites
def names_in(text: str | None) -> tuple[str, ...]:
    """The names of a list that :func:`as_text` wrote."""
    return tuple(orjson.loads(text)) if text else ()


def blank(table: Table) -> Row:
    """A row of ``table`` before anything happened, without its ``id``."""
    return dict(_blank(table))


@cache
def _blank(table: Table) -> Row:
    empty = {"0": 0, "'[]'": "[]", "'{}'": "{}"}
    defaults = {column.name: str(getattr(column.server_default, "arg", None)) for column in table.columns}
    return {name: empty.get(default) for name, default in defaults.items() if name != "id"}


def key_reader(table: Table, columns: tuple[str, ...]) -> Callable[[str, Mapping[str, Any]], tuple[Any, ...]]:
    """What makes the key of a row of ``table`` of a tenant and the values of ``columns``, as the table holds them.

    What has no value is the empty string, or 0 in a number's column.
    """
    converters = _converters(table)
    parts = [(c, converters[c], 0 if isinstance(table.columns[c].type, Integer) else "") for c in columns]

    def key_of(tenant: str, key: Mapping[str, Any]) -> tuple[Any, ...]:
        values: list[Any] = [tenant]
        for name, convert, empty in parts:
            value = key.get(name)
            values.append(empty if value is None else convert(value))
        return tuple(values)

    return key_of


def merge(table: Table, row: Row, change: RowChange) -> None:
    """Do ``change`` to ``row`` in place."""
    converters, types = _converters(table), _types(table)
    for name, value in change.add.items():
        if value is not None:
            try:
                total: Any = row[name] + value
                if -_MOST <= total <= _MOST and type(total) is types[name]:
                    row[name] = total
                    continue
            except (KeyError, TypeError):
                pass  # what is unusual or wrong is looked at with care
            try:
                row[name] = _within((row[name] or 0) + converters[name](value))
            except (KeyError, *_NO_VALUE) as error:
                _left_out(table, name, error)
    for name, value in change.least.items():
        if value is not None:
            try:
                least = converters[name](value)
                if row[name] is None or least < row[name]:
                    row[name] = least
            except (KeyError, *_NO_VALUE) as error:
                _left_out(table, name, error)
    for name, value in change.most.items():
        if value is not None:
            try:
                most = converters[name](value)
                if row[name] is None or most > row[name]:
                    row[name] = most
            except (KeyError, *_NO_VALUE) as error:
                _left_out(table, name, error)
    if change.once:
        for name, value in change.once.items():
            if value is not None:
                try:
                    if row[name] is None:
                        row[name] = converters[name](value)
                except (KeyError, *_NO_VALUE) as error:
                    _left_out(table, name, error)
    if change.latest:
        _merge_latest(table, row, change.latest)
    if change.union:
        _merge_union(table, row, change.union)
    if change.states and "status_at" in row:
        for state in change.states:
            _merge_state(row, *state)


def _merge_latest(table: Table, row: Row, latest: Mapping[str, Any]) -> None:
    converters = _converters(table)
    clock = orjson.loads(row["latest_at"] or "{}")
    for name, pair in latest.items():
        time, value = int(pair[0]), pair[1]
        try:
            if value is not None:
                value = converters[name](value)
            elif not table.columns[name].nullable:
                continue
        except (KeyError, *_NO_VALUE) as error:
            _left_out(table, name, error)
            continue
        if time >= clock.get(name, time):
            clock[name] = time
            row[name] = value
    row["latest_at"] = as_text(clock)


def _merge_union(table: Table, row: Row, union: Mapping[str, Any]) -> None:
    for name, names in union.items():
        try:
            known = names_in(row[name])
            if all(map(known.__contains__, names)):
                continue  # as with nearly every flush
            united = tuple(dict.fromkeys([*known, *_clean_json(names)]))
            if len(united) > len(known):
                row[name] = as_text(united)
        except (KeyError, *_NO_VALUE) as error:
            _left_out(table, name, error)


def _left_out(table: Table, name: str, error: Exception) -> None:
    event = "unknown_column" if isinstance(error, KeyError) else "value_left_out"
    log.warning(event, table=table.name, column=name)


def _merge_state(row: Row, time: int, rank: int, status: str, reason: str | None) -> None:
    if rank < 0:
        row["active_at"] = time if row["active_at"] is None else max(row["active_at"], time)
    elif row["status_at"] is None or (time, rank) >= (row["status_at"], row["status_rank"]):
        row["status_at"], row["status_rank"] = time, rank
        row["reported_status"] = clean(status, 32)
        row["reported_reason"] = None if reason is None else clean(reason, 500)


@cache
def _converters(table: Table) -> dict[str, Callable[[Any], Any]]:
    """What turns a value into what its column holds, by column; each raises one of :data:`_NO_VALUE`."""
    return {column.name: _converter(column) for column in table.columns}


@cache
def _types(table: Table) -> dict[str, type | None]:
    """The type of which a column can hold any value of a sensible size as it is, by column; None: of none."""
    return {
        column.name: float
        if isinstance(column.type, Double)
        else int
        if isinstance(column.type, BigInteger | Integer)
        else None
        for column in table.columns
    }


def _converter(column: Column[Any]) -> Callable[[Any], Any]:
    kind = column.type
    if isinstance(kind, UtcDateTime):
        return lambda ns: moment(ns if type(ns) is int else int(ns))
    if isinstance(kind, Boolean):
        return lambda value: int(bool(value))
    if isinstance(kind, BigInteger | Integer):
        return lambda value: value if type(value) is int and -_MOST <= value <= _MOST else _within(int(value))
    if isinstance(kind, Double):
        return _finite
    if isinstance(kind, String):
        length = sys.maxsize if kind.length is None else kind.length

        def text(value: Any) -> str:
            if type(value) is str and len(value) <= length and value.isascii() and "\0" not in value:
                return value
            return clean(value if isinstance(value, str) else str(value), length)

        return text
    return lambda value: as_text(_clean_json(value))


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _within(value: Any) -> Any:
    if -_MOST <= value <= _MOST:
        return value
    most = _MOST if isinstance(value, int) else sys.float_info.max
    return min(max(value, -most), most)


def clean(text: str, length: int | None = None) -> str:
    """``text`` as every database holds it, cut to ``length`` characters."""
    if not text.isascii() or "\0" in text:
        text = text.translate(_NOT_TEXT)
    return text if length is None or len(text) <= length else text[:length]


def _clean_json(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list | tuple):
        return [_clean_json(item) for item in value]
    if isinstance(value, dict):
        return {clean(str(name)): _clean_json(item) for name, item in value.items()}
    if isinstance(value, float):
        return _finite(value)
    return value
