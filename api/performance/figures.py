"""Performance over a timeframe and the one before, made of the rows of questions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from scrapewatch.answers import Counts, change_percent, share
from scrapewatch.ports import Table, TimeRange
from scrapewatch.time import HOUR

COLUMNS: Mapping[str, str] = {
    "scraped": "jobs",
    "pages": "pages",
    "ok": "ok",
    "blocked": "blocked",
    "errors": "errors",
    "duration_sum": "duration",
    "duration_count": "timed",
    "items": "items",
    "valid": "valid",
    "duplicates": "duplicates",
}
"""Column of the questions → what it is added to."""


@dataclass(slots=True)
class Sums(Counts):
    """What was seen of a site, or of all, in a window or more, with the quality of its items."""

    items: int = 0
    valid: int = 0
    duplicates: int = 0

    def add(self, other: Self) -> None:
        """Add ``other`` to this."""
        Counts.add(self, other)
        self.items += other.items
        self.valid += other.valid
        self.duplicates += other.duplicates

    @property
    def valid_share(self) -> float | None:
        """Share of items that are valid."""
        return share(self.valid, self.items)

    @property
    def duplicate_share(self) -> float | None:
        """Share of items that are duplicates."""
        return share(self.duplicates, self.items)


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
    """The figures of a period and the one before.

    Args:
        series: rows of ``performance`` over ``windows``.
        totals: rows of ``site_performance`` over twice the time, of which the later half is the period.
        windows: the period in the windows of the series, the last of them open.
        before: where the period before begins (ns).
        now: in the last window (ns): rates are over the time that has passed.
    """

    def __init__(self, series: Table, totals: Table, windows: TimeRange, *, before: int, now: int) -> None:
        self.time_range = windows
        self.start_before = before
        self.now = now
        self.windows: dict[int, Sums] = {row["time"]: _sums(row) for row in series.dicts()}
        self.sites: defaultdict[str, tuple[Sums, Sums]] = defaultdict(lambda: (Sums(), Sums()))
        self.total = Sums()
        self.before = Sums()
        self.known_before = False
        for row in totals.dicts():
            found = _sums(row)
            known, of_site = self.sites[row["site"]]
            if row["time"] < windows.start:
                self.known_before = True
                self.before.add(found)
                known.add(found)
            else:
                self.total.add(found)
                of_site.add(found)

    @property
    def passed(self) -> int:
        """Length of the period so far (ns)."""
        return self.now - self.time_range.start

    def jobs_per_hour(self, now: Sums, before: Sums) -> Compared:
        """Postings per hour; before is None where nothing at all is known of that time."""
        length = self.time_range.start - self.start_before
        return Compared(
            now.jobs * HOUR / self.passed if self.passed else None,
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
        return range(self.time_range.start, self.time_range.stop, self.time_range.every)


def _sums(row: Mapping[str, Any]) -> Sums:
    return Sums(**{name: row[column] or 0 for column, name in COLUMNS.items()})
