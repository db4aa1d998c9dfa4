"""The outbox: what in the spool waits to be forwarded, as forwarding reads it.

It has a connection of its own to the spool's file, which the spool writes to meanwhile: so it can be in another process. What changes it
has the spool note (:mod:`collector.notes`). Requests are cut into flushes; a flush that was noted is kept in memory until every sink has
it, and read from the disk only after a crash, or where a sink is far behind.
"""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
import structlog

from collector.decode import unpack
from collector.fold import Folded, Request, Sites
from collector.notes import SINKS, Flushed, Ledger, Part, Passed, Released, Replayed, Unreadable
from collector.spool_file import Squeezer, expand, open_for_reading
from collector.spool_view import DeadLetter, one, wanted_letters
from scrapewatch.measurements import Tier
from scrapewatch.ports import Batch, RecordChanges, Rejected, RowChange
from scrapewatch.time import DAY, now_ns

log = structlog.get_logger(__name__)

_MOST_BYTES_IN_A_CUT: Final = 32_000_000
_MOST_FLUSHES_IN_MEMORY: Final = 4
MOST_LINES: Final = 5_000
"""Lines of small flushes that go to a sink together: no more than a request to InfluxDB carries, so that their order stays."""
_MOST_SESSIONS_IN_MEMORY: Final = 50_000

# A window may be marked for the roller only once the points are there to be rolled up. History sent under a key is known to the records
# for good, so only once all else is done: a spool that is lost in between costs nothing, since the history can be sent again.
_READY: Final = {"series": "1", "records": "sources = 0 OR windows_done = 1", "windows": "series_done = 1"}


@dataclass(frozen=True, slots=True)
class Cut:
    """A range of the spool for one flush: up to ``last_position``; what is ``damaged`` (position → events) can no longer be read.

    ``size`` is about the bytes of its events.
    """

    last_position: int
    requests: Sequence[Request]
    damaged: Mapping[int, int]
    size: int


@dataclass(frozen=True, slots=True)
class PersistedFlush:
    """A numbered flush as it was persisted: what is sent, now or after a crash."""

    number: int
    events: int
    batches: Sequence[Batch]
    changes: Sequence[RecordChanges]


Lane = tuple[str, bool]
"""A tenant, and whether it is about the lines that pass through: they have a bucket of their own, and nothing else waits for it."""


def lane_of(tenant: str, tier: Tier) -> Lane:
    """The lane in which the points of a tenant's tier are held."""
    return tenant, tier is Tier.EXTERNAL


@dataclass(frozen=True, slots=True)
class Held:
    """What is held of flush ``number`` in one lane; ``changes`` have the windows to mark once it is stored. ``size`` is in bytes."""

    number: int
    batches: Sequence[Batch]
    changes: Sequence[RecordChanges]
    size: int


class Outbox:
    """What waits in the spool in ``folder``; ``ledger`` notes what becomes of it. Safe to use from any thread."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self._ledger = ledger
        self._reader = open_for_reading(folder)
        self._reading = threading.RLock()
        self._last_cut = one(self._reader, "SELECT coalesce(max(last_position), 0) FROM flushes")
        self._last_number = one(self._reader, "SELECT coalesce(max(number), 0) FROM flushes")
        self.arrived = threading.Event()
        """Set when there may be something to cut."""
        self.arrived.set()
        self._keeping = threading.Lock()
        self._flushes: OrderedDict[int, PersistedFlush] = OrderedDict()
        self._through: dict[int, set[str]] = {}
        self._memory: OrderedDict[tuple[str, str], tuple[Sites, int] | None] = OrderedDict()
        self._squeeze = Squeezer()
        self._squeeze_parts = Squeezer()

    def close(self) -> None:
        """Let go of the file."""
        with self._reading:
            self._reader.close()

    # --- cutting

    def uncut(
        self, most_events: int, after: int | None = None, *, most_bytes: int = _MOST_BYTES_IN_A_CUT
    ) -> Cut | None:
        """The oldest requests behind the position ``after`` (None: that no flush holds); None when there are none.

        They have up to about ``most_events`` events and ``most_bytes`` bytes, and at least one request.
        """
        after = self._last_cut if after is None else after
        requests: list[Request] = []
        damaged: dict[int, int] = {}
        total = size = 0
        with self._reading:
            for position, count, tenant, source, received_at, checksum, blob in self._reader.execute(
                "SELECT position, count, tenant, source, received_at, checksum, events FROM segments "
                "WHERE position > ? ORDER BY position",
                (after,),
            ):
                # Events with long texts are few: a backlog of them must fit in memory, and a flush in a row, all the same.
                if total and (total + count > most_events or size > most_bytes):
                    break
                after = position + count - 1
                total += count
                try:
                    packed = _whole(blob, checksum)
                    times, events = unpack(packed)
                except (ValueError, msgspec.MsgspecError):
                    # Its events cannot be known any more: they are counted as dead letters, the rest is kept.
                    log.error("events in the spool are damaged", position=position, events=count)
                    damaged[position] = count
                    continue
                size += len(packed)
                requests.append(Request(tenant, source, received_at, times, events))
        return Cut(after, requests, damaged, size) if total else None

    def recall(self, tenant: str, session_id: str) -> Sites | None:
        """What earlier folds knew of the sites of a session."""
        key = (tenant, session_id)
        if key in self._memory:
            self._memory.move_to_end(key)
            known = self._memory[key]
            return None if known is None else known[0]
        found = None
        for sites, at in self._read(
            "SELECT sites, at FROM memory WHERE tenant = ? AND session_id = ?", (tenant, session_id)
        ):
            found = (orjson.loads(sites), at)
        self._memory[key] = found
        if len(self._memory) > _MOST_SESSIONS_IN_MEMORY:
            self._memory.popitem(last=False)
        return None if found is None else found[0]

    def next_number(self) -> int:
        """The number of the next flush."""
        return int(self._last_number) + 1

    def persist(self, number: int, cut: Cut, folded: Folded) -> None:
        """Make flush ``number`` durable: the encoded lines and the record changes that are sent, now or after a crash."""
        now = now_ns()
        remembered = [
            (key, sites)
            for key, sites in folded.memory.items()
            if (known := self._memory.get(key)) is None or known[0] != sites or now - known[1] > DAY
        ]
        events = folded.events + sum(cut.damaged.values())
        self._ledger.note(
            Flushed(
                number,
                cut.last_position,
                events,
                cut.damaged,
                any(change.source is not None for change in folded.changes),
                self._squeeze(orjson.dumps(folded.batches)),
                self._squeeze(orjson.dumps(folded.changes, option=orjson.OPT_NON_STR_KEYS)),
                [(tenant, session, orjson.dumps(sites).decode()) for (tenant, session), sites in remembered],
                now,
            )
        )
        self._last_number, self._last_cut = number, cut.last_position
        for key, sites in remembered:
            self._memory[key] = (sites, now)
        with self._keeping:
            self._flushes[number] = PersistedFlush(number, events, folded.batches, folded.changes)
            while len(self._flushes) > _MOST_FLUSHES_IN_MEMORY:
                self._flushes.popitem(last=False)

    # --- sending

    def pending(self, sink: str, most: int = 1) -> list[PersistedFlush]:
        """The oldest flushes that wait for ``sink`` (``series``, ``records`` or ``windows``) and whose turn has come, up to ``most``.

        More than one have no more than :data:`MOST_LINES` lines together: small ones that were held up can go in one step.
        """
        found: list[PersistedFlush] = []
        lines = 0
        for number, events, ready in self._read(
            f"SELECT number, events, {_READY[sink]} FROM flushes "  # noqa: S608 - names of ours
            f"WHERE {SINKS[sink]} = 0 ORDER BY number LIMIT ?",
            (most,),
        ):
            if not ready:
                break
            with self._keeping:
                flush = self._flushes.get(number)
            if flush is None:
                flush = self._load(number, events)
            if flush is None:
                # Its events are accounted for; what comes behind it waits for the next look.
                return found or self.pending(sink, most)
            lines += sum(len(batch.lines) for batch in flush.batches)
            if found and lines > MOST_LINES:
                break
            found.append(flush)
        return found

    def _load(self, number: int, events: int) -> PersistedFlush | None:
        ((batches, changes),) = self._read("SELECT batches, changes FROM flushes WHERE number = ?", (number,))
        try:
            return _persisted(number, events, batches, changes)
        except (ValueError, KeyError, TypeError):
            log.error("a flush in the spool is damaged", number=number)
            self._ledger.note(Unreadable(number))
            return None

    def passed(
        self,
        sink: str,
        numbers: Sequence[int],
        rejected: Mapping[int, Sequence[Rejected]] | None = None,
        held: Sequence[Part] = (),
    ) -> None:
        """Note that ``sink`` has passed the flushes ``numbers``; of what it ``rejected`` (number → lines) it makes dead letters.

        The parts ``held`` are kept for later. Frees what all have passed.
        """
        self._ledger.note(Passed(sink, numbers, rejected or {}, held))
        with self._keeping:
            for number in numbers:
                through = self._through.setdefault(number, set())
                through.add(sink)
                if len(through) == len(SINKS):
                    del self._through[number]
                    self._flushes.pop(number, None)

    def empty(self) -> bool:
        """Whether all that was accepted is through."""
        return not self._read(
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM segments) OR EXISTS (SELECT 1 FROM flushes WHERE events >= 0) "
            "OR EXISTS (SELECT 1 FROM held)"
        )

    # --- what a store refuses for its tenant's sake

    def parts(self, flushes: Sequence[PersistedFlush], of: Collection[Lane]) -> list[Part]:
        """What of ``flushes`` is ``of`` these lanes, as it is held; for one thread."""
        now = now_ns()
        parts = []
        for flush in flushes:
            batches: dict[Lane, list[Batch]] = {}
            for batch in flush.batches:
                lane = lane_of(batch.tenant, batch.tier)
                if lane in of:
                    batches.setdefault(lane, []).append(batch)
            for (tenant, external), found in batches.items():
                windows = [change.windows for change in flush.changes if change.tenant == tenant]
                parts.append(
                    Part(
                        flush.number,
                        tenant,
                        external,
                        sum(sum(batch.events) for batch in found),
                        self._squeeze_parts(
                            orjson.dumps([(batch.tier, batch.lines, batch.events) for batch in found])
                        ),
                        orjson.dumps([] if external else windows, option=orjson.OPT_NON_STR_KEYS).decode(),
                        now,
                    )
                )
        return parts

    def lanes(self) -> list[Lane]:
        """The lanes in which something is held."""
        return [
            (tenant, bool(external))
            for tenant, external in self._read("SELECT DISTINCT tenant, external FROM held")
        ]

    def held(self, lane: Lane, most: int = 1) -> list[Held]:
        """The oldest that is held in a lane, of up to ``most`` flushes; of more than one up to :data:`MOST_LINES` lines.

        What can no longer be read becomes a dead letter without a line.
        """
        tenant, external = lane
        found: list[Held] = []
        total = 0
        for number, events, size, lines, windows in self._read(
            "SELECT number, events, size, lines, windows FROM held WHERE tenant = ? AND external = ? ORDER BY number LIMIT ?",
            (*lane, most),
        ):
            try:
                batches = [
                    Batch(tenant, Tier(tier), texts, counts)
                    for tier, texts, counts in orjson.loads(expand(lines))
                ]
            except ValueError:
                log.error("a part of a flush in the spool is damaged", number=number, tenant=tenant)
                tier = Tier.EXTERNAL if external else Tier.FLEET
                letter = Rejected(tenant, tier, "", events, "it was damaged in the spool")
                self._ledger.note(Released(tenant, external, [number], {number: [letter]}, size))
                continue
            total += sum(len(batch.lines) for batch in batches)
            if found and total > MOST_LINES:
                break
            changes = [
                RecordChanges(tenant, None, (), {Tier(tier): starts for tier, starts in each.items()})
                for each in orjson.loads(windows)
            ]
            found.append(Held(number, batches, changes, size))
        return found

    def released(self, lane: Lane, parts: Sequence[Held], rejected: Mapping[int, Sequence[Rejected]]) -> None:
        """Note that ``parts`` are stored, but for what was ``rejected`` (number → lines)."""
        numbers = [part.number for part in parts]
        self._ledger.note(Released(*lane, numbers, rejected, sum(part.size for part in parts)))

    # --- dead letters

    def wanted_letters(self, limit: int = 5_000) -> list[DeadLetter]:
        """The oldest dead letters that are to be sent again: those of flushes that are through."""
        with self._reading:
            return wanted_letters(self._reader, limit)

    def replayed(self, sent: Sequence[DeadLetter], refused: Mapping[int, str]) -> None:
        """Note what became of letters sent again: ``refused`` (id → reason) stay, the others are delivered."""
        delivered = [item for item in sent if item.id not in refused]
        self._ledger.note(
            Replayed(
                [item.id for item in delivered],
                sum(item.letter.events for item in delivered),
                refused,
            )
        )

    def _read(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with self._reading:
            return self._reader.execute(statement, parameters).fetchall()


def _whole(blob: bytes, checksum: int) -> bytes:
    if zlib.crc32(blob) != checksum:
        raise ValueError("the checksum does not fit")
    return expand(blob)


def _persisted(number: int, events: int, batches: bytes, changes: bytes) -> PersistedFlush:
    return PersistedFlush(
        number,
        events,
        [
            Batch(item["tenant"], Tier(item["tier"]), item["lines"], item["events"])
            for item in orjson.loads(expand(batches))
        ],
        [
            RecordChanges(
                item["tenant"],
                item["source"],
                [RowChange(**row) for row in item["rows"]],
                {Tier(tier): starts for tier, starts in item["windows"].items()},
            )
            for item in orjson.loads(expand(changes))
        ],
    )
