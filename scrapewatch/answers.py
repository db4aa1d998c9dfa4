"""Answers: what is computed from the rows of questions, once and in one language.

The stores answer sums, counts, maxima and histogram buckets; rates, ratios and quantiles are made of them here, so that every
store, panel and route agrees.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def success_rate(ok: int, pages: int, errors: int) -> float | None:
    """Share (0–1) of attempts that brought a good page, or None when there were none.

    A failed attempt may be reported as a page with a bad status, as an error, or as both; the larger of the two counts is what is
    sure, and nothing is counted twice.
    """
    attempts = ok + max(pages - ok, errors)
    return ok / attempts if attempts else None


def quantiles(row: Mapping[str, Any], *, timing: str = "duration") -> dict[str, float | None]:
    """p50, p95 and p99 in seconds of a row of ``response_times``, or with ``timing="ack"`` of one of ``collector_latencies``."""
    counts = [row[name] or 0 for name in histogram.FIELDS]
    maximum = row.get(f"{timing}_max")
    return {f"p{round(q * 100)}": histogram.quantile(counts, q, maximum=maximum) for q in (0.5, 0.95, 0.99)}
