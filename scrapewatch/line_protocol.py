"""Points as lines of InfluxDB's line protocol: the form in which a flush is made durable and replayed.

Both stores read it, so that a flush persisted before a crash is the same bytes after it, whatever store or code then runs.
Grammar and escapes: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from scrapewatch.measurements import MEASUREMENTS, Tier, fields_in
from scrapewatch.problems import InvalidInput

Value = int | float | str | bool


@dataclass(frozen=True, slots=True)
class Point:
    """One point: ``time`` in nanoseconds; ``tags`` without empty values (an absent tag reads as the empty string)."""

    measurement: str
    tags: Mapping[str, str]
    fields: Mapping[str, Value]
    time: int


# A newline ends a line whether escaped or not, so it cannot stand in a name or tag; a backslash before a special character or at the
# end of a name would escape what follows, and there is no escape for it.
_FORBIDDEN = str.maketrans({"\n": " ", "\r": " ", "\t": " ", "\\": "/"})
_KEY = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ "})
_MEASUREMENT = str.maketrans({",": "\\,", " ": "\\ "})
_FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_STRING = str.maketrans({'"': '\\"', "\\": "\\\\"})


def tag_value(text: str) -> str:
    """``text`` as it can be stored in a tag: backslashes become slashes, line breaks and tabs become spaces, NULs vanish.

    Line protocol has no escape for them. The mapping is applied before folding, so that both stores hold the same value.
    """
    return text.translate(_FORBIDDEN).replace("\0", "")


@lru_cache(maxsize=8192)  # names and tags are few, and each is met in every flush
def _escaped(text: str) -> str:
    """A key or the value of a tag, as it stands in a line."""
    return tag_value(text).translate(_KEY)


def _field(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value}i"
    if isinstance(value, float):
        return repr(value)
    return f'"{value.translate(_STRING)}"'


def encode(point: Point) -> str:
    """``point`` as one line without its line break. Tags are sorted by name, as InfluxDB prefers."""
    head = tag_value(point.measurement).translate(_MEASUREMENT)
    for key in sorted(point.tags):
        if value := _escaped(point.tags[key]):  # of a lone NUL nothing is left
            head += f",{_escaped(key)}={value}"
    body = ",".join([f"{_escaped(key)}={_field(value)}" for key, value in point.fields.items()])
    return f"{head} {body} {point.time}"


HEADS_KEPT = 32_768
"""Heads that an encoder remembers: a flush of 1,000 sessions has some 10,000 series a measurement, and the next flush the same."""

_TEMPLATES_KEPT = 1_024


class Encoder:
    """Writes the lines of one measurement in one tier, with names and types as the registry has them. Made by :func:`encoder`.

    Several times faster than :func:`encode`, because nothing is escaped twice and no :class:`Point` is made. May be used from any
    thread. Values are taken as they are: a whole number in a field of floats stands without a point, and is a float all the same.
    """

    __slots__ = ("_measurement", "_tags", "_templates", "formats", "head")

    formats: Mapping[str, str]
    """Field → what ``%`` makes ``,field=value`` of."""

    head: Callable[[tuple[str, ...]], str]
    """``head(tag_values)``: what a line of these tags begins with.

    One value for each of ``Measurement.tag_names(tier)``, in that order; an empty one leaves its tag out. Remembered.

    Raises:
        ValueError: there are more or fewer values than tags.

    """

    def __init__(self, measurement: str, tier: Tier) -> None:
        known = MEASUREMENTS[measurement]
        self._measurement = tag_value(measurement).translate(_MEASUREMENT)
        names = known.tag_names(tier)
        # As InfluxDB prefers them: sorted by name.
        self._tags = tuple((names.index(name), f",{_escaped(name)}=") for name in sorted(names))
        self.formats = {
            field.name: f",{_escaped(field.name)}={'%di' if field.type is int else '%r'}"
            for field in fields_in(known, tier)
        }
        self._templates: dict[tuple[str, ...], str] = {}
        self.head = lru_cache(maxsize=HEADS_KEPT)(self._head)

    def _head(self, tag_values: tuple[str, ...]) -> str:
        if len(tag_values) != len(self._tags):
            raise ValueError(f"{self._measurement} has {len(self._tags)} tags, not {len(tag_values)}")
        head = self._measurement
        for place, key in self._tags:
            if value := _escaped(tag_values[place]):  # of a lone NUL nothing is left
                head += key + value
        return head

    def template(self, names: tuple[str, ...]) -> str:
        """What ``%`` makes a line of, without its line break.

        It takes a ``head``, the values of the fields ``names`` (at least one), further fields as :attr:`formats` write them, and the
        time in ns. Remembered, as long as sets of fields are few: those that vary, such as a histogram's, are better further ones.

        Raises:
            KeyError: the measurement has no such field in this tier.

        """
        template = self._templates.get(names)
        if template is None:
            fields = "".join([self.formats[name] for name in names]).removeprefix(",")
            template = f"%s {fields}%s %d"
            if len(self._templates) < _TEMPLATES_KEPT:
                self._templates[names] = template
        return template

    def line(self, head: str, fields: Mapping[str, int | float], time: int) -> str:
        """The line of ``fields`` (at least one, in their order) at ``time`` (ns) behind a ``head``, without its line break.

        Raises:
            KeyError: the measurement has no such field in this tier.

        """
        return self.template(tuple(fields)) % (head, *fields.values(), "", time)


@cache
def encoder(measurement: str, tier: Tier) -> Encoder:
    """The encoder of ``measurement`` in ``tier``.

    Raises:
        KeyError: the registry knows no such measurement.

    """
    return Encoder(measurement, tier)


def decode(line: str) -> Point:
    """The point of one line.

    Raises:
        InvalidInput: when the line is not line protocol with a timestamp in nanoseconds.

    """
    try:
        if "\\" not in line and '"' not in line:
            try:
                return _named(_split(line))
            except ValueError:
                pass  # unusual or wrong: the full grammar decides
        return _named(_parse(line))
    except (IndexError, ValueError) as error:
        raise InvalidInput(
            "not a line of line protocol with fields and a timestamp in nanoseconds"
        ) from error


def decode_lines(text: str) -> Iterator[Point]:
    """The points of ``text``, one a line; blank lines and comments are passed over."""
    for line in text.split("\n"):
        if line and not line.startswith("#"):
            yield decode(line)


def _named(point: Point) -> Point:
    """``point``, if all its names are names: InfluxDB takes no empty one, and a line that begins with # for a comment."""
    if (
        not point.measurement
        or point.measurement.startswith("#")
        or "" in point.tags
        or "" in point.tags.values()
        or "" in point.fields
    ):
        raise ValueError
    return point


def _split(line: str) -> Point:
    """The point of a line without escapes and strings, as most are, in a third of the time that ``_parse`` takes."""
    head, body, stamp = line.split(" ")
    measurement, *pairs = head.split(",")
    tags: dict[str, str] = dict(pair.split("=") for pair in pairs)
    fields: dict[str, Value] = {}
    for pair in body.split(","):
        key, text = pair.split("=")
        fields[key] = _bare_value(text)
    return Point(measurement, tags, fields, _integer(stamp))


def _parse(line: str) -> Point:
    position, measurement = _until(line, 0, ", ")
    tags: dict[str, str] = {}
    while line[position] == ",":
        position, key = _until(line, position + 1, "=")
        position, value = _until(line, position + 1, ", ")
        tags[key] = value
    fields: dict[str, Value] = {}
    while True:
        position, key = _until(line, position + 1, "=")
        position, fields[key] = _read_field(line, position + 1)
        if line[position] != ",":
            break
    if line[position] != " ":
        raise ValueError
    return Point(measurement, tags, fields, _integer(line[position + 1 :]))


def _until(line: str, position: int, stops: str) -> tuple[int, str]:
    """Where the first unescaped character of ``stops`` stands, and the unescaped text before it."""
    out: list[str] = []
    while (char := line[position]) not in stops:
        if char == "\\" and line[position + 1] in ",= ":
            position += 1
            char = line[position]
        out.append(char)
        position += 1
    return position, "".join(out)


def _read_field(line: str, position: int) -> tuple[int, Value]:
    if line[position] == '"':
        out: list[str] = []
        position += 1
        while (char := line[position]) != '"':
            if char == "\\" and line[position + 1] in '"\\':
                position += 1
                char = line[position]
            out.append(char)
            position += 1
        return position + 1, "".join(out)
    position, text = _until(line, position, ", ")
    return position, _bare_value(text)


def _bare_value(text: str) -> Value:
    if text in ("true", "t", "T", "True", "TRUE", "false", "f", "F", "False", "FALSE"):
        return text[0] in "tT"
    if text[-1:] == "i":
        return _integer(text[:-1])
    if not _FLOAT.fullmatch(text):
        raise ValueError
    return float(text)


def _integer(text: str) -> int:
    # int() would take underscores, spaces and the digits of other scripts, which InfluxDB refuses.
    if not text.isascii() or not text.removeprefix("-").isdigit():
        raise ValueError
    return int(text)
