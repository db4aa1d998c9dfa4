"""Reads the dict that Scrapy's stats dump prints, without ever evaluating it.

The text comes from a log, so it is hostile until read: it is parsed to a syntax tree, and a small walker takes from that tree only
constants, containers and the `datetime` calls that `repr` writes. Nothing is looked up, called or imported on the text's behalf.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TypeAlias

Plain: TypeAlias = (
    "bool | int | float | str | datetime | date | timedelta | list[Plain] | dict[str, Plain] | None"
)
"""What a dump may hold. Every `datetime` is aware and in UTC; tuples and sets have become lists."""

MAX_TEXT = 1_000_000
"""Characters of a dump; real ones have a few thousand."""

_INT64 = 2**63
# A string ends with its line, as `repr` writes it; possessive, so that hostile quotes cost linear time. `<…>` is the `repr` of an
# object: its quotes, commas and brackets mean nothing.
_TOKEN = re.compile(r"""'(?:[^'\\\n]|\\.)*+'?|"(?:[^"\\\n]|\\.)*+"?|<[^<>\n]*>|[][(){},]""")
_ENTRY = re.compile(r"""\s*('(?:[^'\\\n]|\\.)*+'|"(?:[^"\\\n]|\\.)*+")\s*:""")
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")


class NotPlainError(ValueError):
    """A value that a stats dump has no business to hold, or that nothing is known about."""


def nesting(line: str, depth: int) -> int | None:
    """The depth of braces after `line`, given the depth before it; None as soon as the outermost one closes."""
    if "{" not in line and "}" not in line:
        return depth
    for match in _TOKEN.finditer(line):
        part = match[0]
        if part == "{":
            depth += 1
        elif part == "}":
            depth -= 1
            if depth <= 0:
                return None
    return depth


def read_dict(text: str) -> tuple[dict[str, Plain], tuple[str, ...]]:
    """The values of a printed dict, and the keys whose values could not be read.

    A dict that is no valid Python as a whole (`<object at 0x…>` as a value, or cut off in the middle) is read entry by entry. An
    entry that no comma or bracket ends is left out: its last digits may be missing.

    Args:
        text: starts with `{`; what follows the closing bracket is ignored.

    """
    tree = _parse(text[:MAX_TEXT])
    values: dict[str, Plain] = {}
    skipped: list[str] = []
    pairs: list[tuple[str | None, ast.expr | None]]
    if isinstance(tree, ast.Dict):
        pairs = [(_key(k), v) for k, v in zip(tree.keys, tree.values, strict=True)]
    else:
        pairs = [(key, _parse(value)) for key, value in _entries(text[:MAX_TEXT])]
    for key, node in pairs:
        if key is None:
            continue
        try:
            if node is None:
                raise NotPlainError(key)
            values[key] = plain(node)
        except (NotPlainError, RecursionError):
            skipped.append(key)
    return values, tuple(skipped)


def plain(node: ast.expr) -> Plain:
    """The value that a syntax tree writes out.

    Raises:
        NotPlainError: for names, other calls, numbers that are not finite or beyond 64 bits, impossible dates.

    """
    match node:
        case ast.Constant(value=str() as text):
            return _storable(text)
        case ast.Constant(value=None | bool() as constant):
            return constant
        case ast.Constant(value=int() | float() as number) if _bounded(number):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)) if (
            not isinstance(number, bool) and _bounded(number)
        ):
            return -number
        case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
            return [plain(element) for element in elements]
        case ast.Dict(keys=keys, values=values):
            read = ((_key(key), plain(value)) for key, value in zip(keys, values, strict=True))
            return {key: value for key, value in read if key is not None}
        case ast.Call(func=ast.Attribute(value=ast.Name(id="datetime"), attr=name)) if name in _CALLS:
            try:
                return _CALLS[name](node)
            except (TypeError, ValueError, OverflowError) as error:
                raise NotPlainError(name) from error
    raise NotPlainError(type(node).__name__)


def _bounded(number: float) -> bool:
    return abs(number) < _INT64 if isinstance(number, int) else math.isfinite(number)


def _key(node: ast.expr | None) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None):
        return _storable(str(node.value))
    return None


def _storable(text: str) -> str:
    """The text without what no store can hold: NUL, half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def _numbers(call: ast.Call) -> tuple[list[int], dict[str, int]]:
    """The whole numbers a call is given, by position and by name, but for `tzinfo`."""
    positional = [plain(argument) for argument in call.args]
    named = {k.arg or "**": plain(k.value) for k in call.keywords if k.arg != "tzinfo"}
    if not all(type(number) is int for number in (*positional, *named.values())):
        raise NotPlainError("whole numbers wanted")
    return positional, named  # type: ignore[return-value]  # just checked


def _datetime(call: ast.Call) -> datetime:
    zones = [keyword.value for keyword in call.keywords if keyword.arg == "tzinfo"]
    positional, named = _numbers(call)
    # Scrapy wrote naive times with `datetime.utcnow()` until it wrote aware ones: both are UTC.
    zone = _zone(zones[0]) if zones else UTC
    return datetime(*positional, **named, tzinfo=zone).astimezone(UTC)  # type: ignore[misc, arg-type]


def _zone(node: ast.expr) -> timezone:
    match node:
        case ast.Attribute(value=ast.Attribute(value=ast.Name(id="datetime"), attr="timezone"), attr="utc"):
            return UTC
        case ast.Attribute(value=ast.Name(id="datetime"), attr="UTC"):
            return UTC
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="datetime"), attr="timezone"), args=[offset, *_], keywords=[]
        ):
            length = plain(offset)
            if isinstance(length, timedelta):
                return timezone(length)
        case ast.Constant(value=None):
            return UTC
    raise NotPlainError("time zone")


def _date(call: ast.Call) -> date:
    positional, named = _numbers(call)
    return date(*positional, **named)


def _timedelta(call: ast.Call) -> timedelta:
    positional, named = _numbers(call)
    return timedelta(*positional, **named)


_CALLS: dict[str, Callable[[ast.Call], Plain]] = {
    "datetime": _datetime,
    "date": _date,
    "timedelta": _timedelta,
}


def _parse(text: str) -> ast.expr | None:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """The entries of a dict's text as (key, text of the value): those with an end, whatever the value is."""
    depth, start = 0, 0
    for match in _TOKEN.finditer(text):
        part = match[0]
        if depth == 1 and (part == "," or part in _CLOSING):
            entry = _ENTRY.match(text, start, match.start())
            if entry is not None:
                key = _parse(entry[1])
                if isinstance(key, ast.Constant):
                    yield _storable(str(key.value)), text[entry.end() : match.start()]
            start = match.end()
        if part in _OPENING:
            depth += 1
            start = match.end() if depth == 1 else start
        elif part in _CLOSING:
            depth -= 1
            if depth <= 0:
                return
