"""Variables of a dashboard, put into the text of a query as Grafana's browser half does it.

The rules: ``$name``, ``${name}``, ``${name:format}`` and ``[[name:format]]`` are replaced in one pass, so what a value brings is never
looked at again; a name that is no variable stays as it is. "All" is every option of the variable, or what it declares for it, which goes
in as it is written, whatever the format. Read out of ``public/app/features/templating`` of Grafana 9.4; later ones do the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

ALL: Final = "$__all"

Value = str | Sequence[str]
"""A choice, or several where a variable takes several."""

Formatter = Callable[["Variable", Value], str]

_REFERENCE: Final = re.compile(
    r"\$(\w+)|\[\[(\w+?)(?::(\w+))?\]\]|\$\{(\w+)(?:\.([^:^}]+))?(?::([^}]+))?\}", re.ASCII
)
_REGEX: Final = re.compile(r"[\\^$*+?.()|\[\]{}/]")


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable and what is chosen: ``value`` is :data:`ALL`, an option, or a list of them."""

    name: str
    value: Value
    options: Sequence[str] = ()
    multi: bool = False
    include_all: bool = False
    all_value: str | None = None

    def chosen(self, value: Value) -> Variable:
        """The same with another choice; of a variable that takes several it is always a list."""
        return replace(self, value=[value] if self.multi and isinstance(value, str) else value)

    @property
    def takes_all(self) -> bool:
        """Whether "All" is chosen."""
        return (self.value if isinstance(self.value, str) else next(iter(self.value), None)) == ALL


def interpolate(
    text: str,
    variables: Mapping[str, Variable],
    scoped: Mapping[str, str] | None = None,
    default: Formatter | None = None,
) -> str:
    """``text`` with its variables. ``scoped``: values of names that only this query has. ``default``: how it is done without a format.

    Raises:
        ValueError: a format that is none.
    """

    def put(match: re.Match[str]) -> str:
        name = match[1] or match[2] or match[4]
        form = match[3] or match[6]
        if scoped and name in scoped:
            return _formatted(Variable(name, scoped[name]), scoped[name], form, None)
        variable = variables.get(name)
        if variable is None:
            return match[0]
        value: Value = variable.value
        if variable.takes_all:
            if variable.all_value and form != "text":
                return interpolate(variable.all_value, variables)
            value = list(variable.options)
        return _formatted(variable, value, form, default)

    return _REFERENCE.sub(put, text)


def names_in(text: str) -> set[str]:
    """The names that ``text`` refers to."""
    return {match[1] or match[2] or match[4] for match in _REFERENCE.finditer(text)}


def sql_default(variable: Variable, value: Value) -> str:
    """What SQL data sources do with a variable that names no format."""
    if isinstance(value, str):
        return _sql_quoted(value) if variable.multi or variable.include_all else value.replace("'", "''")
    return ",".join(_sql_quoted(each) for each in value)


def _formatted(variable: Variable, value: Value, form: str | None, default: Formatter | None) -> str:
    if form is None and default is not None:
        return default(variable, value)
    name, _, argument = (form or "glob").partition(":")
    if name == "date":
        return _date(str(value), argument)
    formatter = _FORMATS.get(name)
    if formatter is None:
        raise ValueError(
            f"${{{variable.name}:{form}}}: there is no such format, and Grafana would say so nowhere"
        )
    return formatter(variable, value)


def _each(one: Callable[[str], str], join: Callable[[list[str]], str]) -> Formatter:
    return lambda _, value: one(value) if isinstance(value, str) else join([one(each) for each in value])


def _either(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"({'|'.join(parts)})"


def _glob(parts: list[str]) -> str:
    return "{" + ",".join(parts) + "}" if len(parts) > 1 else "".join(parts)


def _as_is(value: str) -> str:
    return value


def _sql_quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _encoded(value: str) -> str:
    return quote(value, safe="-_.~")


def _date(value: str, form: str) -> str:
    milliseconds = int(value)
    if form in ("", "iso"):
        moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if form == "ms":
        return value
    if form == "seconds":
        return str(round(milliseconds / 1000))
    raise ValueError(f"date:{form} needs the library that Grafana formats dates with")


def _json(_: Variable, value: Value) -> str:
    found: Any = value if isinstance(value, str) else list(value)
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


def _parameters(variable: Variable, value: Value) -> str:
    values: Iterable[str] = [value] if isinstance(value, str) else value
    return "&".join(f"var-{variable.name}={_encoded(each)}" for each in values)


_FORMATS: Final[Mapping[str, Formatter]] = {
    "glob": _each(_as_is, _glob),
    "raw": _each(_as_is, ",".join),
    "csv": _each(_as_is, ",".join),
    "pipe": _each(_as_is, "|".join),
    "regex": _each(lambda value: _REGEX.sub(r"\\\g<0>", value), _either),
    "singlequote": _each(lambda value: "'" + value.replace("'", "\\'") + "'", ",".join),
    "doublequote": _each(lambda value: '"' + value.replace('"', '\\"') + '"', ",".join),
    "sqlstring": _each(_sql_quoted, ",".join),
    "text": lambda variable, value: (
        "All" if variable.takes_all else _each(_as_is, " + ".join)(variable, value)
    ),
    "json": _json,
    "percentencode": lambda _, value: _encoded(
        value if isinstance(value, str) else "{" + ",".join(value) + "}"
    ),
    "queryparam": _parameters,
}
