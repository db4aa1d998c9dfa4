"""Bound parameters of Flux: values given to a query as its ``extern``, a syntax tree, so that none is ever pasted into text.

The tree is that of the ``extern`` in https://docs.influxdata.com/influxdb/v2/api/#operation/PostQuery. A record becomes an option of
the query's, ``v.timeRangeStart`` and ``params.site`` then read as they do in a Grafana panel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scrapewatch.time import SECOND, to_rfc3339


@dataclass(frozen=True, slots=True)
class Time:
    """A moment, in nanoseconds."""

    ns: int


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time, in nanoseconds."""

    ns: int


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression in the syntax of Go's ``regexp``."""

    text: str


Literal = str | bool | int | float | Time | Duration | Pattern | Sequence[str]


def extern(**records: Mapping[str, Literal]) -> dict[str, Any]:
    """The tree that declares each record as an option, such as ``extern(v={…}, params={…})``."""
    body = [
        {
            "type": "OptionStatement",
            "assignment": {
                "type": "VariableAssignment",
                "id": _name(record),
                "init": {
                    "type": "ObjectExpression",
                    "properties": [
                        {"type": "Property", "key": _name(key), "value": _literal(value)}
                        for key, value in values.items()
                    ],
                },
            },
        }
        for record, values in records.items()
    ]
    return {"type": "File", "package": None, "imports": [], "body": body}


def time_text(ns: int) -> str:
    """The moment ``ns`` as Flux writes it, to the nanosecond."""
    # to_rfc3339 stops at microseconds; the fraction is written out in full.
    whole, rest = divmod(ns, SECOND)
    return f"{to_rfc3339(whole * SECOND).removesuffix('Z')}.{rest:09d}Z"


def _name(name: str) -> dict[str, str]:
    return {"type": "Identifier", "name": name}


def _literal(value: Literal) -> dict[str, Any]:
    match value:
        case str():
            return {"type": "StringLiteral", "value": value}
        case bool():
            return {"type": "BooleanLiteral", "value": value}
        case int():
            return {"type": "IntegerLiteral", "value": str(value)}
        case float():
            return {"type": "FloatLiteral", "value": value}
        case Time(ns):
            return {"type": "DateTimeLiteral", "value": time_text(ns)}
        case Duration(ns):
            return {"type": "DurationLiteral", "values": [{"magnitude": ns, "unit": "ns"}]}
        case Pattern(text):
            return {"type": "RegexpLiteral", "value": text}
        case _:
            return {"type": "ArrayExpression", "elements": [_literal(element) for element in value]}
