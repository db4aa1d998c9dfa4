"""What Grafana makes of a query before a store sees it: its variables, then the macros of its PostgreSQL data source.

As Grafana 9.4 to 13 do it: the browser replaces variables (``public/app/features/templating``), the server macros
(``pkg/tsdb/sqleng`` and ``pkg/tsdb/postgres/macros.go``, later ``pkg/tsdb/grafana-postgresql-datasource``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

Value = str | Sequence[str]

_SYNTAX: Final = re.compile(r"\$(\w+)|\[\[(\w+?)(?::(\w+))?\]\]|\$\{(\w+)(?:\.([^:^}]+))?(?::([^}]+))?\}")
_MACRO: Final = re.compile(r"\$([_a-zA-Z0-9]+)\(([^)]*)\)")
_LENGTH: Final = re.compile(r"([0-9.]+)(ms|s|m|h|d|w|M|y)")
_UNIT_SECONDS: Final = {
    "ms": 0.001,
    "s": 1,
    "m": 60,
    "h": 3_600,
    "d": 86_400,
    "w": 604_800,
    "M": 2_592_000,
    "y": 31_536_000,
}


class MacroError(ValueError):
    """What Grafana shows in place of the panel: a macro that it does not know, or without an argument that it needs."""


@dataclass(frozen=True)
class Variable:
    """A variable of a dashboard and what is chosen of it.

    ``chosen`` is a list where several values may be chosen (``multi``); ``everything`` stands for All: then the values are ``options``, or
    ``all_value`` as it is where the dashboard sets one.
    """

    chosen: Value = ""
    options: Sequence[str] = ()
    everything: bool = False
    all_value: str | None = None
    multi: bool = False
    include_all: bool = False

    @property
    def value(self) -> Value:
        """What formats are applied to."""
        return list(self.options) if self.everything else self.chosen

    @property
    def several(self) -> bool:
        """Whether more than one value may be chosen."""
        return self.multi or self.include_all


@dataclass(frozen=True)
class Range:
    """The dashboard's time range."""

    start: datetime
    stop: datetime


def _each(text: Callable[[str], str], join: str) -> Callable[[Value], str]:
    def formatted(value: Value) -> str:
        return text(value) if isinstance(value, str) else join.join(map(text, value))

    return formatted


def _glob(value: Value) -> str:
    if isinstance(value, str):
        return value
    return value[0] if len(value) == 1 else "{" + ",".join(value) + "}"


def _regex(value: Value) -> str:
    def escaped(text: str) -> str:
        return re.sub(r"[\\^$*+?.()|[\]{}/]", lambda found: f"\\{found[0]}", text)

    if isinstance(value, str):
        return escaped(value)
    parts = [escaped(text) for text in value]
    return parts[0] if len(parts) == 1 else "(" + "|".join(parts) + ")"


FORMATS: Final[Mapping[str, Callable[[Value], str]]] = {
    "raw": _each(str, ","),
    "csv": _each(str, ","),
    "pipe": _each(str, "|"),
    "glob": _glob,
    "regex": _regex,
    "json": lambda value: json.dumps(value if isinstance(value, str) else list(value), ensure_ascii=False),
    "sqlstring": _each(lambda text: "'" + text.replace("'", "''") + "'", ","),
    "singlequote": _each(lambda text: "'" + text.replace("'", "\\'") + "'", ","),
    "doublequote": _each(lambda text: '"' + text.replace('"', '\\"') + '"', ","),
    "text": lambda value: value if isinstance(value, str) else " + ".join(value),
}
"""How ``${variable:format}`` writes its values."""


def replace_variables(
    text: str, variables: Mapping[str, Variable], unnamed: Callable[[Variable], str] | None = None
) -> str:
    """``text`` with its variables replaced; those that the dashboard has not stay as they are.

    ``unnamed``: how the data source writes a variable without a format (by default as ``glob``).

    Raises:
        KeyError: there is no such format.
    """

    def replaced(found: re.Match[str]) -> str:
        name = found[1] or found[2] or found[4]
        written = found[3] or found[6]
        variable = variables.get(name)
        if variable is None:
            return found[0]
        if variable.everything and variable.all_value and written != "text":
            return replace_variables(variable.all_value, variables)
        if variable.everything and written == "text":
            return "All"
        if written is None and unnamed is not None:
            return unnamed(variable)
        return FORMATS[written or "glob"](variable.value)

    return _SYNTAX.sub(replaced, text)


def expand_sql(
    sql: str, variables: Mapping[str, Variable], shown: Range, *, interval_seconds: int = 3_600
) -> str:
    """The statement that PostgreSQL gets of a panel's ``sql``; ``interval_seconds`` is the width of a window that Grafana proposes.

    Raises:
        MacroError: Grafana would show an error instead of asking.
    """
    built_in = {
        "__interval": Variable(_written(interval_seconds)),
        "__interval_ms": Variable(str(interval_seconds * 1_000)),
    }
    text = replace_variables(sql, {**variables, **built_in}, _unnamed_sql)
    for name, moment in (("From", shown.start), ("To", shown.stop)):
        text = text.replace(f"$__unixEpoch{name}()", str(int(moment.timestamp())))

    def replaced(found: re.Match[str]) -> str:
        name, arguments = found[1], [each.strip(" ") for each in found[2].split(",")]
        # As before version 5.3: a comma that follows makes it a column of its own, with its name.
        if name == "__timeGroup" and text[text.index(found[0]) + len(found[0]) :].startswith(","):
            name = "__timeGroupAlias"
        return _macro(name, arguments, shown)

    return _MACRO.sub(replaced, text)


def _unnamed_sql(variable: Variable) -> str:
    value = variable.value
    if isinstance(value, str):
        doubled = value.replace("'", "''")
        return f"'{doubled}'" if variable.several else doubled
    return FORMATS["sqlstring"](value)


def _macro(name: str, arguments: Sequence[str], shown: Range) -> str:
    start, stop = (_rfc3339(moment) for moment in (shown.start, shown.stop))
    column = arguments[0]
    seconds = (int(shown.start.timestamp()), int(shown.stop.timestamp()))
    match name:
        case "__time":
            return f'{column} AS "time"'
        case "__timeEpoch":
            return f'extract(epoch from {column}) as "time"'
        case "__timeFilter":
            return f"{column} BETWEEN '{start}' AND '{stop}'"
        case "__timeFrom":
            return f"'{start}'"
        case "__timeTo":
            return f"'{stop}'"
        case "__timeGroup" | "__timeGroupAlias":
            width = _width(arguments)
            grouped = f"floor(extract(epoch from {column})/{width})*{width}"
            return grouped if name == "__timeGroup" else f'{grouped} AS "time"'
        case "__unixEpochFilter":
            return f"{column} >= {seconds[0]} AND {column} <= {seconds[1]}"
        case "__unixEpochGroup" | "__unixEpochGroupAlias":
            width = _width(arguments)
            grouped = f"floor({column}/{width})*{width}"
            return grouped if name == "__unixEpochGroup" else f'{grouped} AS "time"'
    raise MacroError(f"unknown macro {name}")


def _width(arguments: Sequence[str]) -> str:
    if len(arguments) < 2:
        raise MacroError("a macro needs a column of time and an interval")
    found = _LENGTH.fullmatch(arguments[1].strip("'"))
    if found is None:
        raise MacroError(f"no interval: {arguments[1]}")
    return f"{float(found[1]) * _UNIT_SECONDS[found[2]]:g}"


def _written(seconds: int) -> str:
    for unit in ("d", "h", "m"):
        if seconds % _UNIT_SECONDS[unit] == 0:
            return f"{seconds // int(_UNIT_SECONDS[unit])}{unit}"
    return f"{seconds}s"


def _rfc3339(moment: datetime) -> str:
    text = moment.astimezone(UTC).isoformat().removesuffix("+00:00")
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}Z"
