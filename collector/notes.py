"""What forwarding has the spool note: each a change of its file, durable once it is written.

Forwarding reads the spool by itself (:mod:`collector.outbox`), in another process where there is one to spare; only one writes to it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from collector.spool_file import insert, quarantine
from scrapewatch.ports import Rejected
from scrapewatch.time import now_ns

SINKS: Final[Mapping[str, str]] = {
    "series": "series_done",
    "records": "records_done",
    "windows": "windows_done",
}
"""What each flush goes to, and the column that says it was there."""


class Flushed(msgspec.Struct, tag=True, frozen=True):
    """What is in the spool up to ``last_position`` is flush ``number`` from here on.

    ``batches`` and ``changes`` are the encoded lines and record changes that are sent, now or after a crash; ``sources``: there is
    history under a key among them. Of its ``events`` those ``damaged`` (position → number) could not be read, and are put aside.
    ``memory`` is what the next folds must know: tenant, session, JSON of its sites. ``at`` is in ns.
    """

    number: int
    last_position: int
    events: int
    damaged: Mapping[int, int]
    sources: bool
    batches: bytes
    changes: bytes
    memory: Sequence[tuple[str, str, str]]
    at: int


class Part(msgspec.Struct, frozen=True):
    """The points of flush ``number`` for one tenant, which wait because the store refuses what is that tenant's.

    Either all that events became, or, ``external``, the lines that pass through. ``lines`` are the encoded lines of each tier with the
    events that each stands for, of ``events`` in all; ``windows`` JSON of what to mark dirty once they are stored. ``at`` is in ns.
    """

    number: int
    tenant: str
    external: bool
    events: int
    lines: bytes
    windows: str
    at: int


class Passed(msgspec.Struct, tag=True, frozen=True):
    """``sink`` has the flushes ``numbers``, but for the lines ``rejected`` (number → lines) for good, which become dead letters.

    And but for the parts ``held``, which are kept for later: nothing else waits for them.
    """

    sink: str
    numbers: Sequence[int]
    rejected: Mapping[int, Sequence[Rejected]] = {}
    held: Sequence[Part] = ()


class Released(msgspec.Struct, tag=True, frozen=True):
    """Of ``tenant`` the parts ``numbers`` that were held are stored, but for the lines ``rejected`` for good.

    They are ``external`` or not; ``size`` is the bytes of their lines.
    """

    tenant: str
    external: bool
    numbers: Sequence[int]
    rejected: Mapping[int, Sequence[Rejected]]
    size: int


class Unreadable(msgspec.Struct, tag=True, frozen=True):
    """Flush ``number`` is damaged: its events count as dead letters, those after it go on."""

    number: int


class Replayed(msgspec.Struct, tag=True, frozen=True):
    """The dead letters ``delivered`` (ids; of ``events`` events) were stored after all, those ``refused`` (id → reason) were not."""

    delivered: Sequence[int]
    events: int
    refused: Mapping[int, str]


Note = Flushed | Passed | Released | Unreadable | Replayed


class Ledger(Protocol):
    """Who writes to the spool."""

    def note(self, note: Note) -> None:
        """Returns once ``note`` is durable.

        Raises:
            SpoolFull: it cannot be written now.
        """
        ...


def write(connection: sqlite3.Connection, note: Note) -> None:
    """Do to the spool's file what ``note`` says, within the transaction that ``connection`` has open."""
    match note:
        case Flushed():
            _write_flushed(connection, note)
        case Passed():
            _write_passed(connection, note)
        case Released():
            _write_released(connection, note)
        case Unreadable():
            _write_unreadable(connection, note)
        case Replayed():
            _write_replayed(connection, note)


def _write_flushed(connection: sqlite3.Connection, note: Flushed) -> None:
    for position, events in note.damaged.items():
        (blob,) = connection.execute("SELECT events FROM segments WHERE position = ?", (position,)).fetchone()
        quarantine(connection, "segment", events, blob)
    # The flush holds them now, in the form in which they are sent; and it can take their place where there is no other.
    connection.execute("DELETE FROM segments WHERE position <= ?", (note.last_position,))
    connection.execute(
        "INSERT INTO flushes (number, last_position, events, sources, created_at, batches, changes, dead_events) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            note.number,
            note.last_position,
            note.events,
            int(note.sources),
            note.at,
            note.batches,
            note.changes,
            sum(note.damaged.values()),
        ),
    )
    insert(connection, "memory", 4, [(*remembered, note.at) for remembered in note.memory])


def _write_letters(connection: sqlite3.Connection, rejected: Mapping[int, Sequence[Rejected]]) -> None:
    at = now_ns()
    connection.executemany(
        "INSERT INTO dead_letters (flush, tenant, tier, line, events, reason, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (number, letter.tenant, letter.tier, letter.line, letter.events, letter.reason[:2_000], at)
            for number, letters in rejected.items()
            for letter in letters
        ],
    )


def _write_passed(connection: sqlite3.Connection, note: Passed) -> None:
    _write_letters(connection, note.rejected)
    for part in note.held:
        connection.execute(
            "INSERT INTO held (tenant, external, number, events, size, at, lines, windows) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                part.tenant,
                part.external,
                part.number,
                part.events,
                len(part.lines),
                part.at,
                part.lines,
                part.windows,
            ),
        )
        # From here on they are counted there.
        connection.execute(
            "UPDATE flushes SET events = events - ? WHERE number = ?", (part.events, part.number)
        )
    connection.executemany(
        f"UPDATE flushes SET {SINKS[note.sink]} = 1, dead_events = dead_events + ? WHERE number = ?",  # noqa: S608 - a name of ours
        [(sum(letter.events for letter in note.rejected.get(number, ())), number) for number in note.numbers],
    )
    _free(connection)


def _write_released(connection: sqlite3.Connection, note: Released) -> None:
    _write_letters(connection, note.rejected)
    events = 0
    for number in note.numbers:
        of = (note.tenant, note.external, number)
        ((found,),) = connection.execute(
            "SELECT events FROM held WHERE tenant = ? AND external = ? AND number = ?", of
        ).fetchall()
        events += found
        connection.execute("DELETE FROM held WHERE tenant = ? AND external = ? AND number = ?", of)
    dead = sum(letter.events for letters in note.rejected.values() for letter in letters)
    _count(connection, "delivered", events - dead)
    _count(connection, "dead_lettered", dead)


def _write_unreadable(connection: sqlite3.Connection, note: Unreadable) -> None:
    events, batches, changes = connection.execute(
        "SELECT events, batches, changes FROM flushes WHERE number = ?", (note.number,)
    ).fetchone()
    quarantine(connection, "batches", events, batches)
    quarantine(connection, "changes", 0, changes)
    connection.execute(
        "UPDATE flushes SET series_done = 1, records_done = 1, windows_done = 1, dead_events = events "
        "WHERE number = ?",
        (note.number,),
    )
    _free(connection)


def _write_replayed(connection: sqlite3.Connection, note: Replayed) -> None:
    connection.executemany("DELETE FROM dead_letters WHERE id = ?", [(found,) for found in note.delivered])
    connection.executemany(
        "UPDATE dead_letters SET wanted = 0, reason = ? WHERE id = ?",
        [(reason[:2_000], found) for found, reason in note.refused.items()],
    )
    _count(connection, "delivered", note.events)
    _count(connection, "dead_lettered", -note.events)


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


def _count(connection: sqlite3.Connection, name: str, events: int) -> None:
    if events:
        connection.execute("UPDATE meta SET value = value + ? WHERE name = ?", (events, name))
