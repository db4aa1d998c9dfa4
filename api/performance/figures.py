"""Performance over a timeframe and the one before, made of the rows of questions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from scrapewatch.answers import change_percent, mean, share, success_rate
from scrapewatch.ports import Table, TimeRange
from scrapewatch.time import HOUR

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "throughput": {"scraped": "jobs"},
    "success_rate": {"pages": "pages", "ok": "ok", "blocked": "blocked", "errors": "errors"},
    "page_times": {"duration_sum": "duration", "duration_count": "timed"},
    "data_quality": {"items": "items", "valid": "valid", "duplicates": "duplicates"},
}
"""Question → column → what it is added to."""


@dataclass(slots=True)
class Sums:
    """What was seen of a site, or of all, in a window or more. ``duration`` in seconds."""

    jobs: int = 0
    pages: int = 0
    ok: int = 0
    blocked: int = 0
    errors: int = 0
    duration: float = 0.0
    timed: int = 0
    items: int = 0
    valid: int = 0
    duplicates: int = 0

    def add(self, other: Sums) -> None:
        """Add ``other`` to this."""
        for name in _NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def success_rate(self) -> float | None:
        """Share of attempts that brought a good page."""
        return success_rate(self.ok, self.pages, self.errors)

    @property
    def attempts(self) -> int:
        """Attempts in all; one reported both as a page and as an error is one."""
        return self.ok + max(self.pages - self.ok, self.errors)

    @property
    def response_time(self) -> float | None:
        """Mean time of a page in seconds."""
        return mean(self.duration, self.timed)

    @property
    def valid_share(self) -> float | None:
        """Share of items that are valid."""
        return share(self.valid, self.items)

    @property
    def duplicate_share(self) -> float | None:
        """Share of items that are duplicates."""
        return share(self.duplicates, self.items)


_NAMES = tuple(field.name for field in fields(Sums))


@dataclass(frozen=True, slots=True)
class Compared:
    """A figure now and in the period before, and by how many percent of that it changed; None where it is not known."""

    current: float | None
    previous: float | None

    @property
    def change_percent(self) -> float | None:
        """By how many percent of ``previous`` it is more."""
        return change_percent(self.current, self.previous)


@dataclass(frozen=True, slots=True)
class Point:
    """The value of a window that begins at ``time`` (ns); None where nothing is known of it."""

    time: int
    value: float | None


class Performance:
    """The figures of ``tables`` (of :data:`COLUMNS`) over ``time_range``, whose later half is the period and whose earlier one that before.

    ``now`` (ns) lies in its last window, which is open: rates are over the time that has passed of it.
    """

    def __init__(self, tables: Mapping[str, Table], time_range: TimeRange, now: int) -> None:
        self.time_range = time_range
        self.middle = time_range.start + (time_range.stop - time_range.start) // 2
        self.now = min(now, time_range.stop)
        self.windows: dict[int, Sums] = {}
        self.sites: defaultdict[str, tuple[Sums, Sums]] = defaultdict(lambda: (Sums(), Sums()))
        self.total = Sums()
        self.before = Sums()
        self.known_before = False
        for question, columns in COLUMNS.items():
            if question in tables:
                self._take(tables[question].dicts(), columns)

    def _take(self, rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
        for row in rows:
            found = Sums(**{name: row[column] or 0 for column, name in columns.items()})
            of_site = self.sites[row["site"]]
            if row["time"] < self.middle:
                self.known_before = True
                self.before.add(found)
                of_site[0].add(found)
            else:
                self.total.add(found)
                of_site[1].add(found)
                self.windows.setdefault(row["time"], Sums()).add(found)

    @property
    def seconds_ns(self) -> int:
        """Length of the period so far (ns)."""
        return self.now - self.middle

    def jobs_per_hour(self, now: Sums, before: Sums) -> Compared:
        """Postings per hour; before is None where nothing at all is known of that time."""
        length = self.middle - self.time_range.start
        return Compared(
            now.jobs * HOUR / self.seconds_ns if self.seconds_ns else None,
            before.jobs * HOUR / length if self.known_before else None,
        )

    def throughput(self) -> list[Point]:
        """Postings per hour by window."""
        every = self.time_range.every
        series = []
        for start in self._starts():
            passed = min(start + every, self.now) - start
            found = self.windows.get(start)
            # So little of a window that one posting more or less is a leap says nothing.
            known = passed >= every / 10
            series.append(Point(start, (found.jobs if found else 0) * HOUR / passed if known else None))
        return series

    def series(self, figure: Callable[[Sums], float | None]) -> list[Point]:
        """``figure`` by window."""
        empty = Sums()
        return [Point(start, figure(self.windows.get(start, empty))) for start in self._starts()]

    def _starts(self) -> range:
        return range(self.middle, self.time_range.stop, self.time_range.every)
