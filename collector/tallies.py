"""Tallies: what comes by the hundred thousand, counted by what it has in common before anything else is made of it.

A point is a tally, too, of all that it stands for: so tallies add up.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

from scrapewatch.histogram import FIELDS
from scrapewatch.line_protocol import Encoder

_COUNTED: Final = ("count", "ok", "blocked")
_TIMED: Final = ("duration_sum", "duration_count", "duration_max")
_ALL: Final = (*_COUNTED, *_TIMED, "bytes")


class Pages:
    """Pages of a session, site, class of status, attempt and second, or of a point of ``pages``."""

    __slots__ = (
        "blocked",
        "bytes",
        "events",
        "first",
        "histogram",
        "last",
        "ok",
        "pages",
        "slowest",
        "time",
        "timed",
    )

    def __init__(self, time: int) -> None:
        self.first = self.last = time
        self.events = self.pages = self.ok = self.blocked = 0
        self.bytes: int | None = None
        self.time = 0.0
        self.timed = 0
        self.slowest = 0.0
        self.histogram: dict[int, int] = {}

    def add(self, other: Pages) -> None:
        """Count what ``other`` counted."""
        self.events += other.events
        self.pages += other.pages
        self.ok += other.ok
        self.blocked += other.blocked
        self.bytes = _sum(self.bytes, other.bytes)
        self.time += other.time
        self.timed += other.timed
        if other.slowest > self.slowest:
            self.slowest = other.slowest
        histogram = self.histogram
        for bucket, count in other.histogram.items():
            histogram[bucket] = histogram.get(bucket, 0) + count

    def line(self, encoder: Encoder, head: str, time: int) -> str:
        """Its point as a line that begins with ``head``, at ``time`` (ns)."""
        names: tuple[str, ...]
        values: tuple[float, ...]
        if self.bytes is not None and self.timed:  # as nearly always
            names = _ALL
            values = (self.pages, self.ok, self.blocked, self.time, self.timed, self.slowest, self.bytes)
        else:
            names, values = _COUNTED, (self.pages, self.ok, self.blocked)
            if self.timed:
                names += _TIMED
                values += (self.time, self.timed, self.slowest)
            if self.bytes is not None:
                names += ("bytes",)
                values += (self.bytes,)
        formats = encoder.formats
        histogram = [formats[FIELDS[bucket]] % count for bucket, count in self.histogram.items()]
        return encoder.template(names) % (head, *values, "".join(histogram), time)


class Jobs:
    """Jobs of a session, site, attempt and second, or of a point of ``jobs``."""

    __slots__ = ("dropped", "duplicate", "events", "first", "invalid", "last", "saved", "scraped")

    def __init__(self, time: int) -> None:
        self.first = self.last = time
        self.events = self.scraped = self.saved = 0
        self.duplicate: int | None = None
        self.dropped: int | None = None
        self.invalid: int | None = None

    def add(self, other: Jobs) -> None:
        """Count what ``other`` counted."""
        self.events += other.events
        self.scraped += other.scraped
        self.saved += other.saved
        self.duplicate = _sum(self.duplicate, other.duplicate)
        self.dropped = _sum(self.dropped, other.dropped)
        self.invalid = _sum(self.invalid, other.invalid)

    def line(self, encoder: Encoder, head: str, time: int) -> str:
        """Its point as a line that begins with ``head``, at ``time`` (ns)."""
        fields: dict[str, float] = {"scraped": self.scraped, "saved": self.saved}
        if self.duplicate is not None:
            fields["duplicate"] = self.duplicate
        if self.dropped is not None:
            fields["dropped"] = self.dropped
        if self.invalid is not None:
            fields["invalid"] = self.invalid
        return encoder.line(head, fields, time)


class Errors:
    """Errors of a session, site, type, message, attempt and second, or of a point of ``errors``; ``url`` is the first that was told."""

    __slots__ = ("errors", "events", "first", "last", "url")

    def __init__(self, time: int) -> None:
        self.first = self.last = time
        self.events = self.errors = 0
        self.url: str | None = None

    def add(self, other: Errors) -> None:
        """Count what ``other`` counted."""
        self.events += other.events
        self.errors += other.errors

    def line(self, encoder: Encoder, head: str, time: int) -> str:
        """Its point as a line that begins with ``head``, at ``time`` (ns)."""
        return encoder.line(head, {"count": self.errors}, time)


class Attempt:
    """What the pages, jobs and errors of a session, site and attempt are to its rows, whatever their second, status and message."""

    __slots__ = (
        "blocked",
        "dropped",
        "duplicate",
        "errors",
        "events",
        "first",
        "invalid",
        "last",
        "ok",
        "pages",
        "saved",
        "scraped",
        "time",
        "timed",
    )

    def __init__(self, time: int) -> None:
        self.first = self.last = time
        self.events = 0
        self.pages = self.ok = self.blocked = self.timed = 0
        self.time = 0.0
        self.scraped = self.saved = self.duplicate = self.dropped = self.invalid = 0
        self.errors = 0

    def add_pages(self, tally: Pages) -> None:
        """Count what ``tally`` counted."""
        self._saw(tally)
        self.pages += tally.pages
        self.ok += tally.ok
        self.blocked += tally.blocked
        self.time += tally.time
        self.timed += tally.timed

    def add_jobs(self, tally: Jobs) -> None:
        """Count what ``tally`` counted."""
        self._saw(tally)
        self.scraped += tally.scraped
        self.saved += tally.saved
        self.duplicate += tally.duplicate or 0
        self.dropped += tally.dropped or 0
        self.invalid += tally.invalid or 0

    def add_errors(self, tally: Errors) -> None:
        """Count what ``tally`` counted."""
        self._saw(tally)
        self.errors += tally.errors

    def _saw(self, tally: Pages | Jobs | Errors) -> None:
        self.events += tally.events
        if tally.first < self.first:
            self.first = tally.first
        if tally.last > self.last:
            self.last = tally.last


def _sum(one: int | None, other: int | None) -> int | None:
    if other is None:
        return one
    return other if one is None else one + other


Tally = TypeVar("Tally", Pages, Jobs, Errors)


def taken(tallies: dict[tuple[Any, ...], Tally], of: tuple[str, ...]) -> list[tuple[tuple[Any, ...], Tally]]:
    """The tallies whose keys begin with ``of``, which are taken out."""
    if of:
        return [(key, tallies.pop(key)) for key in [key for key in tallies if key[:2] == of]]
    taken = list(tallies.items())
    tallies.clear()
    return taken
