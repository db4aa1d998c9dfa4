"""The spool: where events are durable before they are acknowledged, and flushes before they are written.

One SQLite file (WAL, ``synchronous=FULL``), one thread that writes to it. What arrives while a commit is under way shares the next one
(group commit): many requests, one fsync, no fixed wait, one row a tenant. Forwarding reads what became durable from the file, by its
:mod:`outbox <collector.outbox>`, and has noted here what becomes of it.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
import sqlite3
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import orjson
import structlog

from collector.decode import Event, pack
from collector.fold import Request
from collector.notes import Flushed, Note, Passed, Released, write
from collector.observed import Timing
from collector.spool_file import (
    LOG_BYTES,
    Squeezer,
    hold,
    insert,
    lay_out_log,
    open_for_reading,
    open_for_writing,
)
from collector.spool_view import DeadLetter, SpoolStatus, newest_letters, one, status_of
from scrapewatch.problems import Conflict, SpoolFull
from scrapewatch.time import DAY

log = structlog.get_logger(__name__)
T = TypeVar("T")

KEYS_KEPT: Final = 9 * DAY
"""How long keys of requests and events are known: longer than the oldest live event accepted (7 days) may wait."""

_MOST_IN_A_COMMIT = 500

# The log is copied into the database beside the commits, so that no ack waits for it; the commits only do the rest of it.
_CHECKPOINT_AFTER = LOG_BYTES * 3 // 4
_LONGEST_LOG = 128_000_000

# Pages that a commit writes to the log beside its blobs: counts, the ends of tables, what is freed.
_PAGES_A_COMMIT = 5

_SPARE = 64_000_000
_PAGES_GIVEN_BACK = 1_000

_MEASURE_EVERY = 0.1
_MEASURE_DISK_EVERY = 0.5
_OTHER_BODY = "this Idempotency-Key was used with another body; use a new key for new events"
_STOPPING = "the collector is stopping; send it again"


class Kept(msgspec.Struct, frozen=True):
    """What became of a request: how many of its events were made durable, how many were known; ``events`` are the new ones."""

    accepted: int
    duplicates: int
    times: Sequence[int]
    events: Sequence[Event]


class Append(msgspec.Struct, frozen=True):
    """A request on its way.

    ``key`` makes it idempotent (``body`` is a digest to tell another body under the same key), the events' own ids make each of them
    so. ``source`` names history sent under a key. Times are in ns. With ``lines`` the events are lines that pass through.
    """

    tenant: str
    times: Sequence[int]
    events: Sequence[Event]
    key: str | None
    body: bytes
    source: str | None
    received_at: int
    lines: bool = False


@dataclass(frozen=True, slots=True)
class _Sorted:
    """What became of each request, and the keys and ids to note."""

    outcomes: list[Kept | Conflict]
    keys: list[tuple[str, str, str, int]]
    ids: list[tuple[str, str, int]]


@dataclass(frozen=True, slots=True)
class _Noting:
    """Writes what forwarding has to note."""

    note: Note

    def __call__(self, connection: sqlite3.Connection) -> None:
        write(connection, self.note)

    @property
    def size(self) -> int:
        """About the bytes that it writes beside what every commit does."""
        match self.note:
            case Flushed():
                return len(self.note.batches) + len(self.note.changes)
            case Passed():
                return sum(len(part.lines) for part in self.note.held)
        return 0

    @property
    def may_be_lost(self) -> bool:
        """Whether a power loss may take it: a sink that passed a flush takes the same flush again, and counts it once all the same."""
        return isinstance(self.note, Passed | Released) and not self.note.rejected


_Job = Callable[[sqlite3.Connection], Any] | Append


class Spool:
    """The spool in ``folder``; safe to use from any thread.

    Args:
        folder: its own folder; held by one process at a time.
        max_bytes: size beyond which nothing is accepted.
        min_free_bytes: free space on the disk below which nothing is accepted.
        commit: takes how long each commit took.

    Both are called on the writing thread, once a commit: ``deliver`` with the outcomes of all requests that were handed in, ``arrived``
    when there is something new to forward.

    Raises:
        ConfigurationError: another process holds it, or a newer scrapewatch wrote it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = 4_000_000_000,
        min_free_bytes: int = 0,
        commit: Timing | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._commit_timing = commit or Timing()
        self._lock_file = hold(folder)
        self._jobs: queue.SimpleQueue[Sequence[tuple[_Job, Any]] | None] = queue.SimpleQueue()
        try:
            self._connection = open_for_writing(folder)
        except BaseException:
            self._lock_file.close()
            raise
        lay_out_log(folder)
        self._reader = open_for_reading(folder)
        self._reading = threading.RLock()
        self.id: str = one(self._connection, "SELECT value FROM meta WHERE name = 'id'")
        self._next_position = 1 + one(
            self._connection,
            "SELECT max((SELECT coalesce(max(last_position), 0) FROM flushes), "
            "(SELECT coalesce(max(position + count - 1), 0) FROM segments))",
        )
        self.deliver: Callable[[list[tuple[Any, Kept | Exception]]], None] = _no_delivery
        self.arrived: Callable[[], object] = _nobody_waits
        self._page_size: int = one(self._connection, "PRAGMA page_size")
        self._used = self._reusable = self._free = 0
        self._held: Counter[str] = Counter(
            dict(self._connection.execute("SELECT tenant, sum(size) FROM held GROUP BY tenant"))
        )
        self._measured = self._disk_measured = 0.0
        self._measure()
        self._measure_disk()
        self._squeeze = Squeezer()
        self._logged = 0
        self._waits = True
        self._copied = False
        self._closed = False
        self._closing = threading.Lock()
        self._checkpoint = threading.Event()
        self._threads = [
            threading.Thread(target=self._write_loop, name="spool", daemon=True),
            threading.Thread(target=self._checkpoint_loop, name="checkpoint", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    # --- accepting

    def append(
        self,
        tenant: str,
        times: Sequence[int],
        events: Sequence[Event],
        *,
        key: str | None,
        body: bytes,
        source: str | None,
        received_at: int,
    ) -> Future[Kept]:
        """Make ``events`` durable; the future is done once they are.

        The future raises:
            Conflict: the key was used with another body.
            SpoolFull: there is no room.
        """
        return self._submit(Append(tenant, times, events, key, body, source, received_at))

    def hand_in(self, requests: Sequence[tuple[Append, Any]]) -> None:
        """The same for many, each with who waits for it, which goes to ``deliver`` beside its outcome or error."""
        with self._closing:
            if not self._closed:
                self._jobs.put(requests)
                return
        self.deliver([(waiting, SpoolFull(_STOPPING)) for _, waiting in requests])

    def knows(self, tenant: str, key: str, body: bytes) -> Future[bool]:
        """Whether a request with ``key`` was appended; the future raises :class:`Conflict` when it was one with another body."""
        return self._submit(lambda connection: _is_known(connection, tenant, key, body))

    def room(self, tenant: str | None = None) -> str | None:
        """None while there is room for more (of ``tenant``), or else what is wrong.

        What waits because of a tenant's own token or bucket may take half of the spool: the other half is for all others.
        """
        if self._held and tenant is not None and self._held.get(tenant, 0) > self._max_bytes // 2:
            return (
                f"what waits of this tenant alone takes {self._held[tenant]} bytes, half of what the spool may hold: "
                "the store refuses its token or bucket"
            )
        if self._used > self._max_bytes:
            return f"the spool holds {self._used} bytes and may hold {self._max_bytes}"
        if time.monotonic() - self._disk_measured > _MEASURE_DISK_EVERY:
            self._measure_disk()
        free = self._free + self._reusable
        if free < self._min_free_bytes:
            return f"the disk of the spool has {free} bytes free and must keep {self._min_free_bytes}"
        return None

    def _sort_out(self, connection: sqlite3.Connection, items: Sequence[Append]) -> _Sorted:
        """What of each request is new, in their order.

        A few statements for all of them: each statement gives up the interpreter, and gets it back only when it is its turn.
        """
        keys: dict[str, dict[str, bytes]] = {}
        ids: dict[str, set[str]] = {}
        for tenant in {item.tenant for item in items}:
            asked = [item for item in items if item.tenant == tenant]
            if wanted := [item.key for item in asked if item.key is not None]:
                keys[tenant] = _known_keys(connection, tenant, wanted)
            if wanted := [
                e.event_id for item in asked if not item.lines for e in item.events if e.event_id is not None
            ]:
                ids[tenant] = _known_ids(connection, tenant, wanted)
        new_keys: list[tuple[str, str, str, int]] = []
        new_ids: list[tuple[str, str, int]] = []
        outcomes: list[Kept | Conflict] = []
        for item in items:
            if item.key is not None:
                known = keys[item.tenant]
                if item.key in known:
                    same = known[item.key] == item.body
                    outcomes.append(Kept(0, len(item.events), (), ()) if same else Conflict(_OTHER_BODY))
                    continue
                known[item.key] = item.body
                new_keys.append((item.tenant, item.key, item.body.hex(), item.received_at))
            times, events = item.times, item.events
            if item.tenant in ids and not item.lines:
                met = ids[item.tenant]
                fresh: list[int] = []
                for place, event in enumerate(events):
                    if event.event_id is not None:
                        if event.event_id in met:
                            continue
                        met.add(event.event_id)
                        new_ids.append((item.tenant, event.event_id, item.received_at))
                    fresh.append(place)
                if len(fresh) < len(events):
                    times, events = [times[k] for k in fresh], [events[k] for k in fresh]
            outcomes.append(Kept(len(events), len(item.events) - len(events), times, events))
        return _Sorted(outcomes, new_keys, new_ids)

    def _store(self, connection: sqlite3.Connection, requests: Sequence[Request]) -> None:
        """Write ``requests`` as segments; they count as accepted."""
        for request in requests:
            blob = self._squeeze(pack(request.times, request.events))
            count = len(request.events)
            connection.execute(
                "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    self._next_position,
                    count,
                    request.tenant,
                    request.source,
                    request.received_at,
                    zlib.crc32(blob),
                    blob,
                ),
            )
            self._next_position += count
            self._logged += len(blob)
            self._used += len(blob)  # about: it is measured now and then

    # --- forwarding

    def note(self, note: Note) -> None:
        """Write what forwarding has to note; returns once it is durable, or will be with what is durable next.

        Raises:
            SpoolFull: it cannot be written now.
        """
        self._submit(_Noting(note)).result()

    def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """The newest dead letters."""
        with self._reading:
            return newest_letters(self._reader, limit)

    # --- keeping house

    def forget_keys(self, now: int) -> None:
        """Forget keys, ids and memory older than :data:`KEYS_KEPT`."""

        def job(connection: sqlite3.Connection) -> None:
            for table in ("request_keys", "event_ids", "memory"):
                connection.execute(f"DELETE FROM {table} WHERE at < ?", (now - KEYS_KEPT,))  # noqa: S608 - a name of ours

        self._submit(job).result()

    def status(self) -> SpoolStatus:
        """Figures of the spool, all of one moment."""
        with self._reading:
            return status_of(self._reader, size_bytes=self._used)

    def close(self) -> None:
        """Finish what was submitted and let go of the folder."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._jobs.put(None)  # nothing comes after it, and so nobody waits for ever
        self._checkpoint.set()
        for thread in self._threads:
            thread.join()
        with self._reading:
            self._reader.close()
        with contextlib.suppress(sqlite3.Error):
            # What is closed is one file without a log, and can be copied.
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()
        self._lock_file.close()

    # --- reading

    def _read(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with self._reading:
            return self._reader.execute(statement, parameters).fetchall()

    # --- the writing thread

    def _submit(self, job: Callable[[sqlite3.Connection], T | Exception] | Append) -> Future[Any]:
        future: Future[Any] = Future()
        with self._closing:
            if self._closed:
                future.set_exception(SpoolFull(_STOPPING))
            else:
                self._jobs.put([(job, future)])
        return future

    def _write_loop(self) -> None:
        going = True
        while going:
            group: list[tuple[_Job, Any]] = []
            handed = self._jobs.get()
            with contextlib.suppress(queue.Empty):
                while handed is not None:
                    group += handed
                    if len(group) >= _MOST_IN_A_COMMIT:
                        break
                    handed = self._jobs.get_nowait()
            going = handed is not None
            try:
                # Who waited may have been cancelled; from here on nobody can be, so that each outcome can be told.
                self._write(
                    [
                        item
                        for item in group
                        if not isinstance(item[1], Future) or item[1].set_running_or_notify_cancel()
                    ]
                )
                self._keep_house()
            except Exception:  # every ack waits for this thread: whatever it was, it goes on
                log.exception("the spool goes on after a fault")

    def _write(self, group: Sequence[tuple[_Job, Any]]) -> None:
        outcomes: list[tuple[Any, Any]] = []
        try:
            self._commit(group, outcomes)
        except Exception as error:  # none that was foreseen; nobody may wait for ever
            log.exception("the spool goes on after a fault")
            told = {id(waiting) for waiting, _ in outcomes}
            outcomes += [(waiting, error) for _, waiting in group if id(waiting) not in told]
        informed = []
        for waiting, outcome in outcomes:
            if not isinstance(waiting, Future):
                informed.append((waiting, outcome))
            elif isinstance(outcome, Exception):
                waiting.set_exception(outcome)
            else:
                waiting.set_result(outcome)
        if informed:
            self.deliver(informed)

    def _keep_house(self) -> None:
        if self._logged > _LONGEST_LOG:
            self._checkpoint_here("TRUNCATE")
        elif self._copied:
            self._checkpoint_here("PASSIVE")
        if self._reusable > max(_SPARE, self._used):
            self._give_back()
        elif self._logged > _CHECKPOINT_AFTER:
            self._checkpoint.set()

    def _commit(self, group: Sequence[tuple[_Job, Any]], outcomes: list[tuple[Any, Any]]) -> None:
        position = self._next_position
        appends = [(job, waiting) for job, waiting in group if isinstance(job, Append)]
        done: list[tuple[Any, Any]] = []
        began = time.perf_counter()
        try:
            # Nobody else writes keys and ids: they can be looked up before the transaction.
            found = self._sort_out(self._connection, [job for job, _ in appends])
            fresh = [
                (job, outcome)
                for (job, _), outcome in zip(appends, found.outcomes, strict=True)
                if isinstance(outcome, Kept) and outcome.events
            ]
            requests = _joined(fresh)
            notes = [job for job, _ in group if isinstance(job, _Noting)]
            self._wait_for_the_disk(len(notes) < len(group) or not all(note.may_be_lost for note in notes))
            if len(requests) != 1 or found.keys or found.ids or len(appends) < len(group):
                self._connection.execute("BEGIN IMMEDIATE")
            for job, waiting in group:
                if not isinstance(job, Append):
                    done.append((waiting, job(self._connection)))
            insert(self._connection, "request_keys", 4, found.keys)
            insert(self._connection, "event_ids", 3, found.ids)
            self._store(self._connection, requests)
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")
            self._logged += _PAGES_A_COMMIT * self._page_size + sum(note.size for note in notes)
            for noting in notes:
                self._count_held(noting.note)
            done += [
                (waiting, outcome) for (_, waiting), outcome in zip(appends, found.outcomes, strict=True)
            ]
        except Exception as error:  # whatever it was, nobody may be told that it is durable
            self._next_position = position
            if self._connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
            if len(group) > 1:
                # One that cannot be done must not take the others with it.
                for item in group:
                    self._commit([item], outcomes)
            elif group:
                if isinstance(error, sqlite3.DatabaseError | OSError):
                    log.error("the spool cannot be written", error=str(error))
                    error = SpoolFull(f"the spool cannot be written: {error}")
                outcomes.append((group[0][1], error))
            return
        self._commit_timing.add(time.perf_counter() - began)
        outcomes += done
        if requests:
            self.arrived()
        if len(appends) < len(group) or time.monotonic() - self._measured > _MEASURE_EVERY:
            with contextlib.suppress(sqlite3.Error, OSError):
                self._measure()

    def _count_held(self, note: Note) -> None:
        if isinstance(note, Passed):
            for part in note.held:
                self._held[part.tenant] += len(part.lines)
        elif isinstance(note, Released):
            self._held[note.tenant] -= note.size
            if self._held[note.tenant] <= 0:
                del self._held[note.tenant]

    # --- the log

    def _wait_for_the_disk(self, wanted: bool) -> None:
        """Whether the next commit waits until it is on the disk, or is so with the next one that does: it stands before it in the log."""
        if wanted != self._waits:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if wanted else 'NORMAL'}")
            self._waits = wanted

    def _checkpoint_loop(self) -> None:
        connection = open_for_reading(self.folder)
        try:
            while self._checkpoint.wait():
                # Before it is looked whether this is the end: what is set from here on is seen the next time.
                self._checkpoint.clear()
                if self._closed:
                    return
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                # The commits that came meanwhile are few: once they are copied, too, the log begins anew.
                self._copied = True
                self._submit(lambda _: None)
        finally:
            connection.close()

    def _checkpoint_here(self, how: str) -> None:
        self._copied = False
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute(f"PRAGMA wal_checkpoint({how})")
        self._logged = 0

    def _give_back(self) -> None:
        """Make the file a little smaller: a backlog that is through need not keep its room."""
        with contextlib.suppress(sqlite3.Error):
            # As a script, because a statement without columns would be stepped only once.
            self._connection.executescript(f"PRAGMA incremental_vacuum({_PAGES_GIVEN_BACK})")
            self._logged += _PAGES_GIVEN_BACK * self._page_size
            self._measure()

    def _measure(self) -> None:
        # What is free in the file is used again. Its log is no measure, being as long as the longest transaction was.
        free, pages = self._connection.execute(
            "SELECT freelist_count, page_count FROM pragma_freelist_count, pragma_page_count"
        ).fetchone()
        self._used = (pages - free) * self._page_size
        self._reusable = free * self._page_size
        self._measured = time.monotonic()

    def _measure_disk(self) -> None:
        self._free = shutil.disk_usage(self.folder).free
        self._disk_measured = time.monotonic()


def _joined(fresh: Sequence[tuple[Append, Kept]]) -> list[Request]:
    """What is new: one request a tenant, and one for each that is history under a key or has lines that pass through."""
    joined: dict[str, Request] = {}
    requests: list[Request] = []
    for item, kept in fresh:
        if item.source is not None or item.lines:
            requests.append(Request(item.tenant, item.source, item.received_at, kept.times, kept.events))
            continue
        request = joined.get(item.tenant)
        if request is None:
            request = joined[item.tenant] = Request(item.tenant, None, item.received_at, [], [])
            requests.append(request)
        request.times.extend(kept.times)  # type: ignore[attr-defined]
        request.events.extend(kept.events)  # type: ignore[attr-defined]
    return requests


def _nobody_waits() -> None:
    """Nothing forwards what is spooled."""


def _no_delivery(_: list[tuple[Any, Kept | Exception]]) -> None:
    """Nobody asked to be informed."""


def _is_known(connection: sqlite3.Connection, tenant: str, key: str, body: bytes) -> bool | Conflict:
    known = _known_keys(connection, tenant, [key])
    return Conflict(_OTHER_BODY) if known.get(key, body) != body else key in known


def _known_keys(connection: sqlite3.Connection, tenant: str, keys: Sequence[str]) -> dict[str, bytes]:
    """Those of ``keys`` that were used, with the digests of their bodies."""
    found = connection.execute(
        "SELECT key, body FROM request_keys WHERE tenant = ? AND key IN (SELECT value FROM json_each(?))",
        (tenant, orjson.dumps(keys).decode()),
    )
    return {key: bytes.fromhex(body) if isinstance(body, str) else body for key, body in found}


def _known_ids(connection: sqlite3.Connection, tenant: str, ids: Sequence[str]) -> set[str]:
    """Those of ``ids`` that were met."""
    found = connection.execute(
        "SELECT event_id FROM event_ids WHERE tenant = ? AND event_id IN (SELECT value FROM json_each(?))",
        (tenant, orjson.dumps(ids).decode()),
    )
    return {event_id for (event_id,) in found}
