"""From lines to columns: what a flush brings to each table, and which of its lines can never be stored.

Nearly all lines of a flush are of few shapes: a measurement with the same tags and the same fields. The values of a shape are read a column
at a time (:class:`_Shape`). A table with any line that is not so – odd, wrong, new or twice – is read point by point, which decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedded.layout import TableLayout
from scrapewatch.line_protocol import HEADS_KEPT, Point, Value, decode
from scrapewatch.ports import Batch, Rejected
from scrapewatch.problems import InvalidInput

Columns = dict[str, NDArray[Any]]
"""Column → its values, masked where a point has none; all of one length."""

_TIMES = re.compile(r"-?\d+(,-?\d+)*", re.ASCII)
_INTEGERS = re.compile(r"-?\d+i(,-?\d+i)*", re.ASCII)
_ONE_FLOAT = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_FLOATS = re.compile(f"{_ONE_FLOAT}(,{_ONE_FLOAT})*", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class _Head:
    """What stands before the fields of a line: ``series`` tells the measurement's series apart, ``names`` are those of its tags."""

    measurement: str
    tags: Mapping[str, str]
    names: frozenset[str]
    series: frozenset[tuple[str, str]]


@lru_cache(maxsize=HEADS_KEPT)
def _head(text: str) -> _Head | None:
    """The head of a line, or None where ``text`` is none."""
    try:
        text.encode()  # a lone surrogate is in no file
        point = decode(f"{text} x=0i 0")
    except (InvalidInput, UnicodeEncodeError):
        return None
    if point.fields != {"x": 0}:
        return None  # it ended in the middle of a field
    return _Head(point.measurement, point.tags, frozenset(point.tags), frozenset(point.tags.items()))


@dataclass(slots=True)
class _Shape:
    """Lines of one table with the same tags and fields: of each, its place in the batch, head, fields, texts of their values, and time."""

    fields: tuple[str, ...]
    lines: list[tuple[int, _Head, str, list[str], str]] = field(default_factory=list)

    def read(self, layout: TableLayout, oldest: int) -> _Block | None:
        """The points of these lines, or None when any of them must be looked at by itself."""
        _, heads, bodies, values, stamps = zip(*self.lines, strict=True)
        template = ",".join([f"{name}=%s" for name in self.fields])
        if tuple([template % tuple(each) for each in values]) != bodies:
            return None  # a comma stood where an equals sign belongs
        times = _numbers(stamps, _TIMES, int)
        if times is None or times.min() < oldest:
            return None
        columns = {}
        for name, texts in zip(self.fields, zip(*values, strict=True), strict=True):
            kind = layout.types[name]
            column = _numbers(texts, _INTEGERS if kind is int else _FLOATS, kind)
            if column is None or (kind is float and not np.isfinite(column).all()):
                return None
            columns[name] = column
        return _Block(heads, times, columns)


def _numbers(texts: Sequence[str], grammar: re.Pattern[str], kind: type) -> NDArray[Any] | None:
    """The numbers in ``texts``, or None when one is none or has more than 64 bits."""
    joined = ",".join(texts)
    if not grammar.fullmatch(joined):
        return None
    if grammar is _INTEGERS:
        joined = joined.replace("i", "")
    try:
        return np.array(list(map(kind, joined.split(","))), np.int64 if kind is int else np.float64)
    except (OverflowError, ValueError):  # of thousands of digits, int() reads none
        return None


@dataclass(frozen=True, slots=True)
class _Block:
    """Points of one shape, by column."""

    heads: Sequence[_Head]
    times: NDArray[np.int64]
    fields: Mapping[str, NDArray[Any]]


@dataclass
class IncomingTable:
    """The points of one batch for one table; those of the same series and time are one, the later one's fields standing."""

    layout: TableLayout
    new_tags: set[str] = field(default_factory=set)
    new_fields: dict[str, type] = field(default_factory=dict)
    blocks: list[_Block] = field(default_factory=list)
    rows: dict[tuple[int, frozenset[tuple[str, str]]], tuple[Mapping[str, str], dict[str, Value]]] = field(
        default_factory=dict
    )

    def add(self, tags: Mapping[str, str], fields: dict[str, Value], time: int) -> None:
        """Take a point that the layout does not refuse."""
        known_tags, known_fields = self.layout.tags, self.layout.fields
        for name in tags:
            if name not in known_tags:
                self.new_tags.add(name)
        for name in fields:
            if name not in known_fields:
                self.new_fields[name] = type(fields[name])
        key = time, frozenset(tags.items())
        if key in self.rows:
            self.rows[key][1].update(fields)
        else:
            self.rows[key] = tags, fields

    def widened(self) -> TableLayout:
        """The layout with all that these points need."""
        return self.layout.with_tags(self.new_tags).with_fields(self.new_fields)

    def columns(self, layout: TableLayout) -> Columns:
        """The points as columns of ``layout``: time, every tag, and the fields that any of them has."""
        return self._of_blocks(layout) if self.blocks else self._of_rows(layout)

    def _of_blocks(self, layout: TableLayout) -> Columns:
        columns: Columns = {"time": np.concatenate([block.times for block in self.blocks])}
        of_points = [head.tags for block in self.blocks for head in block.heads]
        for tag, column in layout.tags.items():
            columns[column] = _texts([tags.get(tag, "") for tags in of_points])
        for name, column in layout.fields.items():
            if any(name in block.fields for block in self.blocks):
                full: NDArray[Any] = np.empty(len(of_points), layout.types[name])
                absent = np.ones(len(of_points), bool)
                start = 0
                for block in self.blocks:
                    stop = start + len(block.heads)
                    if name in block.fields:
                        full[start:stop] = block.fields[name]
                        absent[start:stop] = False
                    start = stop
                columns[column] = np.ma.masked_array(full, absent)
        return columns

    def _of_rows(self, layout: TableLayout) -> Columns:
        columns: Columns = {"time": np.fromiter((time for time, _ in self.rows), np.int64, len(self.rows))}
        for tag, column in layout.tags.items():
            columns[column] = _texts([tags.get(tag, "") for tags, _ in self.rows.values()])
        places: dict[str, tuple[list[int], list[Value]]] = {}
        for row, (_, fields) in enumerate(self.rows.values()):
            for name, value in fields.items():
                at, those = places.setdefault(name, ([], []))
                at.append(row)
                those.append(value)
        for name, (at, those) in places.items():
            kind = layout.types[name]
            full: NDArray[Any] = np.empty(len(self.rows), object if kind is str else kind)
            full[at] = those
            absent = np.ones(len(self.rows), bool)
            absent[at] = False
            columns[layout.fields[name]] = full if kind is str else np.ma.masked_array(full, absent)
        return columns


def _texts(values: list[str]) -> NDArray[Any]:
    column = np.empty(len(values), object)
    column[:] = values
    return column


def read(
    batch: Batch, layouts: Mapping[str, TableLayout], oldest: int
) -> tuple[dict[str, IncomingTable], list[Rejected]]:
    """The points of ``batch`` by measurement, and its lines that can never be stored.

    Those are no line protocol, or of another type than the field is stored with, or older than ``oldest`` (ns).
    """
    shapes, odd = _shapes(batch.lines, layouts)
    points = {k: _point(batch.lines[k]) for k in odd}
    mixed = {point.measurement for point in points.values() if isinstance(point, Point)}
    tables: dict[str, IncomingTable] = {}
    for measurement, of_table in shapes.items():
        blocks = None if measurement in mixed else _blocks(of_table, layouts[measurement], oldest)
        if blocks is None:
            points |= {k: _point(batch.lines[k]) for shape in of_table for k, *_ in shape.lines}
        else:
            tables[measurement] = IncomingTable(layouts[measurement], blocks=blocks)
    rejected: list[Rejected] = []
    for k, point in sorted(points.items(), key=itemgetter(0)):
        if isinstance(point, Point):
            table = tables.get(point.measurement)
            if table is None:
                layout = layouts.get(point.measurement) or TableLayout.new(point.measurement, batch.tier)
                table = tables[point.measurement] = IncomingTable(layout)
            reason = table.layout.refusal(point.fields, table.new_fields)
            if not oldest <= point.time < 2**63:
                reason = f"its time is older than the tier {batch.tier} keeps, or past the year 2262"
            if reason is None:
                tags = {name: value for name, value in point.tags.items() if value}
                table.add(tags, dict(point.fields), point.time)
        else:
            reason = point
        if reason is not None:
            rejected.append(Rejected(batch.tenant, batch.tier, batch.lines[k], batch.events[k], reason))
    return {name: table for name, table in tables.items() if table.blocks or table.rows}, rejected


def _shapes(
    lines: Sequence[str], layouts: Mapping[str, TableLayout]
) -> tuple[dict[str, list[_Shape]], list[int]]:
    """The lines that look like those of a known table, by measurement and shape; and where the others stand."""
    known: dict[tuple[str, frozenset[str], tuple[str, ...]], _Shape | None] = {}
    shapes: dict[str, list[_Shape]] = {}
    odd: list[int] = []
    for k, line in enumerate(lines):
        parts = line.rsplit(" ", 2)
        head = _head(parts[0]) if len(parts) == 3 else None
        if head is None:
            odd.append(k)
            continue
        body = parts[1]
        pairs = body.replace("=", ",").split(",")
        values = pairs[1::2]
        fields = tuple(pairs[::2])
        key = head.measurement, head.names, fields
        try:
            shape = known[key]
        except KeyError:
            layout = layouts.get(head.measurement)
            shape = known[key] = _Shape(fields) if layout and _takes(layout, head, fields) else None
            if shape is not None:
                shapes.setdefault(head.measurement, []).append(shape)
        if shape is None or len(values) < len(shape.fields):
            odd.append(k)
            continue
        shape.lines.append((k, head, body, values, parts[2]))
    return shapes, odd


def _takes(layout: TableLayout, head: _Head, fields: Sequence[str]) -> bool:
    """Whether the table has these tags, and these fields once each, all of numbers."""
    return (
        head.names <= layout.tags.keys()
        and len(set(fields)) == len(fields)
        and all(layout.types.get(name) in (int, float) for name in fields)
    )


def _blocks(shapes: Sequence[_Shape], layout: TableLayout, oldest: int) -> list[_Block] | None:
    """The points of one table, or None when they must be looked at one by one."""
    blocks = []
    for shape in shapes:
        if shape.lines:
            block = shape.read(layout, oldest)
            if block is None:
                return None
            blocks.append(block)
    points = {
        (time, head.series)
        for block in blocks
        for time, head in zip(block.times.tolist(), block.heads, strict=True)
    }
    return blocks if len(points) == sum(len(block.heads) for block in blocks) else None


def _point(line: str) -> Point | str:
    """The point of a line, or why it is none."""
    try:
        if not line.isascii():
            line.encode()  # a lone surrogate is in no file
        return decode(line)
    except (InvalidInput, UnicodeEncodeError) as error:
        return str(error)
