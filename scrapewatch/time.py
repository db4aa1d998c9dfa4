"""Time as scrapewatch keeps it: integer nanoseconds since 1970-01-01T00:00:00Z, shown to people as RFC 3339 in UTC."""

from __future__ import annotations

import re
import time as _clock
from datetime import UTC, datetime

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

LENGTH_PATTERN = "^[1-9][0-9]{0,4}[smhd]$"
"""What :func:`parse_interval` reads, for schemas."""

_INTERVAL = re.compile(r"([1-9][0-9]{0,4})([smhd])")
_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now_ns() -> int:
    """The time now, in nanoseconds."""
    return _clock.time_ns()


def to_ns(moment: datetime) -> int:
    """Nanoseconds of an aware ``datetime``; exact to its microsecond (``timestamp()`` would round)."""
    since = moment - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000


def to_datetime(ns: int) -> datetime:
    """The aware UTC ``datetime`` at ``ns``, cut to microseconds."""
    seconds, rest = divmod(ns, SECOND)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1_000)


def to_rfc3339(ns: int) -> str:
    """``ns`` as RFC 3339 text in UTC, with microseconds only where there are any."""
    text = to_datetime(ns).isoformat()
    return text.replace("+00:00", "Z")


def window_start(ns: int, every: int) -> int:
    """Start of the UTC window of length ``every`` (ns) that holds ``ns``."""
    return ns - ns % every


def parse_interval(text: str) -> int:
    """Length in nanoseconds of ``"30s"``, ``"5m"``, ``"1h"`` or ``"7d"``.

    Raises:
        ValueError: for anything else, and for a length of zero.

    """
    match = _INTERVAL.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text[:20]!r} is not a length of time: write a number and s, m, h or d, such as 5m"
        )
    return int(match[1]) * _UNITS[match[2]]
