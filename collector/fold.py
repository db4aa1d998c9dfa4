"""Folding: the events of a flush become points and record changes. Pure: no clock, no store, no chance.

What it returns is persisted before anything is written, so that a replay sends the same bytes whatever this code has become since.
How each kind of field folds is the registry's business (:class:`scrapewatch.measurements.Fold`); what an event contributes is that of
:mod:`collector.contributions`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from collector.contributions import Announced, Lines, Share, Stamp
from collector.decode import Event, are_lines
from scrapewatch.measurements import (
    LIVE_AGE,
    Tier,
    retention,
)
from scrapewatch.ports import Batch, RecordChanges, RowChange
from scrapewatch.time import HOUR, MINUTE, window_start

FLUSH_SPACE: Final = 10**7
"""Flush numbers that a second tells apart: nanoseconds 0–999,999,999 are ``collector_no × 10⁷ + flush_no mod 10⁷``."""

HISTORY_COLLECTOR: Final = 99
"""Stands in the stamps of history sent under a key, whichever collector took it; never leased."""


@dataclass(frozen=True, slots=True)
class Request:
    """Events that came together, as the spool keeps them; ``times`` has the time of each (ns). Or lines that pass through.

    ``source`` is the key of history sent with one: its points have stamps of their own, the same whenever it is sent again.
    ``received_at`` is in ns.
    """

    tenant: str
    source: str | None
    received_at: int
    times: Sequence[int]
    events: Sequence[Event]


Sites = dict[str, list[Any]]
"""What a fold must know of earlier ones of a session: site → [current attempt, breaker's state or None, its time]."""

Memory = dict[tuple[str, str], Sites]
"""(tenant, session) → its sites."""

_LIVE_TIERS: Final = (Tier.FLEET, Tier.SESSIONS)


@dataclass(frozen=True, slots=True)
class Folded:
    """The outcome of a fold; ``memory`` holds the entries that changed, ``announced`` the processes of live sessions, in order."""

    batches: list[Batch]
    changes: list[RecordChanges]
    memory: Memory
    events: int
    announced: list[Announced]


def fold(
    requests: Sequence[Request],
    memory: Memory,
    *,
    collector_no: int,
    number: int,
    retention_days: int | None = None,
) -> Folded:
    """Fold ``requests`` into flush ``number`` of collector ``collector_no``: a :class:`Folding` from beginning to end."""
    folding = Folding(
        lambda tenant, session_id: memory.get((tenant, session_id)), retention_days=retention_days
    )
    for request in requests:
        folding.add(request)
    return folding.finish(collector_no=collector_no, number=number)


class Folding:
    """A flush in the making.

    ``recall`` gives what earlier folds know of the sites of a session (tenant, session_id), which is not changed. Events of a flush
    with the same series and second become one point at the second plus a stamp that no other flush or collector has.
    ``retention_days`` is METRICS_RETENTION_DAYS: history goes to no tier that would drop it.
    """

    def __init__(
        self,
        recall: Callable[[str, str], Mapping[str, Sequence[Any]] | None],
        *,
        retention_days: int | None = None,
    ) -> None:
        self._recall = recall
        self._retention_days = retention_days
        self._groups: dict[tuple[str, str | None], Group] = {}
        self._passing: dict[str, list[str]] = {}
        self.events = 0

    def add(self, request: Request) -> None:
        """Take what came together."""
        if are_lines(request.events):
            self._passing.setdefault(request.tenant, []).extend(request.events)
            self.events += len(request.events)
            return
        key = (request.tenant, request.source)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(
                request.tenant, request.source, self._recall, self._retention_days
            )
        self.events += len(request.events)
        group.take(request)

    def finish(self, *, collector_no: int, number: int) -> Folded:
        """What flush ``number`` of collector ``collector_no`` writes; nothing may be added after it."""
        lines: Lines = {
            (tenant, Tier.EXTERNAL): (passing, [1] * len(passing))
            for tenant, passing in self._passing.items()
        }
        changed: Memory = {}
        for group in self._groups.values():
            stamp = (
                _flush_stamp(collector_no, number)
                if group.source is None
                else _source_stamp(group.tenant, group.source)
            )
            group.write(stamp, lines)
            if group.source is None:
                for session_id, sites in group.remembered.items():
                    changed[(group.tenant, session_id)] = sites
        return Folded(
            batches=[
                Batch(tenant, tier, into[0], into[1])
                for (tenant, tier), into in sorted(lines.items())
                if into[0]
            ],
            changes=[group.record_changes() for group in self._groups.values()],
            memory=changed,
            events=self.events,
            announced=[
                announced
                for group in self._groups.values()
                if group.source is None
                for announced in group.announced
            ],
        )


def _flush_stamp(collector_no: int, number: int) -> Stamp:
    offset = collector_no * FLUSH_SPACE + number % FLUSH_SPACE
    return lambda start, window: start + offset


def _source_stamp(tenant: str, source: str) -> Stamp:
    digest = int.from_bytes(hashlib.sha256(f"{tenant}\0{source}".encode()).digest()[:8], "big")

    def stamp(start: int, window: int) -> int:
        if window == 0:
            return start + HISTORY_COLLECTOR * FLUSH_SPACE + digest % FLUSH_SPACE
        # A window has far more room than a second: two sources can as good as never meet. Its start belongs to the roller.
        return start + 1 + digest % (window - 1)

    return stamp


def tiers_of(age: int, retention_days: int | None = None) -> tuple[Tier, ...]:
    """Where an event of ``age`` (ns, when it came) goes: live to the fine tiers, history to those that still keep its age."""
    if age <= LIVE_AGE:
        return _LIVE_TIERS
    return tuple(
        tier
        for tier in (Tier.FLEET_1M, Tier.FLEET_1H, Tier.SESSIONS)
        if age < retention(tier, retention_days)
    )


def windows_around(times: Sequence[int]) -> dict[Tier, list[int]]:
    """The starts of the rollups' windows that hold ``times`` (ns), in order; nothing without times."""
    if not times:
        return {}
    return {
        Tier.FLEET_1M: sorted({window_start(time, MINUTE) for time in times}),
        Tier.FLEET_1H: sorted({window_start(time, HOUR) for time in times}),
    }


class Group:
    """The events of one tenant and source in a flush.

    History is folded as if it were alone, so that it comes out the same whatever else is in the flush.
    """

    def __init__(
        self,
        tenant: str,
        source: str | None,
        recall: Callable[[str, str], Mapping[str, Sequence[Any]] | None],
        retention_days: int | None,
    ) -> None:
        self.tenant = tenant
        self.source = source
        self.remembered: dict[str, Sites] = {}
        self.announced: list[Announced] = []
        self._recall = recall
        self._retention_days = retention_days
        self._shares: dict[tuple[Tier, ...], Share] = {}
        self._rows: dict[tuple[Any, ...], RowChange] = {}
        self._minutes: set[int] = set()

    def take(self, request: Request) -> None:
        """Add what the events of ``request`` contribute."""
        received_at = request.received_at
        if min(request.times, default=received_at) >= received_at - LIVE_AGE:
            self._share(_LIVE_TIERS).take(request.times, request.events)
            return
        for time, event in zip(request.times, request.events, strict=True):
            self._share(tiers_of(received_at - time, self._retention_days)).take((time,), (event,))

    def _share(self, tiers: tuple[Tier, ...]) -> Share:
        share = self._shares.get(tiers)
        if share is None:
            share = self._shares[tiers] = Share(self, tiers)
        return share

    def settle(self, *of: str) -> None:
        """Work out what was only counted so far, all of it or what is ``of`` a session and site."""
        for share in self._shares.values():
            share.settle(of)

    def sites(self, session_id: str) -> Sites:
        """What is known of the sites of a session; may be changed."""
        found = self.remembered.get(session_id)
        if found is None:
            known = self._recall(self.tenant, session_id) if self.source is None else None
            found = {site: list(parts) for site, parts in known.items()} if known else {}
            self.remembered[session_id] = found
        return found

    def site(self, session_id: str, site: str) -> list[Any]:
        """What is known of a site of a session; may be changed."""
        sites = self.sites(session_id)
        found = sites.get(site)
        if found is None:
            found = sites[site] = [1, None, 0]
        return found

    def dirty(self, times: Sequence[int]) -> None:
        """Note that the rollups' windows around ``times`` must be computed again."""
        if not times:
            return
        first, last = min(times) // MINUTE, max(times) // MINUTE
        # Most come within a minute or two.
        self._minutes.update((first, last) if last - first < 2 else [time // MINUTE for time in times])

    def row(self, table: str, **key: Any) -> RowChange:
        """The change of a row; its mappings may be added to."""
        return self.row_at((table, *key.values()), key)

    def found_row(self, at: tuple[Any, ...]) -> RowChange | None:
        """The change of a row that was begun already."""
        return self._rows.get(at)

    def row_at(self, at: tuple[Any, ...], key: Mapping[str, Any]) -> RowChange:
        """The same, by a key of its table and values."""
        found = self._rows.get(at)
        if found is None:
            found = self._rows[at] = RowChange(at[0], key, {}, {}, {}, {}, {}, {}, [])
        return found

    def write(self, stamp: Stamp, lines: Lines) -> None:
        """Add each point as a line to those of its tenant and tier, with the number of events it is the home of."""
        self.settle()
        for share in self._shares.values():
            share.write(self.tenant, stamp, lines)
        # A share knows its group: as a circle, all that a flush was made of would stay until the garbage collector looks at what is old,
        # which it does every few minutes at best.
        self._shares.clear()

    def record_changes(self) -> RecordChanges:
        """The changes of this group's rows."""
        windows = windows_around([minute * MINUTE for minute in self._minutes])
        return RecordChanges(self.tenant, self.source, list(self._rows.values()), windows)
