"""The collector's report on itself: an event ``collector``, so that dashboards show the product watching itself.

The report is an event as all others are: accepted, spooled, delivered and counted. So the invariant holds with it, and a collector
that stands still reports little more than its own reports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from collector.observed import TIMINGS, Observed
from scrapewatch import histogram

if TYPE_CHECKING:
    from collector.spool_view import SpoolStatus

EVERY: Final = 10.0
"""Seconds between reports."""


class Reporter:
    """Says every :data:`EVERY` seconds what changed since the report before.

    Args:
        observed: what the collector observes of itself.
        collector_no: the collector's number.
        host: name of the machine.
        status: the spool's figures at one moment, and what is wrong.
        dropped: live messages dropped so far.
        send: takes events of scrapewatch's own; False when it could not: then the next report has what this one had.
    """

    def __init__(
        self,
        observed: Observed,
        *,
        collector_no: int,
        host: str,
        status: Callable[[], tuple[SpoolStatus, Sequence[str]]],
        dropped: Callable[[], int],
        send: Callable[[Sequence[Mapping[str, Any]]], bool],
    ) -> None:
        self._observed = observed
        self._tags = {"collector": str(collector_no), "host": host}
        self._status = status
        self._dropped = dropped
        self._send = send
        self._longest = dict.fromkeys(TIMINGS, 0.0)
        self._told = self._totals(status()[0])

    def report(self) -> None:
        """Send what changed since the last report that was taken."""
        status, problems = self._status()
        totals = self._totals(status)
        value: dict[str, Any] = {
            **self._tags,
            **{name: round(total - self._told[name], 9) for name, total in totals.items()},
            "spooled": status.spooled,
            "spool_bytes": status.size_bytes,
            "flushes_pending": status.flushes_pending,
            "oldest_age": status.oldest_age,
            "unrecorded_age": status.unrecorded_age,
            "problems": len(problems),
        }
        for name, timing in self._observed.timings().items():
            self._longest[name] = max(self._longest[name], timing.take_recent())
            if value[f"{name}_count"]:
                value[f"{name}_max"] = self._longest[name]
        if self._send([{"metric": "collector", "value": value}]):
            self._told = totals
            self._longest = dict.fromkeys(TIMINGS, 0.0)

    def _totals(self, status: SpoolStatus) -> dict[str, float]:
        observed = self._observed
        totals: dict[str, float] = {
            "accepted": status.accepted,
            "delivered": status.delivered,
            "dead_lettered": status.dead_lettered,
            "duplicates": observed.duplicates,
            "requests": observed.requests,
            "rejected": observed.rejected.total(),
            "refused": observed.refused.total(),
            "live_dropped": self._dropped(),
            "sampler_seconds": observed.sampler_seconds,
        }
        for name, timing in observed.timings().items():
            timed = timing.snapshot()
            totals[f"{name}_sum"] = timed.total
            totals[f"{name}_count"] = timed.count
            if name == "ack":
                totals.update(zip(histogram.FIELDS, timed.buckets, strict=True))
        return totals
