"""Answers: what is computed from the rows of questions, once and in one language.

The stores answer sums, counts, maxima and histogram buckets; rates, ratios and quantiles are made of them here, so that every
store, panel and route agrees.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scrapewatch import histogram
from scrapewatch.ports import SeriesStore, Table, TimeRange
from scrapewatch.problems import InvalidInput
from scrapewatch.questions import QUESTIONS, tier_for
from scrapewatch.time import MINUTE, now_ns


def ask(
    store: SeriesStore, question: str, parameters: Mapping[str, str], time_range: TimeRange, *, tenant: str
) -> Table:
    """The rows of ``question`` from the tier that fits ``time_range``.

    Raises:
        InvalidInput: no such question, a required parameter is missing, or one is not known.
        StoreUnavailable: the store does not answer.

    """
    bound = bind(question, parameters)
    tier = tier_for(QUESTIONS[question], time_range, now_ns())
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
