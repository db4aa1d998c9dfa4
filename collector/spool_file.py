"""The file of a spool: its tables, who holds it, and how an older format becomes the present one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import sys
import uuid
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
import structlog

from collector.decode import from_model, pack
from collector.spool_view import one
from scrapewatch.problems import ConfigurationError
from scrapewatch.time import now_ns

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

log = structlog.get_logger(__name__)

FORMAT: Final = 3
"""1 kept each request as compressed JSON, 2 knew no lines that pass through and held nothing back; such are converted when opened."""

LOG_BYTES: Final = 8_000_000
"""Length to which the log is laid out, and after which it begins anew."""

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS segments (
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
CREATE TABLE IF NOT EXISTS held (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL, external INTEGER NOT NULL, number INTEGER NOT NULL,
    events INTEGER NOT NULL, size INTEGER NOT NULL, at INTEGER NOT NULL,
    lines BLOB NOT NULL, windows TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS held_of ON held (tenant, external, number, events, size, at);
CREATE TABLE IF NOT EXISTS memory (
    tenant TEXT NOT NULL, session_id TEXT NOT NULL, sites BLOB NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (tenant, session_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dead_letters (
    id INTEGER PRIMARY KEY,
    flush INTEGER NOT NULL, tenant TEXT NOT NULL, tier TEXT NOT NULL, line TEXT NOT NULL,
    events INTEGER NOT NULL, reason TEXT NOT NULL, at INTEGER NOT NULL,
    wanted INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS quarantine (
    id INTEGER PRIMARY KEY, what TEXT NOT NULL, events INTEGER NOT NULL, bytes BLOB NOT NULL, at INTEGER NOT NULL
);
"""

# In one step with the insert: each statement of its own costs an ack a turn of the interpreter.
_COUNTS_ACCEPTED = """
CREATE TRIGGER IF NOT EXISTS count_accepted AFTER INSERT ON segments BEGIN
    UPDATE meta SET value = value + NEW.count WHERE name = 'accepted';
END
"""


def hold(folder: Path) -> Any:
    """An exclusive lock on ``folder`` that the system frees when the process dies, however it dies.

    Raises:
        ConfigurationError: another process has it.
    """
    file = (folder / "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise ConfigurationError(
            f"the spool in {folder} is held by process {holder}: stop that collector, "
            "or give this one a folder of its own with SCRAPEWATCH_DATA_DIR"
        ) from error
    file.seek(0)
    file.truncate()
    file.write(str(os.getpid()))
    file.flush()
    return file


def path_in(folder: Path) -> Path:
    """The file of the spool in ``folder``."""
    return folder / "spool.sqlite"


def open_for_writing(folder: Path) -> sqlite3.Connection:
    """The spool in ``folder``, made or brought to the present format; every commit is on the disk when it returns.

    Raises:
        ConfigurationError: a newer scrapewatch wrote it, or it cannot be opened.
    """
    connection = sqlite3.connect(path_in(folder), isolation_level=None, check_same_thread=False, timeout=10)
    try:
        # Before anything is changed: what a newer scrapewatch wrote stays as it is.
        _known_format(connection, folder)
        connection.execute(
            "PRAGMA auto_vacuum = INCREMENTAL"
        )  # of a file that is new; others keep their size
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("BEGIN IMMEDIATE")
        _bring_up(connection, folder)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        connection.close()
        raise ConfigurationError(_cannot_be_opened(folder, error)) from error
    except BaseException:
        connection.close()
        raise
    return connection


def lay_out_log(folder: Path) -> None:
    """Give the log of the spool in ``folder``, which is open, all its room on the disk.

    A commit that writes over what is there waits for the disk alone. One that makes the file longer waits for the file system's journal
    as well, and so for all that other files have in it: several times as long. It can do without where there is no room.
    """
    path = folder / "spool.sqlite-wal"
    with contextlib.suppress(OSError), path.open("r+b") as log:
        missing = LOG_BYTES - log.seek(0, os.SEEK_END)
        if missing > 0:
            # Zeros are no frames of a log: reading ends before them. They are written, because the journal has to note when room that was
            # only reserved is used.
            log.write(bytes(missing))
            log.flush()
            os.fdatasync(log.fileno())


def open_for_reading(folder: Path) -> sqlite3.Connection:
    """The spool in ``folder``, which another connection may write to meanwhile; it must be there."""
    return sqlite3.connect(
        f"{path_in(folder).absolute().as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=10,
    )


def holder(folder: Path) -> str | None:
    """The id of the process that holds the spool in ``folder`` as it wrote it down; None while none does."""
    try:
        with (folder / "lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return file.read().strip() or "unknown"
    except FileNotFoundError:
        pass
    return None


@contextlib.contextmanager
def looking_into(folder: Path, *, marks: bool = False) -> Iterator[sqlite3.Connection]:
    """The spool in ``folder`` beside whoever holds it, for looking at it; with ``marks`` also for marking what is in it.

    Raises:
        ConfigurationError: there is none, it cannot be opened, or it has another format.
    """
    path = path_in(folder)
    if not path.exists():
        raise ConfigurationError(
            f"there is no spool in {folder}: name the collector's data folder with --data-dir or SCRAPEWATCH_DATA_DIR"
        )
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={'rw' if marks else 'ro'}",
            uri=True,
            isolation_level=None,
            timeout=10,
        )
        with contextlib.closing(connection):
            written = _known_format(connection, folder)
            if written != FORMAT:
                raise ConfigurationError(
                    f"the spool in {folder} has format {written}: start a collector on it, which brings it up to {FORMAT}"
                )
            connection.execute("PRAGMA wal_autocheckpoint = 0")  # its holder sees to that
            yield connection
    except sqlite3.Error as error:
        raise ConfigurationError(_cannot_be_opened(folder, error)) from error


class Squeezer:
    """Compresses, fast rather than small; for one thread. Making the compressor anew would cost as much as it does."""

    def __init__(self) -> None:
        self._compressor = zstd.ZstdCompressor(1)

    def __call__(self, plain: bytes) -> bytes:
        """``plain`` compressed."""
        return self._compressor.compress(plain, zstd.ZstdCompressor.FLUSH_FRAME)


def expand(squeezed: bytes) -> bytes:
    """What a :class:`Squeezer` made, or the format before it.

    Raises:
        ValueError: it is damaged.
    """
    try:
        return zlib.decompress(squeezed) if squeezed[:1] == b"\x78" else zstd.decompress(squeezed)
    except (zlib.error, zstd.ZstdError) as error:
        raise ValueError("the compressed bytes are damaged") from error


def _cannot_be_opened(folder: Path, error: sqlite3.Error) -> str:
    what = f"the spool in {folder} cannot be opened: {error}"
    if isinstance(error, sqlite3.OperationalError):  # the disk is full, the file may not be written to, …
        return what
    return f"{what}. Move its file away, to begin anew without what it held, or bring back a copy of it"


def _known_format(connection: sqlite3.Connection, folder: Path) -> int:
    """The format that the spool was written in.

    Raises:
        ConfigurationError: it is none that is known here.
    """
    written: Any = FORMAT
    if one(connection, "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'"):
        written = one(connection, "SELECT value FROM meta WHERE name = 'format'")
    if written not in (1, 2, FORMAT):
        raise ConfigurationError(
            f"the spool in {folder} has format {written}, this scrapewatch knows up to {FORMAT}: "
            "use the release that wrote it, or let it drain there first"
        )
    return int(written)


def _bring_up(connection: sqlite3.Connection, folder: Path) -> None:
    written = _known_format(connection, folder)
    if written == 1:
        connection.execute("ALTER TABLE dead_letters ADD COLUMN wanted INTEGER NOT NULL DEFAULT 0")
    for statement in _TABLES.split(";"):
        if statement.strip():
            connection.execute(statement)
    connection.executemany(
        "INSERT OR IGNORE INTO meta VALUES (?, ?)",
        [
            ("format", FORMAT),
            ("id", str(uuid.uuid4())),
            ("accepted", 0),
            ("delivered", 0),
            ("dead_lettered", 0),
        ],
    )
    if written == 1:
        _from_1(connection)
    if written < FORMAT:
        connection.execute("UPDATE meta SET value = ? WHERE name = 'format'", (FORMAT,))
    connection.execute(_COUNTS_ACCEPTED)


def _from_1(connection: sqlite3.Connection) -> None:
    """Requests become segments; one that is damaged stays as it is, to be found damaged when it is cut.

    A few at a time, and what is converted leaves its room to what comes: a spool that is nearly full can be brought up, too.
    """
    squeeze = Squeezer()
    while rows := connection.execute(
        "SELECT position, count, tenant, source, received_at, checksum, events FROM requests "
        "ORDER BY position LIMIT 50"
    ).fetchall():
        for position, count, tenant, source, received_at, checksum, blob in rows:
            packed = blob
            try:
                if zlib.crc32(blob) == checksum:
                    found = orjson.loads(zlib.decompress(blob))
                    packed = squeeze(
                        pack([event["time"] for event in found], [from_model(event) for event in found])
                    )
                    checksum = zlib.crc32(packed)
            except (zlib.error, ValueError, TypeError, KeyError, msgspec.MsgspecError) as error:
                log.error("a request of an older spool cannot be read", position=position, error=str(error))
                checksum = -1
            connection.execute(
                "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)",
                (position, count, tenant, source, received_at, checksum, packed),
            )
        connection.execute("DELETE FROM requests WHERE position <= ?", (rows[-1][0],))
    connection.execute("DROP TABLE requests")


def quarantine(connection: sqlite3.Connection, what: str, events: int, found: bytes) -> None:
    """Keep bytes that can no longer be read, for those who want to look at them."""
    connection.execute(
        "INSERT INTO quarantine (what, events, bytes, at) VALUES (?, ?, ?, ?)",
        (what, events, found, now_ns()),
    )


def insert(connection: sqlite3.Connection, table: str, columns: int, rows: Sequence[Sequence[Any]]) -> None:
    """Insert or replace ``rows`` of JSON values by one statement."""
    if rows:
        values = ", ".join(f"json_extract(value, '$[{k}]')" for k in range(columns))
        connection.execute(
            f"INSERT OR REPLACE INTO {table} SELECT {values} FROM json_each(?)",  # noqa: S608 - names of ours
            (orjson.dumps(rows).decode(),),
        )
