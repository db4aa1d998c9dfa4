"""Ranges of time that analytics are asked for, and the questions of an answer asked at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from api.services import ApiServices
from scrapewatch.answers import COUNTS, TOTALS, ask
from scrapewatch.ports import Table, TimeRange
from scrapewatch.time import DAY, HOUR


@dataclass(frozen=True, slots=True)
class Span:
    """From ``start`` to ``now`` (ns), in windows of ``every`` of which the last is open, and the span of the same length before.

    ``start`` is that of a window, so that each window belongs to one of the two.
    """

    start: int
    now: int
    every: int

    @classmethod
    def of(cls, length: int, now: int, every: int) -> Span:
        """The windows that hold the last ``length`` ns."""
        start = now - length
        return cls(start - start % every, now, every)

    @classmethod
    def of_days(cls, days: int, now: int) -> Span:
        """The last ``days`` times 24 hours, and what is missing to a whole hour."""
        return cls.of(days * DAY, now, HOUR)

    @property
    def both(self) -> TimeRange:
        """This span and the one before."""
        this = TimeRange.widened(self.start, self.now, self.every)
        return TimeRange(2 * this.start - this.stop, this.stop, self.every)

    @property
    def this(self) -> TimeRange:
        """This span alone."""
        return TimeRange.widened(self.start, self.now, self.every)

    @property
    def before(self) -> TimeRange:
        """The span before alone."""
        return TimeRange(self.both.start, self.start, self.every)

    @property
    def hours(self) -> float:
        """How long it is until now."""
        return (self.now - self.start) / HOUR

    @property
    def hours_before(self) -> float:
        """How long the one before is, whose windows are all over."""
        return (self.this.stop - self.this.start) / HOUR


async def ask_all(
    services: ApiServices, tenant: str, questions: Iterable[str], time_range: TimeRange, *, site: str = ""
) -> dict[str, Table]:
    """The rows of each of ``questions``, asked at once; ``site``: of this one only.

    Raises:
        StoreUnavailable: the store of points does not answer.
    """
    names = tuple(questions)
    series = services.patience["series"]
    asked = [
        series.call(ask, services.series, name, {"site": site} if site else {}, time_range, tenant=tenant)
        for name in names
    ]
    return dict(zip(names, await asyncio.gather(*asked), strict=True))


@dataclass(frozen=True, slots=True)
class Totals:
    """The rows of :data:`~scrapewatch.answers.TOTALS` of a span, and of :data:`~scrapewatch.answers.COUNTS` of the one before.

    No more than those is compared.
    """

    now: dict[str, Table]
    before: dict[str, Table]


async def ask_totals(services: ApiServices, tenant: str, span: Span) -> Totals:
    """What the sites came to in ``span`` and before.

    Raises:
        StoreUnavailable: the store of points does not answer.
    """
    return Totals(
        *await asyncio.gather(
            ask_all(services, tenant, TOTALS, span.this),
            ask_all(services, tenant, COUNTS, span.before),
        )
    )
