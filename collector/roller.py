"""The roller: keeps the rollups ``fleet_1m`` and ``fleet_1h``.

A flush whose points are stored marks its windows dirty. One roller at a time, by lease, computes them again from the fine tier as
absolute values at the window's start, and clears a mark only if it has not changed since: whenever an event comes, however late,
and however often the roller dies, the rollup ends as the sum of its points.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final

import structlog

from scrapewatch import histogram
from scrapewatch.line_protocol import Point, Value, encode
from scrapewatch.measurements import KEEPING, MEASUREMENTS, QUANTILES, Tier, rollup_fields
from scrapewatch.ports import Batch, DirtyWindow, Flush, RecordChanges, RecordStore, SeriesStore, TimeRange
from scrapewatch.problems import StoreUnavailable, TenantRefused
from scrapewatch.time import MINUTE, now_ns, window_start
from scrapewatch.tracing import span

log = structlog.get_logger(__name__)

LEASE: Final = "roller"
LEASE_SECONDS: Final = 30.0
HOUR_EVERY: Final = 30.0
"""Seconds between computations of hours: the open one is dirty all the time, and takes the most reading."""
MINUTE_EVERY: Final = 15.0
"""Seconds between computations of the open minute, which each flush makes dirty: those that are over do not wait."""

REFUSED_FOR: Final = 5.0
"""Seconds after which a tenant is asked for again whose points the store refused."""

_MOST_WINDOWS: Final = 500
_LONGEST_RANGE: Final = 120


class Roller:
    """Computes dirty windows again; ``holder`` names this process in the lease."""

    def __init__(self, series: SeriesStore, records: RecordStore, *, holder: str) -> None:
        self._series = series
        self._records = records
        self._holder = holder
        self._hours_at = float("-inf")
        self._minute_at = float("-inf")
        self._ask_again: dict[str, float] = {}
        self.rolled = 0
        self.refused: dict[str, str] = {}
        """Tenants whose points the store refuses to give or take, and why: their windows stay dirty, the others' are rolled up."""

    def roll(self, *, hours: bool | None = None) -> int:
        """Compute what is dirty; the number of windows done.

        ``hours``: whether to do hours and the open minute, too, by default when it is time to.

        Raises:
            StoreUnavailable: a store does not answer; the marks stay.
        """
        if not self._hold():
            return 0
        now = time.monotonic()
        if hours is None:
            hours = now - self._hours_at >= HOUR_EVERY
        open_minute = hours or now - self._minute_at >= MINUTE_EVERY
        settled_before: dict[Tier, int] = {}
        if not hours:
            settled_before[Tier.FLEET_1H] = -(2**62)
        if not open_minute:
            settled_before[Tier.FLEET_1M] = window_start(now_ns(), MINUTE)
        without = {tenant for tenant, at in self._ask_again.items() if at > now}
        windows = self._records.dirty_windows(_MOST_WINDOWS, settled_before=settled_before, without=without)
        done = 0
        for tenant, tier, group in _runs(windows):
            if tenant in without:
                continue
            try:
                with span("roll up", {"scrapewatch.tier": tier, "scrapewatch.windows": len(group)}):
                    self._compute(tenant, tier, group)
            except TenantRefused as error:
                without.add(tenant)
                self._ask_again[tenant] = now + REFUSED_FOR
                self.refused[tenant] = str(error)
                continue
            self._ask_again.pop(tenant, None)
            self.refused.pop(tenant, None)
            if not self._hold():
                # It took longer than the lease: another roller may have read newer points, and what it wrote be overwritten by now.
                anew = {tier: [window.start for window in group]}
                self._records.mark_windows([RecordChanges(tenant, None, (), anew)])
                break
            for window in group:
                self._records.clear_window(window)
            done += len(group)
            self.rolled += len(group)
        if len(windows) < _MOST_WINDOWS:
            if hours:
                self._hours_at = now
            if open_minute:
                self._minute_at = now
        return done

    def release(self) -> None:
        """Let another roller begin at once.

        Raises:
            StoreUnavailable: the records do not answer; the lease ends by itself.
        """
        self._records.hold_lease(LEASE, self._holder, 0)

    def _hold(self) -> bool:
        return self._records.hold_lease(LEASE, self._holder, LEASE_SECONDS)

    def _compute(self, tenant: str, tier: Tier, group: Sequence[DirtyWindow]) -> None:
        every = KEEPING[tier].window
        time_range = TimeRange(group[0].start, group[-1].start + every, every)
        lines: list[str] = []
        for measurement in MEASUREMENTS.values():
            if measurement.rolled_from is None:
                continue
            points = self._series.windows(
                measurement.name, time_range, tier=measurement.rolled_from, tenant=tenant
            )
            lines += [encode(rolled(point)) for point in points]
        if not lines:
            return
        result = self._series.write(Flush(0, 0, [Batch(tenant, tier, lines, [0] * len(lines))]))
        for rejected in result.rejected:
            log.error("the store rejects a rollup", reason=rejected.reason, tier=tier)
        if result.kept is not None:
            raise StoreUnavailable(result.kept, result.retry_after)
        if result.held:
            raise TenantRefused(result.held[tenant, tier])


def rolled(point: Point) -> Point:
    """``point`` with its quantiles where it is a histogram, its fields typed as the registry says."""
    measurement = MEASUREMENTS[point.measurement]
    fields: dict[str, Value] = {}
    for field in rollup_fields(measurement):
        if field.name in point.fields:
            value = point.fields[field.name]
            fields[field.name] = int(value) if field.type is int else float(value)
    if point.measurement == "pages":
        counts = [int(point.fields.get(name, 0)) for name in histogram.FIELDS]
        maximum = point.fields.get("duration_max")
        for name, q in QUANTILES.items():
            found = histogram.quantile(counts, q, maximum=None if maximum is None else float(maximum))
            if found is not None:
                fields[name] = found
    return Point(point.measurement, point.tags, fields, point.time)


def _runs(windows: Iterable[DirtyWindow]) -> list[tuple[str, Tier, list[DirtyWindow]]]:
    """The windows by tenant and tier in runs of neighbours, so that one reading serves many."""
    runs: list[tuple[str, Tier, list[DirtyWindow]]] = []
    for window in sorted(windows, key=lambda w: (w.tenant, w.tier, w.start)):
        if runs:
            tenant, tier, group = runs[-1]
            if (
                (tenant, tier) == (window.tenant, window.tier)
                and window.start == group[-1].start + KEEPING[tier].window
                and len(group) < _LONGEST_RANGE
            ):
                group.append(window)
                continue
        runs.append((window.tenant, window.tier, [window]))
    return runs
