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
PARTS = MappingProxyType(
    {"1h": 5 * MINUTE, "6h": 30 * MINUTE, "24h": 2 * HOUR, "7d": 12 * HOUR, "30d": 2 * DAY}
)
"""The windows of totals: about a dozen of them, since there may be many sites; each is some whole windows of a series."""


def lately(timeframe: Timeframe, now: int) -> tuple[TimeRange, TimeRange]:
    """The last ``timeframe`` in the windows of a series, and with the one before in those of totals.

    Both end where the part ends that ``now`` (ns) lies in, so up to a part of the timeframe is still to come; of the series, the windows
    that are to come are left out.
    """
    every, part = WINDOWS[timeframe], PARTS[timeframe]
    stop = now - now % part + part
    start = stop - LENGTHS[timeframe]
    return TimeRange(start, now - now % every + every, every), TimeRange(
        start - LENGTHS[timeframe], stop, part
    )
