"""What a :class:`~scrapewatch.ports.RowChange` does to a row: pure, and forgiving.

A change was made durable by whatever version of the code then ran, and is applied until it succeeds. So nothing in it may make a
database refuse it for good: what a column does not know or cannot hold is left out with a warning, text is cut to the column's length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any

import structlog
from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, String, Table

from records.models import UtcDateTime
from scrapewatch.ports import RowChange
from scrapewatch.time import to_datetime

log = structlog.get_logger(__name__)

Row = dict[str, Any]
"""A row by column, as SQLAlchemy gives and takes it."""

_MOST = 2**63 - 1
# No database stores NUL, or half of a surrogate pair.
_NOT_TEXT = dict.fromkeys((0, *range(0xD800, 0xE000)), "\ufffd")

TERMINAL = 4
"""The rank of a state that ends a session; queued is 0, running 1, paused 2, resumed (running again) 3, and an ordinary event -1."""


def blank(table: Table) -> Row:
    """A row of ``table`` before anything happened, without its ``id``."""
    return {name: make() for name, make in _blanks(table)}


@cache
def _blanks(table: Table) -> tuple[tuple[str, Callable[[], Any]], ...]:
    def nothing() -> None:
        return None

    makers: list[tuple[str, Callable[[], Any]]] = []
    for column in table.columns:
        default = str(getattr(column.server_default, "arg", None))
        made = {"0": int, "'[]'": list, "'{}'": dict}.get(default, nothing)
        if column.name != "id":
            makers.append((column.name, made))
    return tuple(makers)


def key_of(table: Table, key: Mapping[str, Any], columns: tuple[str, ...]) -> tuple[Any, ...]:
    """The values of ``columns`` in ``key`` as ``table`` holds them; what has no value is the empty string, or 0 in a number's column."""
    converters, empty = _converters(table), _empty(table)
    return tuple(
        empty[name] if (value := key.get(name)) is None else converters[name](value) for name in columns
    )


@cache
def _empty(table: Table) -> dict[str, Any]:
    return {column.name: 0 if isinstance(column.type, Integer) else "" for column in table.columns}


def merge(table: Table, row: Row, change: RowChange) -> None:
    """Do ``change`` to ``row`` in place."""
    if change.add:
        for name, value in _known(table, change.add):
            row[name] = _within((row[name] or 0) + value)
    if change.least:
        for name, value in _known(table, change.least):
            row[name] = value if row[name] is None else min(row[name], value)
    if change.most:
        for name, value in _known(table, change.most):
            row[name] = value if row[name] is None else max(row[name], value)
    if change.once:
        for name, value in _known(table, change.once):
            if row[name] is None:
                row[name] = value
    if change.latest:
        _merge_latest(table, row, change.latest)
    if change.union:
        for name, names in _known(table, change.union):
            row[name] = list(dict.fromkeys([*(row[name] or ()), *names]))
    if change.states and "status_at" in row:
        for state in change.states:
            _merge_state(row, *state)


def _merge_latest(table: Table, row: Row, latest: Mapping[str, Any]) -> None:
    times = {name: int(pair[0]) for name, pair in latest.items()}
    clock = dict(row["latest_at"] or {})
    for name, value in _known(table, {name: pair[1] for name, pair in latest.items()}, may_be_none=True):
        if times[name] >= clock.get(name, times[name]):
            clock[name] = times[name]
            row[name] = value
    row["latest_at"] = clock


def _merge_state(row: Row, time: int, rank: int, status: str, reason: str | None) -> None:
    if rank < 0:
        row["active_at"] = time if row["active_at"] is None else max(row["active_at"], time)
    elif row["status_at"] is None or (time, rank) >= (row["status_at"], row["status_rank"]):
        row["status_at"], row["status_rank"] = time, rank
        row["reported_status"] = clean(status, 32)
        row["reported_reason"] = None if reason is None else clean(reason, 500)


def _known(table: Table, values: Mapping[str, Any], *, may_be_none: bool = False) -> list[tuple[str, Any]]:
    """The pairs of ``values`` that ``table`` can hold, as it holds them."""
    converters = _converters(table)
    held: list[tuple[str, Any]] = []
    for name, value in values.items():
        convert = converters.get(name)
        if convert is None:
            log.warning("unknown_column", table=table.name, column=name)
        elif value is None:
            if may_be_none and table.columns[name].nullable:
                held.append((name, None))
        else:
            try:
                held.append((name, convert(value)))
            except (TypeError, ValueError, OverflowError, OSError):
                log.warning("value_left_out", table=table.name, column=name)
    return held


@cache
def _converters(table: Table) -> dict[str, Callable[[Any], Any]]:
    """What turns a value into what its column holds, by column; each raises TypeError, ValueError, OverflowError or OSError."""
    return {column.name: _converter(column) for column in table.columns}


def _converter(column: Column[Any]) -> Callable[[Any], Any]:
    kind = column.type
    if isinstance(kind, UtcDateTime):
        return _moment
    if isinstance(kind, Boolean):
        return bool
    if isinstance(kind, BigInteger | Integer):
        return lambda value: _within(int(value))
    if isinstance(kind, Double):
        return _finite
    if isinstance(kind, String):
        return lambda value: clean(value if isinstance(value, str) else str(value), kind.length)
    return _clean_json


def _moment(ns: Any) -> datetime:
    return to_datetime(int(ns))


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _within(value: Any) -> Any:
    return min(max(value, -_MOST), _MOST) if isinstance(value, int) else value


def clean(text: str, length: int | None = None) -> str:
    """``text`` as every database holds it, cut to ``length`` characters."""
    if not text.isascii() or "\0" in text:
        text = text.translate(_NOT_TEXT)
    return text if length is None else text[:length]


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
