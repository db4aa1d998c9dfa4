"""Tallies: what comes by the hundred thousand, counted by what it has in common before anything else is made of it."""

from __future__ import annotations

from typing import Any, TypeVar


class Pages:
    """Pages of a session, site, class of status, attempt and second."""

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


class Jobs:
    """Jobs of a session, site, attempt and second."""

    __slots__ = ("dropped", "duplicate", "events", "first", "invalid", "last", "saved", "scraped")

    def __init__(self, time: int) -> None:
        self.first = self.last = time
        self.events = self.scraped = self.saved = 0
        self.duplicate: int | None = None
        self.dropped: int | None = None
        self.invalid: int | None = None


class Errors:
    """Errors of a session, site, type, message, attempt and second; ``url`` is the first that was told."""

    __slots__ = ("errors", "events", "first", "last", "url")

    def __init__(self, time: int) -> None:
        self.first = self.last = time
        self.events = self.errors = 0
        self.url: str | None = None


Tally = TypeVar("Tally")


def taken(tallies: dict[tuple[Any, ...], Tally], of: tuple[str, ...]) -> list[tuple[tuple[Any, ...], Tally]]:
    """The tallies whose keys begin with ``of``, which are taken out."""
    if of:
        return [(key, tallies.pop(key)) for key in [key for key in tallies if key[:2] == of]]
    taken = list(tallies.items())
    tallies.clear()
    return taken
