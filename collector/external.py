"""Line protocol of others (Telegraf and friends): which lines of a body can pass through as they came, and why the others cannot.

They keep their names, values and times, so that what their sender sends again overwrites itself; nothing is folded. Each line that is
accepted counts as one event. What only the store knows (a field that was of another type before) it says later, and the line becomes a
dead letter.
Grammar and escapes: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from collector.ingest import AHEAD_ALLOWED, MalformedBody, check_number
from scrapewatch.measurements import MEASUREMENTS
from scrapewatch.time import DAY

PRECISIONS: Final[Mapping[str, int]] = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
"""The units that times may be in, and their nanoseconds."""

LONGEST_LINE: Final = 65_535
"""Characters of a line: as long as the key of a series may be in InfluxDB."""

# As InfluxDB reads them: what stands behind a backslash ends nothing. A name cannot hold the end of a line, a string can. All repetitions
# are possessive, so that no input makes matching slow.
_NAME = r"(?:[^, =\n]++|(?<=\\)[, =])++"
_STRING = r'"(?:[^"\\]++|\\.)*+"'
_FLOAT = r"[+-]?+(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][+-]?+\d++)?+"
_FIELD = rf"{_NAME}=(?:{_STRING}|(?>-?+\d++i|\d++u|[tT](?:rue)?+|TRUE|[fF](?:alse)?+|FALSE|{_FLOAT})(?=[, \r\n]|\Z))"
_HEAD = rf"(?:[^, \n]++|(?<=\\)[, ])++(?:,{_NAME}={_NAME})*+"
_LINE = re.compile(
    rf"[ \t]*+(?!\#)(?P<head>{_HEAD})[ ]++(?P<fields>{_FIELD}(?:,{_FIELD})*+)(?:[ ]++(?P<time>-?+\d++))?+[ \r]*+(?:\n|\Z)",
    re.ASCII | re.DOTALL,
)
_NO_LINE = re.compile(r"[ \t\r]*+(?:#[^\n]*+)?+(?:\n|\Z)")
_HEAD_ALONE = re.compile(rf"[ \t]*+{_HEAD}(?P<more>[ ]++[^ \r\n])?", re.ASCII)
_MEASUREMENT_OF = re.compile(r"(?:[^,]++|(?<=\\),)++")
_TAG = re.compile(rf",({_NAME})=", re.ASCII)
_FIELD_OF = re.compile(rf"(?:^|,)({_NAME})=({_STRING}|[^,]++)", re.ASCII | re.DOTALL)
_MAY_OVERFLOW = re.compile(r"\d{19}|\d[eE]", re.ASCII)

# InfluxDB keeps its own things under these.
_NO_TAGS: Final = frozenset({"time", "_field", "_measurement"})
_NO_FIELDS: Final = frozenset({"time"})

_INT64: Final = range(-(2**63), 2**63)
_UINT64: Final = range(2**64)


class BadLine(msgspec.Struct, frozen=True):
    """A line that was not accepted: its number in the body, from 1, and the reason. What stands in it is not repeated."""

    line: int
    reason: str


class Lines(msgspec.Struct, frozen=True):
    """The lines of a body: those that pass through, with their times in ns, and the others."""

    accepted: Sequence[str]
    rejected: Sequence[BadLine]


class Names:
    """The series and fields that a tenant writes as line protocol: remembered for one to two days, and bounded.

    Args:
        most_series: different series, each a measurement with its tags.
        most_fields: different fields of all its measurements.
    """

    def __init__(self, *, most_series: int, most_fields: int) -> None:
        self._most_series = most_series
        self._most_fields = most_fields
        self._since: int | None = None
        # Hashes: a series may be long, and two of the same hash make the limit a little wider at most.
        self._series: set[int] = set()
        self._series_before: set[int] = set()
        self._fields: dict[str, set[str]] = {}
        self._fields_before: dict[str, set[str]] = {}

    def turn(self, now: int) -> None:
        """Forget what was not met for a day or two; ``now`` in ns."""
        if self._since is None or now - self._since > DAY:
            self._since = now
            self._series_before, self._series = self._series, set()
            self._fields_before, self._fields = self._fields, {}

    def knows(self, head: str) -> bool:
        """Whether the series was met today."""
        return hash(head) in self._series

    def refusal(self, head: str, measurement: str, fields: Sequence[str]) -> str | None:
        """Note a series and its fields; why they cannot be taken, or None."""
        known = self._fields.setdefault(measurement, set())
        if not known.issuperset(fields):
            new = set(fields) - known
            unmet = len(new - self._fields_before.get(measurement, set()))
            if unmet and self._count(self._fields, self._fields_before) + unmet > self._most_fields:
                return f"has more than {self._most_fields} different fields in all; use few, and tags or values for what varies"
            known |= new
        series = hash(head)
        if series not in self._series:
            if (
                series not in self._series_before
                and len(self._series) + len(self._series_before) >= self._most_series
                and len(self._series | self._series_before) >= self._most_series
            ):
                return f"is one more than {self._most_series} different series; use tags of few values, and fields for what varies"
            self._series.add(series)
        return None

    @staticmethod
    def _count(now: Mapping[str, set[str]], before: Mapping[str, set[str]]) -> int:
        return sum(len(now.get(name, set()) | before.get(name, set())) for name in now.keys() | before.keys())


def read(
    body: bytes, names: Names, *, received_at: int, oldest: int, factor: int = 1, most: int = 10_000
) -> Lines:
    """The lines of ``body`` that pass through, each with a time in ns, and why the others do not.

    ``factor`` is the nanoseconds of the unit of their times; a line without one gets ``received_at`` (ns). A time before ``oldest`` or
    more than five minutes ahead is rejected. Blank lines and comments are passed over.

    Raises:
        MalformedBody: it is not UTF-8.
        TooManyEvents: it has more than ``most`` lines.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise MalformedBody("the body is not UTF-8") from error
    check_number(text.count("\n"), 2 * most)  # with a comment for each
    names.turn(received_at)
    latest = received_at + AHEAD_ALLOWED
    nul = "\0" in text
    accepted: list[str] = []
    rejected: list[BadLine] = []
    position, number = 0, 1
    while position < len(text):
        found = _LINE.match(text, position)
        if found is None:
            blank = _NO_LINE.match(text, position)
            if blank is not None:
                end = blank.end()
            else:
                end = text.find("\n", position) + 1 or len(text)
                rejected.append(BadLine(number, _fault(text[position:end])))
        else:
            end = found.end()
            head, fields, given = found.group("head", "fields", "time")
            time = received_at if given is None else int(given) * factor if len(given) < 21 else 1 << 64
            reason = (
                _refusal(head, fields, names)
                or (
                    f"is longer than {LONGEST_LINE} characters"
                    if len(head) + len(fields) > LONGEST_LINE
                    else None
                )
                or ("has a NUL" if nul and "\0" in found.group() else None)
                or _refusal_of_time(time, oldest, latest)
            )
            if reason is None:
                accepted.append(f"{head} {fields} {time}")
            else:
                rejected.append(BadLine(number, reason))
        number += text.count("\n", position, end)
        position = end
    check_number(len(accepted) + len(rejected), most)
    return Lines(accepted, rejected)


def _fault(line: str) -> str:
    """What is wrong with what is no line."""
    head = _HEAD_ALONE.match(line)
    if head is None:
        return "does not begin with the name of a measurement"
    if head.end() < len(line) and head["more"] is None and line[head.end()] == ",":
        return "has a tag without a name or a value"
    if head["more"] is None:
        return "has no fields"
    return (
        "has fields or a time that cannot be read: write field=value[,field=value…] [time], "
        "text in double quotes, whole numbers with an i"
    )


def _refusal(head: str, fields: str, names: Names) -> str | None:
    """Why a line cannot be taken for what it is named and holds."""
    measurement = head
    if "," in head:
        match = _MEASUREMENT_OF.match(head)
        measurement = match[0] if match is not None else head
    if measurement in MEASUREMENTS:
        return "has the name of a measurement of scrapewatch's own; report that as events, to /api/v1/monitoring/metrics"
    found = _FIELD_OF.findall(fields)
    keys = [key for key, _ in found]
    if not names.knows(head):
        tags = _TAG.findall(head, len(measurement))
        if len(set(tags)) < len(tags):
            return "has the same tag twice"
        if not _NO_TAGS.isdisjoint(tags):
            return "has a tag whose name InfluxDB keeps for itself: time, _field or _measurement"
    if not _NO_FIELDS.isdisjoint(keys):
        return "has a field named time, which InfluxDB keeps for itself"
    if _MAY_OVERFLOW.search(fields) and not all(_fits(value) for _, value in found):
        return "has a number beyond what 64 bits hold"
    return names.refusal(head, measurement, keys)


def _fits(value: str) -> bool:
    if value[0] == '"' or value[0] in "tTfF":
        return True
    if value[-1] in "iu":
        digits = value[:-1]
        return len(digits) < 21 and int(digits) in (_INT64 if value[-1] == "i" else _UINT64)
    return math.isfinite(float(value))


def _refusal_of_time(time: int, oldest: int, latest: int) -> str | None:
    if time > latest:
        return "is more than 5 minutes ahead; check the clock of its machine, and the parameter precision"
    if time < oldest:
        return "is older than what is kept (METRICS_RETENTION_DAYS); check the parameter precision"
    return None
