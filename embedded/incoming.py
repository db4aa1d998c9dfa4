"""From lines to columns: what a flush brings to each table, and which of its lines can never be stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedded.layout import TableLayout
from scrapewatch.line_protocol import Value, decode
from scrapewatch.ports import Batch, Rejected
from scrapewatch.problems import InvalidInput

Columns = dict[str, NDArray[Any]]
"""Column → its values, masked where a point has none; all of one length."""


@dataclass
class IncomingTable:
    """The points of one batch for one table; those of the same series and time are one, the later one's fields standing."""

    layout: TableLayout
    new_tags: set[str] = field(default_factory=set)
    new_fields: dict[str, type] = field(default_factory=dict)
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
        columns: Columns = {"time": np.fromiter((time for time, _ in self.rows), np.int64, len(self.rows))}
        for tag, column in layout.tags.items():
            values = np.empty(len(self.rows), object)
            values[:] = [tags.get(tag, "") for tags, _ in self.rows.values()]
            columns[column] = values
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


def read(
    batch: Batch, layouts: Mapping[str, TableLayout], oldest: int
) -> tuple[dict[str, IncomingTable], list[Rejected]]:
    """The points of ``batch`` by measurement, and its lines that can never be stored.

    Those are no line protocol, or of another type than the field is stored with, or older than ``oldest`` (ns).
    """
    tables: dict[str, IncomingTable] = {}
    rejected: list[Rejected] = []
    for line, events in zip(batch.lines, batch.events, strict=True):
        try:
            point = decode(line)
            if not line.isascii():
                line.encode()  # a lone surrogate is in no file
        except (InvalidInput, UnicodeEncodeError) as error:
            rejected.append(Rejected(batch.tenant, batch.tier, line, events, str(error)))
            continue
        table = tables.get(point.measurement)
        if table is None:
            layout = layouts.get(point.measurement) or TableLayout.new(point.measurement, batch.tier)
            table = tables[point.measurement] = IncomingTable(layout)
        reason = table.layout.refusal(point.fields, table.new_fields)
        if not oldest <= point.time < 2**63:
            reason = f"its time is older than the tier {batch.tier} keeps, or past the year 2262"
        if reason is not None:
            rejected.append(Rejected(batch.tenant, batch.tier, line, events, reason))
            continue
        tags = {name: value for name, value in point.tags.items() if value}
        table.add(tags, dict(point.fields), point.time)
    return {name: table for name, table in tables.items() if table.rows}, rejected
