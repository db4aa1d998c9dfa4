"""How tenants, tiers and measurements lie in the file.

A tenant's tier is a schema ``t<number>_<tier>``; the table ``tenants`` gives each id its number, so that no id is ever part of a
statement. A measurement is a table with ``time`` (ns), a text column a tag (an absent tag is the empty string) and a column a field
(NULL where a point has none). What the registry knows keeps its name; anything else gets one that cannot clash with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from scrapewatch.line_protocol import Value
from scrapewatch.measurements import MEASUREMENTS, Tier, fields_in

_TYPES: Mapping[type, str] = {int: "BIGINT", float: "DOUBLE", str: "VARCHAR", bool: "BOOLEAN"}
_TAG, _FIELD, _TABLE = "tag:", "field:", "table:"


def identifier(name: str) -> str:
    """``name`` as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def schema_name(number: int, tier: Tier) -> str:
    """Schema of a tier of the tenant with that number; made of ``[a-z0-9_]`` alone."""
    return f"t{int(number)}_{Tier(tier).value}"


def _unfolded(name: str) -> str:
    """``name`` such that names that differ in case alone still differ where case is ignored, as it is in identifiers."""
    return "".join(f"^{char}" if char == "^" or char != char.lower() else char for char in name)


def _folded(text: str) -> str:
    out, chars = "", iter(text)
    for char in chars:
        out += next(chars) if char == "^" else char
    return out


@dataclass
class TableLayout:
    """The table of one measurement in one tier: tag → column, field → column, and the type of each field's values."""

    measurement: str
    table: str
    tags: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    types: dict[str, type] = field(default_factory=dict)

    @classmethod
    def new(cls, measurement: str, tier: Tier) -> TableLayout:
        """The layout that the registry gives to ``measurement``; an empty one where it knows none there."""
        known = MEASUREMENTS.get(measurement)
        if known is None:
            return cls(measurement, _TABLE + _unfolded(measurement))
        fields = fields_in(known, tier)
        return cls(
            measurement,
            measurement,
            {name: name for name in known.tag_names(tier)},
            {f.name: f.name for f in fields},
            {f.name: f.type for f in fields},
        )

    @classmethod
    def stored(cls, table: str, tier: Tier, columns: Mapping[str, str]) -> TableLayout:
        """The layout of a table in the file, from its columns and their SQL types."""
        name = _folded(table.removeprefix(_TABLE)) if table.startswith(_TABLE) else table
        known = cls.new(name, tier)
        layout = cls(name, table)
        python_types = {sql: python for python, sql in _TYPES.items()}
        for column, sql_type in columns.items():
            if column in known.tags:
                layout.tags[column] = column
            elif column.startswith(_TAG):
                layout.tags[_folded(column.removeprefix(_TAG))] = column
            elif column != "time":
                name = _folded(column.removeprefix(_FIELD)) if column.startswith(_FIELD) else column
                layout.fields[name] = column
                layout.types[name] = python_types[sql_type]
        return layout

    def with_tags(self, names: set[str]) -> TableLayout:
        """This layout with a column for each of ``names``."""
        added = {name: _TAG + _unfolded(name) for name in sorted(names) if name not in self.tags}
        return TableLayout(self.measurement, self.table, self.tags | added, self.fields, self.types)

    def with_fields(self, types: Mapping[str, type]) -> TableLayout:
        """This layout with a column for each of the fields ``types``."""
        added = {name: _FIELD + _unfolded(name) for name in sorted(types) if name not in self.fields}
        return TableLayout(
            self.measurement, self.table, self.tags, self.fields | added, {**types, **self.types}
        )

    def refusal(self, fields: Mapping[str, Value], new: Mapping[str, type]) -> str | None:
        """Why ``fields`` cannot be stored, or None; ``new`` are the types of fields that the table is about to get."""
        for name, value in fields.items():
            kind = type(value)
            wanted = self.types.get(name) or new.get(name, kind)
            if kind is not wanted:
                return (
                    f"the field {name} of {self.measurement} holds values of type {wanted.__name__}, "
                    f"not {kind.__name__}"
                )
            if kind is int and not -(2**63) <= value < 2**63:  # type: ignore[operator]
                return f"the field {name} of {self.measurement} is out of range: integers have 64 bits"
            if kind is float and value - value != 0.0:  # type: ignore[operator]
                return f"the field {name} of {self.measurement} is not a finite number"
        return None

    def statements(self, schema: str, before: TableLayout | None) -> list[str]:
        """What turns the table ``before`` (None: there is none) into this one."""
        name = f"{schema}.{identifier(self.table)}"
        tags = [c for tag, c in self.tags.items() if before is None or tag not in before.tags]
        fields = [(f, c) for f, c in self.fields.items() if before is None or f not in before.fields]
        columns = [f"{identifier(column)} VARCHAR DEFAULT ''" for column in tags]
        columns += [f"{identifier(column)} {_TYPES[self.types[f]]}" for f, column in fields]
        if before is None:
            return [f"CREATE TABLE {name} ({', '.join(['time BIGINT NOT NULL', *columns])})"]
        return [f"ALTER TABLE {name} ADD COLUMN {column}" for column in columns]
