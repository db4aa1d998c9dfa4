"""Times that routes look back, by the names that callers give them."""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal

from scrapewatch.ports import TimeRange
from scrapewatch.time import DAY, HOUR, MINUTE

Timeframe = Literal["1h", "6h", "24h", "7d", "30d"]

LENGTHS = MappingProxyType({"1h": HOUR, "6h": 6 * HOUR, "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY})
WINDOWS = MappingProxyType({"1h": MINUTE, "6h": 5 * MINUTE, "24h": 15 * MINUTE, "7d": HOUR, "30d": 6 * HOUR})
"""The windows of a series: 60 to 168 of them, each of which divides its timeframe."""


def lately(timeframe: Timeframe, now: int, *, times: int = 1) -> TimeRange:
    """The last ``timeframe`` (or so many of them) in whole windows, of which the last is the open one."""
    every = WINDOWS[timeframe]
    stop = now - now % every + every
    return TimeRange(stop - times * LENGTHS[timeframe], stop, every)
