"""The spool: where events are durable before they are acknowledged, and flushes before they are written.

One SQLite file (WAL, ``synchronous=FULL``), one thread that writes to it. What arrives while a commit is under way shares the next one
(group commit): many requests, one fsync, no fixed wait.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import shutil
import sqlite3
import threading
import uuid
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson
import structlog

from collector.fold import Folded, Memory, Request
from scrapewatch.measurements import Tier
from scrapewatch.ports import Batch, Flush, RecordChanges, Rejected, RowChange
from scrapewatch.problems import ConfigurationError, Conflict, SpoolFull
from scrapewatch.time import DAY, now_ns

log = structlog.get_logger(__name__)
T = TypeVar("T")

FORMAT: Final = 1
KEYS_KEPT: Final = 9 * DAY
"""How long keys of requests and events are known: longer than the oldest live event accepted (7 days) may wait."""

_MOST_IN_A_COMMIT = 500
_MOST_BYTES_IN_A_CUT = 32_000_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS requests (
    position INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    source TEXT,
    received_at INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    events BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS request_keys (
    tenant TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event_ids (
    tenant TEXT NOT NULL, event_id TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (tenant, event_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS flushes (
    number INTEGER PRIMARY KEY,
    last_position INTEGER NOT NULL,
    events INTEGER NOT NULL,
    sources INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    batches BLOB NOT NULL,
    changes BLOB NOT NULL,
    series_done INTEGER NOT NULL DEFAULT 0,
    records_done INTEGER NOT NULL DEFAULT 0,
    windows_done INTEGER NOT NULL DEFAULT 0,
    dead_events INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS memory (
    tenant TEXT NOT NULL, session_id TEXT NOT NULL, sites BLOB NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (tenant, session_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dead_letters (
    id INTEGER PRIMARY KEY,
    flush INTEGER NOT NULL, tenant TEXT NOT NULL, tier TEXT NOT NULL, line TEXT NOT NULL,
    events INTEGER NOT NULL, reason TEXT NOT NULL, at INTEGER NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a request: how many of its events were made durable, how many were known; ``events`` are the new ones."""

    accepted: int
    duplicates: int
    events: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Cut:
    """A range of the spool for one flush: up to ``last_position``; ``damaged`` events in it can no longer be read."""

    last_position: int
    requests: Sequence[Request]
    damaged: int


@dataclass(frozen=True, slots=True)
class PersistedFlush:
    """A numbered flush as it was persisted: what is sent, now or after a crash."""

    number: int
    events: int
    batches: Sequence[Batch]
    changes: Sequence[RecordChanges]

    def flush(self, collector_no: int) -> Flush:
        """Its half for the series store."""
        return Flush(collector_no, self.number, self.batches)


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """The invariant ``accepted = delivered + spooled + dead_lettered``, in events.

    Ages are in seconds: of the oldest spooled, and of the oldest that the records do not have.
    """

    accepted: int
    delivered: int
    spooled: int
    dead_lettered: int
    flushes_pending: int
    oldest_age: float
    unrecorded_age: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Append:
    tenant: str
    key: str | None
    body: bytes
    source: str | None
    received_at: int
    events: Sequence[Mapping[str, Any]]


class Spool:
    """The spool in ``folder``; safe to use from any thread.

    Args:
        folder: its own folder; held by one process at a time.
        max_bytes: size beyond which nothing is accepted.
        min_free_bytes: free space on the disk below which nothing is accepted.

    Raises:
        ConfigurationError: another process holds it, or a newer scrapewatch wrote it.
    """

    def __init__(self, folder: Path, *, max_bytes: int = 4_000_000_000, min_free_bytes: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._lock_file = _hold(folder / "lock")
        self._path = folder / "spool.sqlite"
        self._jobs: queue.SimpleQueue[tuple[Callable[[sqlite3.Connection], Any], Future[Any]] | None] = (
            queue.SimpleQueue()
        )
        try:
            self._connection = self._open()
        except BaseException:
            self._lock_file.close()
            raise
        self.id: str = self._meta("id")
        self._next_position = self._find_next_position()
        self._page_size: int = _one(self._connection, "PRAGMA page_size")
        self._used = self._reusable = 0
        self._measure()
        self._closed = False
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._write_loop, name="spool", daemon=True)
        self._thread.start()

    # --- accepting

    def append(
        self,
        tenant: str,
        events: Sequence[Mapping[str, Any]],
        *,
        key: str | None,
        body: bytes,
        source: str | None,
        received_at: int,
    ) -> Future[Kept]:
        """Make ``events`` durable; the future is done once they are.

        ``key`` makes the request idempotent (``body`` is a digest to tell another body under the same key), the events' own ids make
        each of them so. ``source`` names history sent under a key.

        The future raises:
            Conflict: the key was used with another body.
            SpoolFull: there is no room.
        """
        item = _Append(tenant, key, body, source, received_at, events)
        return self._submit(lambda connection: self._store(connection, item))

    def knows(self, tenant: str, key: str, body: bytes) -> Future[bool]:
        """Whether a request with ``key`` was appended; the future raises :class:`Conflict` when it was one with another body."""
        return self._submit(lambda connection: _is_known(connection, tenant, key, body))

    def room(self) -> str | None:
        """None while there is room for more, or else what is wrong."""
        if self._used > self._max_bytes:
            return f"the spool holds {self._used} bytes and may hold {self._max_bytes}"
        free = shutil.disk_usage(self._folder).free + self._reusable
        if free < self._min_free_bytes:
            return f"the disk of the spool has {free} bytes free and must keep {self._min_free_bytes}"
        return None

    def _store(self, connection: sqlite3.Connection, item: _Append) -> Kept | Exception:
        if item.key is not None:
            known = _is_known(connection, item.tenant, item.key, item.body)
            if isinstance(known, Conflict):
                return known
            if known:
                return Kept(0, len(item.events), ())
        fresh = list(item.events)
        if any(event["event_id"] is not None for event in fresh):
            fresh = [event for event in fresh if self._is_new(connection, item, event)]
        if fresh:
            blob = zlib.compress(orjson.dumps(fresh), 1)
            connection.execute(
                "INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    self._next_position,
                    len(fresh),
                    item.tenant,
                    item.source,
                    item.received_at,
                    zlib.crc32(blob),
                    blob,
                ),
            )
            self._next_position += len(fresh)
            _count(connection, "accepted", len(fresh))
        if item.key is not None:
            connection.execute(
                "INSERT INTO request_keys VALUES (?, ?, ?, ?)",
                (item.tenant, item.key, item.body, item.received_at),
            )
        return Kept(len(fresh), len(item.events) - len(fresh), fresh)

    def _is_new(self, connection: sqlite3.Connection, item: _Append, event: Mapping[str, Any]) -> bool:
        if event["event_id"] is None:
            return True
        return (
            connection.execute(
                "INSERT OR IGNORE INTO event_ids VALUES (?, ?, ?)",
                (item.tenant, event["event_id"], item.received_at),
            ).rowcount
            == 1
        )

    # --- flushing

    def uncut(self, most_events: int) -> Cut | None:
        """The oldest requests that no flush holds, up to about ``most_events`` events; None when there are none."""
        return self._submit(lambda connection: self._uncut(connection, most_events)).result()

    def _uncut(self, connection: sqlite3.Connection, most_events: int) -> Cut | None:
        after = _one(connection, "SELECT coalesce(max(last_position), 0) FROM flushes")
        requests: list[Request] = []
        total = damaged = size = 0
        for position, count, tenant, source, received_at, checksum, blob in connection.execute(
            "SELECT position, count, tenant, source, received_at, checksum, events FROM requests "
            "WHERE position > ? ORDER BY position",
            (after,),
        ):
            # Events with long texts are few: a backlog of them must fit in memory, and a flush in a row, all the same.
            if total and (total + count > most_events or size > _MOST_BYTES_IN_A_CUT):
                break
            after = position + count - 1
            total += count
            if zlib.crc32(blob) != checksum:
                # Its events cannot be known any more: they are counted as dead letters, the rest is kept.
                log.error("a request in the spool is damaged", position=position, events=count)
                damaged += count
                continue
            plain = zlib.decompress(blob)
            size += len(plain)
            requests.append(Request(tenant, source, received_at, orjson.loads(plain)))
        return Cut(after, requests, damaged) if total else None

    def memory(self, sessions: Iterable[tuple[str, str]]) -> Memory:
        """What earlier folds knew of ``sessions`` (tenant, session_id)."""
        wanted = list(sessions)

        def read(connection: sqlite3.Connection) -> Memory:
            found: Memory = {}
            for tenant, session_id in wanted:
                row = connection.execute(
                    "SELECT sites FROM memory WHERE tenant = ? AND session_id = ?", (tenant, session_id)
                ).fetchone()
                if row is not None:
                    found[(tenant, session_id)] = orjson.loads(row[0])
            return found

        return self._submit(read).result()

    def next_number(self) -> int:
        """The number of the next flush."""
        return int(
            self._submit(
                lambda connection: _one(connection, "SELECT coalesce(max(number), 0) FROM flushes")
            ).result()
            + 1
        )

    def persist(self, number: int, cut: Cut, folded: Folded) -> None:
        """Make flush ``number`` durable: the encoded lines and the record changes that are sent, now or after a crash."""
        batches = zlib.compress(orjson.dumps(folded.batches), 1)
        changes = zlib.compress(orjson.dumps(folded.changes, option=orjson.OPT_NON_STR_KEYS), 1)
        sources = int(any(change.source is not None for change in folded.changes))

        def write(connection: sqlite3.Connection) -> None:
            now = now_ns()
            # The flush holds them now, in the form in which they are sent; and it can take their place where there is no other.
            connection.execute("DELETE FROM requests WHERE position <= ?", (cut.last_position,))
            connection.execute(
                "INSERT INTO flushes (number, last_position, events, sources, created_at, batches, changes, dead_events) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    number,
                    cut.last_position,
                    folded.events + cut.damaged,
                    sources,
                    now,
                    batches,
                    changes,
                    cut.damaged,
                ),
            )
            connection.executemany(
                "INSERT OR REPLACE INTO memory VALUES (?, ?, ?, ?)",
                [
                    (tenant, session, orjson.dumps(sites), now)
                    for (tenant, session), sites in folded.memory.items()
                ],
            )

        self._submit(write).result()

    def pending(self, sink: str) -> PersistedFlush | None:
        """The oldest flush that waits for ``sink`` (``series``, ``records`` or ``windows``); None while its turn has not come."""

        def read(connection: sqlite3.Connection) -> PersistedFlush | None:
            while True:
                row = connection.execute(
                    f"SELECT number, events, {_READY[sink]}, batches, changes FROM flushes "  # noqa: S608 - names of ours
                    f"WHERE {_SINKS[sink]} = 0 ORDER BY number LIMIT 1"
                ).fetchone()
                if row is None or not row[2]:
                    return None
                number, events, _, batches, changes = row
                try:
                    return _persisted(number, events, batches, changes)
                except (zlib.error, orjson.JSONDecodeError):
                    # What it was cannot be known any more: its events are counted as dead letters, those after it go on.
                    log.error("a flush in the spool is damaged", number=number, events=events)
                    connection.execute(
                        "UPDATE flushes SET series_done = 1, records_done = 1, windows_done = 1, dead_events = events "
                        "WHERE number = ?",
                        (number,),
                    )
                    _free(connection)

        return self._submit(read).result()

    def passed(self, sink: str, number: int, rejected: Sequence[Rejected] = ()) -> None:
        """Note that ``sink`` has passed flush ``number``; ``rejected`` become dead letters. Frees what all have passed."""

        def write(connection: sqlite3.Connection) -> None:
            now = now_ns()
            connection.executemany(
                "INSERT INTO dead_letters (flush, tenant, tier, line, events, reason, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        number,
                        letter.tenant,
                        letter.tier,
                        letter.line,
                        letter.events,
                        letter.reason[:2_000],
                        now,
                    )
                    for letter in rejected
                ],
            )
            connection.execute(
                f"UPDATE flushes SET {_SINKS[sink]} = 1, dead_events = dead_events + ? WHERE number = ?",  # noqa: S608 - a name of ours
                (sum(letter.events for letter in rejected), number),
            )
            _free(connection)

        self._submit(write).result()

    # --- keeping house

    def forget_keys(self, now: int) -> None:
        """Forget keys, ids and memory older than :data:`KEYS_KEPT`."""

        def write(connection: sqlite3.Connection) -> None:
            for table in ("request_keys", "event_ids", "memory"):
                connection.execute(f"DELETE FROM {table} WHERE at < ?", (now - KEYS_KEPT,))  # noqa: S608 - a name of ours

        self._submit(write).result()

    def status(self) -> SpoolStatus:
        """Figures of the spool."""

        def read(connection: sqlite3.Connection) -> SpoolStatus:
            uncut = _one(connection, "SELECT coalesce(sum(count), 0) FROM requests")
            cut, pending, oldest_flush = connection.execute(
                "SELECT coalesce(sum(events), 0), count(*), min(created_at) FROM flushes WHERE events >= 0"
            ).fetchone()
            oldest_request = _one(connection, "SELECT min(received_at) FROM requests")
            oldest_unrecorded = _one(connection, "SELECT min(created_at) FROM flushes WHERE records_done = 0")
            now = now_ns()

            def age(*since: int | None) -> float:
                return max((now - at for at in since if at is not None), default=0) / 1e9

            return SpoolStatus(
                accepted=_one(connection, "SELECT value FROM meta WHERE name = 'accepted'"),
                delivered=_one(connection, "SELECT value FROM meta WHERE name = 'delivered'"),
                spooled=uncut + cut,
                dead_lettered=_one(connection, "SELECT value FROM meta WHERE name = 'dead_lettered'"),
                flushes_pending=pending,
                oldest_age=age(oldest_flush, oldest_request),
                unrecorded_age=age(oldest_unrecorded, oldest_request),
                size_bytes=self._used,
            )

        return self._submit(read).result()

    def dead_letters(self, limit: int = 100) -> list[Rejected]:
        """The newest dead letters."""

        def read(connection: sqlite3.Connection) -> list[Rejected]:
            return [
                Rejected(tenant, Tier(tier), line, events, reason)
                for tenant, tier, line, events, reason in connection.execute(
                    "SELECT tenant, tier, line, events, reason FROM dead_letters ORDER BY id DESC LIMIT ?",
                    (limit,),
                )
            ]

        return self._submit(read).result()

    def close(self) -> None:
        """Finish what was submitted and let go of the folder."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._jobs.put(None)  # nothing comes after it, and so nobody waits for ever
        self._thread.join()
        self._connection.close()
        self._lock_file.close()

    # --- the writing thread

    def _submit(self, job: Callable[[sqlite3.Connection], T | Exception]) -> Future[T]:
        future: Future[T] = Future()
        with self._closing:
            if self._closed:
                future.set_exception(SpoolFull("the collector is stopping; send it again"))
            else:
                self._jobs.put((job, future))
        return future

    def _write_loop(self) -> None:
        stopping = False
        while not stopping:
            group = [self._jobs.get()]
            with contextlib.suppress(queue.Empty):
                while len(group) < _MOST_IN_A_COMMIT:
                    group.append(self._jobs.get_nowait())
            if None in group:
                stopping = True
            # Who waited may have been cancelled; from here on nobody can be, so that each outcome can be told.
            self._commit(
                [item for item in group if item is not None and item[1].set_running_or_notify_cancel()]
            )

    def _commit(self, group: Sequence[tuple[Callable[[sqlite3.Connection], Any], Future[Any]]]) -> None:
        position = self._next_position
        outcomes: list[tuple[Future[Any], Any]] = []
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for job, future in group:
                outcomes.append((future, job(self._connection)))
            self._connection.execute("COMMIT")
        except Exception as error:  # whatever it was, nobody may be told that it is durable
            self._next_position = position
            if self._connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
            if len(group) > 1:
                # One that cannot be done must not take the others with it.
                for item in group:
                    self._commit([item])
                return
            if isinstance(error, sqlite3.OperationalError | sqlite3.DatabaseError | OSError):
                log.error("the spool cannot be written", error=str(error))
                error = SpoolFull(f"the spool cannot be written: {error}")
            group[0][1].set_exception(error)
            return
        with contextlib.suppress(sqlite3.Error):
            self._measure()
        for future, outcome in outcomes:
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    # --- opening

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=10)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.split(";"):
            if statement.strip():
                connection.execute(statement)
        written = connection.execute("SELECT value FROM meta WHERE name = 'format'").fetchone()
        if written is None:
            connection.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                [
                    ("format", FORMAT),
                    ("id", str(uuid.uuid4())),
                    ("accepted", 0),
                    ("delivered", 0),
                    ("dead_lettered", 0),
                ],
            )
        elif written[0] != FORMAT:
            connection.execute("ROLLBACK")
            connection.close()
            raise ConfigurationError(
                f"the spool in {self._folder} has format {written[0]}, this scrapewatch knows {FORMAT}: "
                "use the release that wrote it, or let it drain there first"
            )
        connection.execute("COMMIT")
        return connection

    def _meta(self, name: str) -> Any:
        return _one(self._connection, "SELECT value FROM meta WHERE name = ?", name)

    def _measure(self) -> None:
        # The file never shrinks: what is free in it is used again. Its log is no measure, being as long as the longest transaction was.
        free = _one(self._connection, "PRAGMA freelist_count")
        self._used = (_one(self._connection, "PRAGMA page_count") - free) * self._page_size
        self._reusable = free * self._page_size

    def _find_next_position(self) -> int:
        last_request = _one(self._connection, "SELECT max(position + count - 1) FROM requests") or 0
        last_flush = _one(self._connection, "SELECT max(last_position) FROM flushes") or 0
        return int(max(last_request, last_flush)) + 1


_SINKS: Final = {"series": "series_done", "records": "records_done", "windows": "windows_done"}
# A window may be marked for the roller only once the points are there to be rolled up. History sent under a key is known to the records
# for good, so only once all else is done: a spool that is lost in between costs nothing, since the history can be sent again.
_READY: Final = {"series": "1", "records": "sources = 0 OR windows_done = 1", "windows": "series_done = 1"}


def _hold(path: Path) -> Any:
    """An exclusive lock that the system frees when the process dies, however it dies."""
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise ConfigurationError(
            f"the spool in {path.parent} is held by process {holder}: stop that collector, "
            "or give this one a folder of its own with SCRAPEWATCH_DATA_DIR"
        ) from error
    file.seek(0)
    file.truncate()
    file.write(str(os.getpid()))
    file.flush()
    return file


def _is_known(connection: sqlite3.Connection, tenant: str, key: str, body: bytes) -> bool | Conflict:
    known = _one(connection, "SELECT body FROM request_keys WHERE tenant = ? AND key = ?", tenant, key)
    if known is not None and known != body:
        return Conflict("this Idempotency-Key was used with another body; use a new key for new events")
    return known is not None


def _persisted(number: int, events: int, batches: bytes, changes: bytes) -> PersistedFlush:
    return PersistedFlush(
        number,
        events,
        [
            Batch(item["tenant"], Tier(item["tier"]), item["lines"], item["events"])
            for item in orjson.loads(zlib.decompress(batches))
        ],
        [
            RecordChanges(
                item["tenant"],
                item["source"],
                [RowChange(**row) for row in item["rows"]],
                {Tier(tier): starts for tier, starts in item["windows"].items()},
            )
            for item in orjson.loads(zlib.decompress(changes))
        ],
    )


def _free(connection: sqlite3.Connection) -> None:
    """Count and free the flushes that every sink has passed."""
    for done, events, dead in connection.execute(
        "SELECT number, events, dead_events FROM flushes WHERE series_done = 1 AND records_done = 1 "
        "AND windows_done = 1 AND events >= 0"
    ).fetchall():
        _count(connection, "delivered", events - dead)
        _count(connection, "dead_lettered", dead)
        # The newest stays as a marker: its number and position must not be given again.
        connection.execute(
            "UPDATE flushes SET events = -1, batches = '', changes = '' WHERE number = ?", (done,)
        )
    connection.execute("DELETE FROM flushes WHERE events = -1 AND number < (SELECT max(number) FROM flushes)")


def _one(connection: sqlite3.Connection, statement: str, *parameters: Any) -> Any:
    row = connection.execute(statement, parameters).fetchone()
    return None if row is None else row[0]


def _count(connection: sqlite3.Connection, name: str, events: int) -> None:
    if events:
        connection.execute("UPDATE meta SET value = value + ? WHERE name = ?", (events, name))
