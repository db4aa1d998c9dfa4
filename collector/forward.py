"""Forwarding: cuts the spool into numbered flushes, persists each before it is written, and brings it to both stores.

One thread folds what arrives as it arrives, so that a flush is nearly done when its time has come; one serves the series store, one
the records, one marks the windows to roll up. Each has a cursor of its own, so that a store that is down holds up neither the other nor
an ack. A store that refuses for now is asked again with full jitter, without limit in time.

What the series store refuses for one tenant's sake (its token, its bucket) is held: that tenant's part of the flush is put aside, all that
comes after it behind it, and a thread of its own brings it there, in order, once the store takes it. Nobody else waits for it.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final

import structlog

from collector.contributions import Announced
from collector.fold import Folding, windows_around
from collector.observed import Observed
from collector.outbox import Cut, Held, Lane, Outbox, PersistedFlush, lane_of
from collector.spool_view import DeadLetter
from scrapewatch.line_protocol import decode
from scrapewatch.measurements import Tier
from scrapewatch.ports import Batch, Flush, RecordChanges, RecordStore, Rejected, SeriesStore, WriteResult
from scrapewatch.problems import StoreUnavailable
from scrapewatch.tracing import Span, span

log = structlog.get_logger(__name__)

MOST_EVENTS: Final = 100_000
"""Events in a flush, as long as a single request has no more."""

_MOST_BYTES: Final = 32_000_000
_MOST_AT_ONCE: Final = 5_000
_MOST_TOGETHER: Final = 50
_LOOK_EVERY: Final = 0.02
_QUIET: Final = 0.1
_MOST_SAVED: Final = 2
_LOOK_FOR_STOP: Final = 0.2

_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 30.0
_LONGEST_HELD: Final = 5.0  # the server is well: to ask it costs little, and who mends a token waits for it


@dataclass(slots=True)
class SinkState:
    """How a sink fares: why it refuses now (None while it does not), and the last flush it passed."""

    problem: str | None = None
    last_number: int = 0
    flushes: int = 0
    events: int = 0
    seconds: float = 0.0
    rejected: dict[str, int] = field(default_factory=dict)


class Pace:
    """Says whether a flush may be cut before its time: on average no more than one an ``interval`` (seconds), but a few at once.

    An interval in which none was cut is saved up, as two are at most.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._paid_until = 0.0

    def has_saved(self, now: float) -> bool:
        """Whether there is an interval left at ``now`` (monotonic seconds)."""
        return self._paid_until <= now

    def spend(self, now: float) -> None:
        """A flush was cut at ``now``."""
        saved_since = now - _MOST_SAVED * self._interval
        self._paid_until = min(max(self._paid_until, saved_since), now) + self._interval


class Forwarder:
    """Brings the spool's events to the stores.

    Args:
        outbox: what of the spool waits.
        series: the store of points.
        records: the store of records.
        collector_no: the number leased to the spool.
        interval: seconds between flushes.
        retention_days: METRICS_RETENTION_DAYS.
        observed: takes how long things took.
        announced: told of the processes of sessions, once their events are persisted.
    """

    def __init__(
        self,
        outbox: Outbox,
        series: SeriesStore,
        records: RecordStore,
        *,
        collector_no: int,
        interval: float,
        retention_days: int | None = None,
        observed: Observed | None = None,
        announced: Callable[[Sequence[Announced]], None] | None = None,
    ) -> None:
        self._announced = announced
        self._observed = observed or Observed()
        self._outbox = outbox
        self._series = series
        self._records = records
        self._collector_no = collector_no
        self._interval = interval
        self._pace = Pace(interval)
        self._retention_days = retention_days
        self._faults: dict[str, str] = {}
        self._stop = threading.Event()
        self._drain = threading.Event()
        self._persisted = {name: threading.Event() for name in ("series", "records", "windows")}
        self._holding = threading.Lock()
        # Why each lane is held; as long as the spool holds anything of it, all that is new of it goes there, too.
        self._held: dict[Lane, str | None] = dict.fromkeys(outbox.lanes())
        self.series_state = SinkState()
        self.records_state = SinkState()
        self.windows_state = SinkState()
        self._threads = [
            threading.Thread(target=self._guarded, args=(name, target), name=name, daemon=True)
            for name, target in (
                ("cut", self._cut_loop),
                (
                    "series",
                    lambda: self._sink_loop("series", self.series_state, self._write_series, _MOST_TOGETHER),
                ),
                ("records", lambda: self._sink_loop("records", self.records_state, self._apply_records, 1)),
                (
                    "windows",
                    lambda: self._sink_loop(
                        "windows", self.windows_state, self._mark_windows, _MOST_TOGETHER
                    ),
                ),
                ("held", self._held_loop),
            )
        ]

    def start(self) -> None:
        """Begin; what an earlier process persisted is sent first, byte for byte."""
        for thread in self._threads:
            thread.start()

    def stop(self, *, drain_for: float = 0.0) -> None:
        """End, after trying for up to ``drain_for`` seconds to bring everything to the stores."""
        deadline = time.monotonic() + drain_for
        self._drain.set()
        while time.monotonic() < deadline and not self._outbox.empty():
            time.sleep(0.05)
        self._stop.set()
        for event in self._persisted.values():
            event.set()
        for thread in self._threads:
            thread.join()

    @property
    def fault(self) -> str | None:
        """What of its work fails now for a reason that no store gave, and is tried again; None: nothing."""
        return "; ".join(f"{name}: {fault}" for name, fault in sorted(self._faults.items())) or None

    @property
    def held(self) -> dict[Lane, str | None]:
        """In which lanes something is held, and why; None where the store takes it again."""
        with self._holding:
            return dict(self._held)

    def cut(self, *, interval: float = 0.0) -> int:
        """Fold and persist one flush: what is there, and what comes within ``interval`` seconds; the number of its events.

        Once nothing more comes, it does not wait to the end as long as flushes stay few: charts show the last events sooner.
        """
        outbox = self._outbox
        folding = Folding(outbox.recall, retention_days=self._retention_days)
        taken: Cut | None = None
        damaged: dict[int, int] = {}
        lost = size = 0
        heard = time.monotonic()
        deadline = heard + interval
        spent = 0.0
        while folding.events + lost < MOST_EVENTS and size < _MOST_BYTES:
            began = time.perf_counter()
            found = outbox.uncut(
                min(_MOST_AT_ONCE, MOST_EVENTS - folding.events),
                None if taken is None else taken.last_position,
                most_bytes=_MOST_BYTES - size,
            )
            count = 0
            if found is not None:
                for request in found.requests:
                    folding.add(request)
                    count += len(request.events)
                damaged |= found.damaged
                lost = sum(damaged.values())
                size += found.size
                taken = found
                spent += time.perf_counter() - began
            if taken is None:
                return 0
            if count >= _MOST_AT_ONCE // 2:
                continue
            now = time.monotonic()
            if found is not None:
                heard = now
            wait = deadline - now
            if wait <= 0 or (self._drain.is_set() and found is None):
                break
            if now - heard >= _QUIET and self._pace.has_saved(now):
                break
            # Not at each commit: taking turns costs more than what a commit brings.
            self._stop.wait(min(wait, _LOOK_EVERY))
        if taken is None:  # for the type checker: the loop ran at least once
            return 0
        began = time.perf_counter()
        if folding.events + lost < MOST_EVENTS:  # a full one could not have waited
            self._pace.spend(time.monotonic())
        number = outbox.next_number()
        with span("fold", {"scrapewatch.flush": number, "scrapewatch.events": folding.events}):
            folded = folding.finish(collector_no=self._collector_no, number=number)
            outbox.persist(number, Cut(taken.last_position, (), damaged, size), folded)
        self._observed.fold.add(spent + time.perf_counter() - began)
        for event in self._persisted.values():
            event.set()
        if folded.announced and self._announced is not None:
            self._announced(folded.announced)
        return folded.events + lost

    def replay(self) -> int:
        """Send the dead letters again that somebody wants to be sent; how many are stored now.

        They keep their stamps, and the records had them with their flush: nothing counts twice.

        Raises:
            StoreUnavailable: a store does not answer; the letters stay as they are.
        """
        letters = self._outbox.wanted_letters()
        if not letters:
            return 0
        batches: dict[tuple[str, Tier], Batch] = {}
        for item in letters:
            key = (item.letter.tenant, item.letter.tier)
            batch = batches.setdefault(key, Batch(*key, [], []))
            batch.lines.append(item.letter.line)  # type: ignore[attr-defined]
            batch.events.append(item.letter.events)  # type: ignore[attr-defined]
        result = self._series.write(Flush(self._collector_no, 0, [batches[key] for key in sorted(batches)]))
        if result.kept is not None:
            raise StoreUnavailable(result.kept, result.retry_after)
        letters = [item for item in letters if (item.letter.tenant, item.letter.tier) not in result.held]
        if not letters:
            return 0
        reasons = {(item.tenant, item.tier, item.line): item.reason for item in result.rejected}
        refused = {
            item.id: reason
            for item in letters
            if (reason := reasons.get((item.letter.tenant, item.letter.tier, item.letter.line))) is not None
        }
        self._records.mark_windows(_windows([item for item in letters if item.id not in refused]))
        self._outbox.replayed(letters, refused)
        log.info("dead letters were sent again", stored=len(letters) - len(refused), refused=len(refused))
        return len(letters) - len(refused)

    # --- the threads

    def _guarded(self, name: str, run: Callable[[], None]) -> None:
        while not self._stop.is_set():
            try:
                run()
            except Exception as error:  # a fault of ours must not end forwarding; readiness tells of it
                fault = f"{type(error).__name__}: {error}"
                if self._faults.get(name) != fault:
                    log.exception("forwarding failed; it goes on", part=name)
                self._faults[name] = fault
                self._stop.wait(1.0)

    def _cut_loop(self) -> None:
        self._outbox.arrived.set()  # what a fault interrupted is there still
        while not self._stop.is_set():
            if self._outbox.arrived.wait(_LOOK_FOR_STOP):
                self._outbox.arrived.clear()
                while self.cut(interval=self._interval) and not self._stop.is_set():
                    self._faults.pop("cut", None)
                self._faults.pop("cut", None)

    def _sink_loop(
        self, sink: str, state: SinkState, send: Callable[[list[PersistedFlush]], None], most: int
    ) -> None:
        while not self._stop.is_set():
            self._persisted[sink].clear()
            while not self._stop.is_set() and (flushes := self._outbox.pending(sink, most)):
                began = time.monotonic()
                send(flushes)
                if self._stop.is_set() and state.problem is not None:
                    return
                state.last_number = flushes[-1].number
                state.flushes += len(flushes)
                state.events += sum(flush.events for flush in flushes)
                state.seconds += time.monotonic() - began
                self._faults.pop(sink, None)
            self._faults.pop(sink, None)
            self._persisted[sink].wait(self._interval)

    def _write_series(self, flushes: list[PersistedFlush]) -> None:
        pause = _FIRST_PAUSE
        state = self.series_state
        held = self.held.keys()
        batches = [batch for batch in _joined(flushes) if lane_of(batch.tenant, batch.tier) not in held]
        joined = Flush(self._collector_no, flushes[-1].number, batches)
        while not self._stop.is_set():
            began = time.perf_counter()
            with _step("write points", flushes) as writing:
                result = self._series.write(joined)
                writing.set(
                    {"scrapewatch.kept": result.kept is not None, "scrapewatch.points": result.accepted}
                )
            self._observed.write_series.add(time.perf_counter() - began)
            if result.kept is None:
                state.problem = None
                self._pass_series(flushes, result, held)
                self._persisted["windows"].set()
                return
            if state.problem != result.kept:
                log.warning("the series store keeps us waiting", reason=result.kept, flush=flushes[0].number)
            state.problem = result.kept
            self._stop.wait(max(result.retry_after or 0.0, random.uniform(0, pause)))
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _pass_series(
        self, flushes: list[PersistedFlush], result: WriteResult, held: Collection[Lane]
    ) -> None:
        refused = {lane_of(*of): reason for of, reason in result.held.items()}
        lanes = {*held, *refused}
        parts = self._outbox.parts(flushes, lanes) if lanes else []
        rejected = [letter for letter in result.rejected if lane_of(letter.tenant, letter.tier) not in lanes]
        for letter in rejected:
            state = self.series_state
            state.rejected[letter.reason[:80]] = state.rejected.get(letter.reason[:80], 0) + 1
            log.error("the store rejects a point for good", reason=letter.reason, tier=letter.tier)
        with self._holding:
            self._outbox.passed(
                "series", [flush.number for flush in flushes], _parted(rejected, flushes), parts
            )
            for part in parts:
                lane = part.tenant, part.external
                if lane not in self._held:
                    self._held[lane] = refused.get(lane)

    def _held_loop(self) -> None:
        pauses: dict[Lane, float] = {}
        due: dict[Lane, float] = {}
        while not self._stop.is_set():
            went_on = False
            for lane in self.held:
                if self._stop.is_set():
                    return
                if due.get(lane, 0.0) > time.monotonic():
                    continue
                wait = self._release(lane)
                if wait is None:
                    went_on = True
                    pauses.pop(lane, None)
                    due.pop(lane, None)
                else:
                    pause = pauses.get(lane, _FIRST_PAUSE)
                    due[lane] = time.monotonic() + max(wait, random.uniform(0, pause))
                    pauses[lane] = min(pause * 2, _LONGEST_HELD)
            self._faults.pop("held", None)
            if not went_on:
                self._stop.wait(_LOOK_FOR_STOP)

    def _release(self, lane: Lane) -> float | None:
        """Try to store the oldest that is held of ``lane``; None: it goes on, or else seconds to wait at least."""
        parts = self._outbox.held(lane, _MOST_TOGETHER)
        if not parts:
            with self._holding:
                if not self._outbox.held(lane):
                    del self._held[lane]
                    log.info("nothing of the tenant is held any more", tenant=lane[0], external=lane[1])
            return None
        result = self._series.write(Flush(self._collector_no, parts[-1].number, _joined(parts)))
        reason = result.kept or next(iter(result.held.values()), None)
        with self._holding:
            before, self._held[lane] = self._held[lane], reason
        if reason is not None:
            if reason != before:
                log.warning(
                    "the series store refuses what is a tenant's",
                    tenant=lane[0],
                    external=lane[1],
                    reason=reason,
                )
            return result.retry_after or 0.0
        try:
            self._records.mark_windows([change for part in parts for change in part.changes])
        except StoreUnavailable as error:
            return error.retry_after or 0.0
        for letter in result.rejected:
            log.error("the store rejects a point for good", reason=letter.reason, tier=letter.tier)
        self._outbox.released(lane, parts, _parted(result.rejected, parts))
        return None

    def _apply_records(self, flushes: list[PersistedFlush]) -> None:
        (flush,) = flushes  # each is a transaction of its own, with its number
        self._until_done(flushes, self.records_state, lambda: self._apply(flush))

    def _apply(self, flush: PersistedFlush) -> None:
        began = time.perf_counter()
        try:
            with _step("apply records", [flush]):
                self._records.apply(self._collector_no, flush.number, flush.changes)
        finally:
            self._observed.apply_records.add(time.perf_counter() - began)

    def _mark_windows(self, flushes: list[PersistedFlush]) -> None:
        changes = [change for flush in flushes for change in flush.changes]
        self._until_done(flushes, self.windows_state, lambda: self._mark(flushes, changes))

    def _mark(self, flushes: list[PersistedFlush], changes: list[RecordChanges]) -> None:
        with _step("mark windows", flushes):
            self._records.mark_windows(changes)

    def _until_done(
        self, flushes: list[PersistedFlush], state: SinkState, send: Callable[[], object]
    ) -> None:
        sink = "records" if state is self.records_state else "windows"
        pause = _FIRST_PAUSE
        while not self._stop.is_set():
            try:
                send()
            except StoreUnavailable as error:
                if state.problem != str(error):
                    log.warning(
                        "the records keep us waiting", reason=str(error), flush=flushes[0].number, sink=sink
                    )
                state.problem = str(error)
                self._stop.wait(max(error.retry_after or 0.0, random.uniform(0, pause)))
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            state.problem = None
            self._outbox.passed(sink, [flush.number for flush in flushes])
            self._persisted["records"].set()
            return


def _step(name: str, flushes: Sequence[PersistedFlush]) -> AbstractContextManager[Span]:
    """A span of a step that ``flushes`` take together: a trace of its own, found by the number of the last."""
    return span(
        name,
        {
            "scrapewatch.flush": flushes[-1].number,
            "scrapewatch.flushes": len(flushes),
            "scrapewatch.events": sum(flush.events for flush in flushes),
        },
    )


def _joined(flushes: Sequence[PersistedFlush] | Sequence[Held]) -> Sequence[Batch]:
    """The batches of ``flushes``, one a tenant and tier; lines of later flushes stand behind those of earlier ones."""
    if len(flushes) == 1:
        return flushes[0].batches
    joined: dict[tuple[str, Tier], tuple[list[str], list[int]]] = {}
    for flush in flushes:
        for batch in flush.batches:
            lines, events = joined.setdefault((batch.tenant, batch.tier), ([], []))
            lines += batch.lines
            events += batch.events
    return [Batch(*key, *found) for key, found in joined.items()]


def _parted(
    rejected: Sequence[Rejected], flushes: Sequence[PersistedFlush] | Sequence[Held]
) -> dict[int, list[Rejected]]:
    """What was ``rejected``, by the number of the flush that it belongs to."""
    if not rejected:
        return {}
    homes: dict[tuple[str, Tier, str], list[int]] = {}
    for flush in flushes:
        for batch in flush.batches:
            for line in batch.lines:
                homes.setdefault((batch.tenant, batch.tier, line), []).append(flush.number)
    parted: dict[int, list[Rejected]] = {}
    for letter in rejected:
        # The same line in two flushes (a gauge told twice) is rejected twice: each has its own.
        numbers = homes[letter.tenant, letter.tier, letter.line]
        parted.setdefault(numbers[0] if len(numbers) == 1 else numbers.pop(0), []).append(letter)
    return parted


def _windows(letters: Sequence[DeadLetter]) -> list[RecordChanges]:
    """The windows that the points of ``letters`` make dirty."""
    times: dict[str, list[int]] = {}
    for item in letters:
        if item.letter.tier is Tier.FLEET:
            times.setdefault(item.letter.tenant, []).append(decode(item.letter.line).time)
    return [RecordChanges(tenant, None, [], windows_around(found)) for tenant, found in sorted(times.items())]
