"""Ranges of time as people write them: the last 24 hours, or from one moment to another, in windows of some length."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from scrapewatch.ports import TimeRange
from scrapewatch.problems import InvalidInput
from scrapewatch.questions import window_for
from scrapewatch.time import MINUTE, parse_interval, to_ns

LAST: Final = "24h"
"""The range of who names none."""

MOST_WINDOWS: Final = 10_000
"""Windows that may be asked for at once."""


def range_of(
    *,
    last: str | None = None,
    start: str | None = None,
    stop: str | None = None,
    every: str | None = None,
    longest: int | None = None,
    now: int,
) -> TimeRange:
    """The range of whole windows that holds what is asked for; ``now`` in ns.

    ``start`` and ``stop`` are RFC 3339 (in UTC where they name no zone), ``stop`` is now where it is not given. ``last`` and ``every`` are
    lengths such as ``24h``; windows are chosen by the length of the range where ``every`` is not given. ``longest`` (ns): the longest
    range that is answered at once, None where any is.

    Raises:
        InvalidInput: one of them cannot be read, they contradict each other, they make too many windows, or they are longer than is
            answered at once.
    """
    if last is not None and (start is not None or stop is not None):
        raise InvalidInput("name the range by its length or by its ends, not by both", "last")
    if stop is not None and start is None:
        raise InvalidInput("a range that ends somewhere begins somewhere: name that, too", "from")
    until = now if stop is None else _moment(stop, "to")
    if start is not None:
        begun = _moment(start, "from")
    elif last is None:
        begun = until - (_length(LAST, "last") if longest is None else longest)
    else:
        begun = until - _length(last, "last")
    if begun >= until:
        raise InvalidInput("the range ends before it begins", "to")
    window = window_for(begun, until) if every is None else _length(every, "every")
    if (until - begun) // window > MOST_WINDOWS:
        raise InvalidInput(f"that would be more than {MOST_WINDOWS} windows: ask for longer ones", "every")
    # Somebody may have widened the range to whole windows before.
    if longest is not None and (window > longest or until - begun > longest + 2 * window):
        raise InvalidInput(
            f"this is answered for {longest // MINUTE} minutes at once, in windows no longer than that: ask for parts of the range",
            "last" if start is None else "from",
        )
    return TimeRange.widened(begun, until, window)


def _length(text: str, field: str) -> int:
    try:
        return parse_interval(text)
    except ValueError:
        raise InvalidInput("is a number and s, m, h or d, such as 24h", field) from None


def _moment(text: str, field: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
        found = to_ns(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise InvalidInput("is a time such as 2026-01-05T10:00:00Z", field) from None
    # What stores can hold.
    if not 0 <= found < 2**62:
        raise InvalidInput("is no time that there are points of", field)
    return found
