"""Answers: what is computed from the rows of questions, once and in one language.

The stores answer sums, counts, maxima and histogram buckets; rates, ratios and quantiles are made of them here, so that every
store, panel and route agrees.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from scrapewatch import histogram
from scrapewatch.measurements import Tier
from scrapewatch.ports import SeriesStore, Table, TimeRange
from scrapewatch.problems import InvalidInput
from scrapewatch.questions import QUESTIONS, tier_for
from scrapewatch.time import MINUTE, now_ns


def ask(
    store: SeriesStore,
    question: str,
    parameters: Mapping[str, str],
    time_range: TimeRange,
    *,
    tenant: str,
    tier: Tier | None = None,
) -> Table:
    """The rows of ``question`` from the tier that fits ``time_range``, or from ``tier`` for who knows better, such as for one total.

    Raises:
        InvalidInput: no such question, a required parameter is missing, one is not known, or it does not read that tier.
        StoreUnavailable: the store does not answer.

    """
    bound = bind(question, parameters)
    known = QUESTIONS[question]
    if tier is None:
        tier = tier_for(known, time_range, now_ns())
    elif tier not in known.tiers:
        raise InvalidInput(f"{question} does not read {tier}", "tier")
    return store.ask(question, bound, time_range, tier=tier, tenant=tenant)


def bind(question: str, parameters: Mapping[str, str]) -> dict[str, str]:
    """All parameters of ``question``, with defaults for those that ``parameters`` has not.

    Raises:
        InvalidInput: no such question, a required parameter is missing, or one is not known.
    """
    known = QUESTIONS.get(question)
    if known is None:
        raise InvalidInput(
            f"there is no such question; there are: {', '.join(sorted(QUESTIONS))}", "question"
        )
    bound: dict[str, str] = {}
    for parameter in known.parameters:
        value = parameters.get(parameter.name, parameter.default)
        if value is None:
            raise InvalidInput(f"{question} needs the parameter {parameter.name}", parameter.name)
        bound[parameter.name] = value
    for name in parameters:
        if name not in bound:
            raise InvalidInput(
                f"{question} has no parameter of that name; it has: {', '.join(bound)}", "parameters"
            )
    return bound


def change_percent(now: float | None, before: float | None) -> float | None:
    """By how much ``now`` is more than ``before``, in percent of that; None where either is not known, or ``before`` is 0."""
    if now is None or not before:
        return None
    return 100.0 * (now - before) / before


def share(part: int | float, whole: int | float) -> float | None:
    """``part`` of ``whole``, 0–1, where parts are counted by others and may be too many; None of nothing."""
    return min(part / whole, 1.0) if whole else None


def mean(total: float, count: int) -> float | None:
    """The mean of ``count`` values that add up to ``total``; None of none."""
    return total / count if count else None


def per_minute(count: int | float, every: int) -> float:
    """``count`` in a window of ``every`` ns as a rate per minute."""
    return count * MINUTE / every


def attempts(ok: int, pages: int, errors: int) -> int:
    """Attempts in all.

    A failed attempt may be reported as a page with a bad status, as an error, or as both; the larger of the two counts is what is
    sure, and nothing is counted twice.
    """
    return ok + max(pages - ok, errors)


def success_rate(ok: int, pages: int, errors: int) -> float | None:
    """Share (0–1) of :func:`attempts` that brought a good page, or None when there were none."""
    made = attempts(ok, pages, errors)
    return ok / made if made else None


def quantiles(row: Mapping[str, Any], *, timing: str = "duration") -> dict[str, float | None]:
    """p50, p95 and p99 in seconds of a row of ``response_times``, or with ``timing="ack"`` of one of ``collector_latencies``."""
    counts = [row[name] or 0 for name in histogram.FIELDS]
    maximum = row.get(f"{timing}_max")
    return {f"p{round(q * 100)}": histogram.quantile(counts, q, maximum=maximum) for q in (0.5, 0.95, 0.99)}


@dataclass(slots=True)
class Counts:
    """What was seen of a site, a session, or everything in some time, and what follows from it.

    ``duration`` is the time in seconds that the ``timed`` pages took together. Rates and shares are 0–1, and None where there is nothing
    to divide by.
    """

    jobs: int = 0
    pages: int = 0
    ok: int = 0
    blocked: int = 0
    errors: int = 0
    duration: float = 0.0
    timed: int = 0

    def add(self, other: Self) -> None:
        """Add those of ``other``."""
        self.jobs += other.jobs
        self.pages += other.pages
        self.ok += other.ok
        self.blocked += other.blocked
        self.errors += other.errors
        self.duration += other.duration
        self.timed += other.timed

    @property
    def attempts(self) -> int:
        """Attempts in all; one reported both as a page and as an error is one."""
        return attempts(self.ok, self.pages, self.errors)

    @property
    def success_rate(self) -> float | None:
        """Share of attempts that brought a good page."""
        return success_rate(self.ok, self.pages, self.errors)

    @property
    def block_rate(self) -> float | None:
        """Share of pages that were block pages."""
        return self.blocked / self.pages if self.pages else None

    @property
    def response_time(self) -> float | None:
        """Mean time of a page, s."""
        return mean(self.duration, self.timed)


@dataclass(slots=True)
class Figures(Counts):
    """What scraping a site, or several, came to in some time: sums of the rows of questions, and what follows from them."""

    saved: int = 0
    errors_by_type: Counter[str] = field(default_factory=Counter)
    slowest: float | None = None
    buckets: list[int] = field(default_factory=lambda: [0] * len(histogram.FIELDS))

    def add(self, other: Self) -> None:
        """Add those of ``other``."""
        Counts.add(self, other)
        self.saved += other.saved
        self.errors_by_type.update(other.errors_by_type)
        self.slowest = max((s for s in (self.slowest, other.slowest) if s is not None), default=None)
        self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]

    def response_time_at(self, q: float) -> float | None:
        """The time that the share ``q`` of pages did not exceed, s, off by at most the width of a bucket of the histogram."""
        return histogram.quantile(self.buckets, q, maximum=self.slowest)

    def __bool__(self) -> bool:
        return bool(self.jobs or self.pages or self.errors)


TOTALS: Final = ("site_totals", "error_totals")
"""The questions that say all of the figures of a range."""

COUNTS: Final = ("site_counts",)
"""What says most of them at half the cost: all but the errors by type, and how response times are spread."""


def figures_by_site(
    tables: Mapping[str, Table], start: int | None = None, stop: int | None = None
) -> dict[str, Figures]:
    """The figures of each site in the windows that begin from ``start`` to before ``stop`` (ns; None: all of them).

    ``tables`` has the rows by the name of the question: :data:`TOTALS`, :data:`COUNTS`, or some of ``throughput``, ``success_rate``,
    ``response_times``, ``page_times`` and ``errors``, by window.
    """
    found: defaultdict[str, Figures] = defaultdict(Figures)
    for question, table in tables.items():
        for row in table.dicts():
            if (start is None or row["time"] >= start) and (stop is None or row["time"] < stop):
                _READERS[question](found[row["site"]], row)
    return dict(sorted(found.items()))


def figures_of_all(by_site: Iterable[Figures]) -> Figures:
    """The figures of several sites together."""
    whole = Figures()
    for figures in by_site:
        whole.add(figures)
    return whole


def _read_throughput(figures: Figures, row: Mapping[str, Any]) -> None:
    figures.jobs += row["scraped"] or 0
    figures.saved += row["saved"] or 0


def _read_success_rate(figures: Figures, row: Mapping[str, Any]) -> None:
    figures.pages += row["pages"] or 0
    figures.ok += row["ok"] or 0
    figures.blocked += row["blocked"] or 0
    figures.errors += row["errors"] or 0


def _read_page_times(figures: Figures, row: Mapping[str, Any]) -> None:
    figures.timed += row["duration_count"] or 0
    figures.duration += row["duration_sum"] or 0.0


def _read_response_times(figures: Figures, row: Mapping[str, Any]) -> None:
    _read_page_times(figures, row)
    if row["duration_max"] is not None:
        figures.slowest = max(figures.slowest or 0.0, row["duration_max"])
    figures.buckets = [
        known + (row[name] or 0) for known, name in zip(figures.buckets, histogram.FIELDS, strict=True)
    ]


def _read_errors(figures: Figures, row: Mapping[str, Any]) -> None:
    figures.errors_by_type[row["type"]] += row["count"] or 0


def _read_counts(figures: Figures, row: Mapping[str, Any]) -> None:
    _read_throughput(figures, row)
    _read_success_rate(figures, row)
    _read_page_times(figures, row)


def _read_totals(figures: Figures, row: Mapping[str, Any]) -> None:
    _read_throughput(figures, row)
    _read_success_rate(figures, row)
    _read_response_times(figures, row)


_READERS: Final[Mapping[str, Callable[[Figures, Mapping[str, Any]], None]]] = {
    "throughput": _read_throughput,
    "success_rate": _read_success_rate,
    "response_times": _read_response_times,
    "page_times": _read_page_times,
    "errors": _read_errors,
    "site_totals": _read_totals,
    "site_counts": _read_counts,
    "error_totals": _read_errors,
}


def percentile(counts: Mapping[float, int], q: float) -> float | None:
    """The least value that at least the share ``q`` of all do not exceed; ``counts`` says how often each value comes."""
    total = sum(counts.values())
    reached = 0
    for value in sorted(counts):
        reached += counts[value]
        if reached >= q * total and reached > 0:
            return value
    return None


@dataclass(slots=True)
class SiteCost:
    """What a site cost in one currency.

    ``own``: amounts reported for the site, by kind. ``shared``: its part of what was reported for none, by its share of all pages.
    """

    own: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    shared: float = 0.0

    @property
    def total(self) -> float:
        """Both."""
        return sum(self.own.values()) + self.shared


def site_costs(costs: Table, pages: Mapping[str, int], *, currency: str) -> dict[tuple[str, str], SiteCost]:
    """(currency, site) → its cost, of the rows of ``costs``. ``currency`` is the tenant's own.

    Amounts of no site are divided among the sites by their ``pages``; with no pages at all they stay under the empty site. What proxies
    say that they cost counts where nothing of the kind ``proxy`` was reported as a cost, which would be the same money again.
    """
    rows = list(costs.dicts())
    reported = any(row["kind"] == "proxy" for row in rows)
    found: defaultdict[tuple[str, str], SiteCost] = defaultdict(SiteCost)
    shared: defaultdict[str, float] = defaultdict(float)
    for row in rows:
        amount, kind = row["amount"] or 0.0, row["kind"]
        if kind == "proxies" and reported:
            continue
        if row["site"]:
            found[row["currency"] or currency, row["site"]].own[kind] += amount
        else:
            shared[row["currency"] or currency] += amount
    total = sum(pages.values())
    for code, amount in shared.items():
        if not total:
            found[code, ""].shared += amount
            continue
        for site, number in pages.items():
            if number:
                found[code, site].shared += amount * number / total
    return dict(sorted(found.items()))


def per_thousand(cost: float, results: int) -> float | None:
    """Cost of 1,000 results; None without any."""
    return cost * 1_000 / results if results else None


def return_on_investment(monthly_return: float, investment: float) -> float:
    """((monthly return × 12) − investment) / investment: 0.5 is half the investment gained within a year."""
    return (monthly_return * 12 - investment) / investment
