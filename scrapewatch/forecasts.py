"""What comes, as far as samples carry it: the trend of a level, when it meets a limit, and how long a rest of work takes.

Nothing is said where the samples do not carry it: a forecast that is often wrong is worse than none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median, variance

from scrapewatch.time import SECOND

LEAST_SAMPLES = 12
"""Samples below which there is no trend."""
MOST_SAMPLES = 240
"""Samples of which every pair is looked at; of more, every so manieth."""
REACH = 10
"""A forecast reaches at most so many times as far ahead as its samples reach back."""
LEAST_COUNTS = 4
"""Windows below which no rate is known."""

_SURE = 1.96
"""Standard deviations to each side that hold 95 % of a normal distribution."""
_LIKELY = 1.2816
"""The same for 80 %."""


@dataclass(frozen=True, slots=True)
class Trend:
    """How fast a level rises, per second, with the interval that holds the true rate in 95 of 100 cases."""

    per_second: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a level meets its limit: seconds from now, with the earliest and the latest (None: perhaps never)."""

    seconds: float
    earliest: float
    latest: float | None


@dataclass(frozen=True, slots=True)
class Remaining:
    """How long the rest of some work takes, s, with the interval that holds the truth in 80 of 100 cases."""

    seconds: float
    low: float
    high: float


def trend(samples: Sequence[tuple[int, float]]) -> Trend | None:
    """The trend of ``samples`` (time in ns, level) in any order; None where they are too few.

    By Theil and Sen: the median of the slopes of all pairs, which up to 29 % of wild samples do not move; the interval is that of
    Kendall's test, as in Sen (1968), https://doi.org/10.1080/01621459.1968.10480934.
    """
    ordered = sorted(samples)
    ordered = ordered[:: max(math.ceil(len(ordered) / MOST_SAMPLES), 1)]
    n = len(ordered)
    if n < LEAST_SAMPLES:
        return None
    slopes = sorted(
        (level - before) * SECOND / (at - then)
        for k, (at, level) in enumerate(ordered)
        for then, before in ordered[:k]
        if at > then
    )
    if not slopes:
        return None
    off = _SURE * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low = max(math.floor((len(slopes) - off) / 2), 0)
    high = min(math.ceil((len(slopes) + off) / 2), len(slopes) - 1)
    return Trend(median(slopes), slopes[low], slopes[high])


def until(samples: Sequence[tuple[int, float]], limit: float, now: int) -> Forecast | None:
    """When the level of ``samples`` (time in ns, level) meets ``limit`` from below, seen from ``now`` (ns).

    None unless it surely rises, over all samples and over the later half alone (what rose and stands still again meets nothing), and
    the limit is within reach of them. A level beyond the limit meets it in 0 seconds.
    """
    ordered = sorted(samples)
    whole = trend(ordered)
    lately = trend(ordered[len(ordered) // 2 :])
    if whole is None or whole.low <= 0 or (lately is not None and lately.low <= 0):
        return None
    # The level now by the trend through all, not by the last sample, which may be a wild one.
    level = median(level + whole.per_second * (now - at) / SECOND for at, level in ordered)
    missing = max(limit - level, 0.0)
    seconds = missing / whole.per_second
    if seconds > REACH * (ordered[-1][0] - ordered[0][0]) / SECOND:
        return None
    return Forecast(seconds, missing / whole.high, missing / whole.low)


def remaining(rest: float, counts: Sequence[float], every: int) -> Remaining | None:
    """How long ``rest`` takes at the rate of ``counts``, what was done in each of the last windows of ``every`` ns.

    The interval comes from how much the counts spread: of the work to come, which is as uneven as that so far, and of the rate, which so
    few windows tell only so well. None where the rate is not known: too few windows, or nothing done.
    """
    if rest <= 0:
        return Remaining(0.0, 0.0, 0.0)
    if len(counts) < LEAST_COUNTS:
        return None
    rate = fmean(counts)
    if rate <= 0:
        return None
    spread = variance(counts)
    windows = rest / rate
    off = _LIKELY * math.sqrt(rest * spread / rate**3 + windows**2 * spread / len(counts) / rate**2)
    scale = every / SECOND
    return Remaining(windows * scale, max(windows - off, 0.0) * scale, (windows + off) * scale)
