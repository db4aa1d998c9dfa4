"""What can be read of a spool by whoever opens its file: its figures and its dead letters."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scrapewatch.measurements import Tier
from scrapewatch.ports import Rejected
from scrapewatch.time import now_ns


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """The invariant ``accepted = delivered + spooled + dead_lettered``, in events.

    Ages are in seconds: of the oldest spooled, and of the oldest that the records do not have. ``held`` are those of the spooled events
    that wait because a store refuses what is their tenant's, by tenant.
    """

    accepted: int
    delivered: int
    spooled: int
    dead_lettered: int
    flushes_pending: int
    oldest_age: float
    unrecorded_age: float
    size_bytes: int
    held: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A line that the store of points rejected for good; ``at`` in ns, ``wanted``: it waits to be sent again."""

    id: int
    flush: int
    letter: Rejected
    at: int
    wanted: bool


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for what: flushes by the store that they wait for, events that no flush holds yet, dead letters to be sent again.

    ``damaged`` are the events of what was damaged and put aside.
    """

    waiting: Mapping[str, int]
    uncut: int
    dead_letters: int
    wanted: int
    damaged: int


def status_of(connection: sqlite3.Connection, *, size_bytes: int | None = None) -> SpoolStatus:
    """The figures of a spool, all of one moment; ``size_bytes`` is measured where it is not given."""
    connection.execute("BEGIN")
    try:
        uncut, oldest_segment = connection.execute(
            "SELECT coalesce(sum(count), 0), min(received_at) FROM segments"
        ).fetchone()
        cut, pending, oldest_flush = connection.execute(
            "SELECT coalesce(sum(events), 0), count(*), min(created_at) FROM flushes WHERE events >= 0"
        ).fetchone()
        oldest_unrecorded = one(connection, "SELECT min(created_at) FROM flushes WHERE records_done = 0")
        held = {
            tenant: (events, oldest, flushes)
            for tenant, events, oldest, flushes in connection.execute(
                "SELECT tenant, sum(events), min(at), count(DISTINCT number) FROM held GROUP BY tenant"
            )
        }
        counts = dict(
            connection.execute(
                "SELECT name, value FROM meta WHERE name IN ('accepted', 'delivered', 'dead_lettered')"
            ).fetchall()
        )
        if size_bytes is None:
            pages = one(connection, "PRAGMA page_count") - one(connection, "PRAGMA freelist_count")
            size_bytes = pages * one(connection, "PRAGMA page_size")
    finally:
        connection.execute("COMMIT")
    now = now_ns()

    def age(*since: int | None) -> float:
        return max((now - at for at in since if at is not None), default=0) / 1e9

    return SpoolStatus(
        **counts,
        spooled=uncut + cut + sum(events for events, _, _ in held.values()),
        flushes_pending=pending + max((flushes for _, _, flushes in held.values()), default=0),
        oldest_age=age(oldest_flush, oldest_segment, *(oldest for _, oldest, _ in held.values())),
        unrecorded_age=age(oldest_unrecorded, oldest_segment),
        size_bytes=size_bytes,
        held={tenant: events for tenant, (events, _, _) in held.items()},
    )


def backlog_of(connection: sqlite3.Connection) -> Backlog:
    """What in a spool waits for what."""
    series, records, windows = connection.execute(
        "SELECT count(*) FILTER (WHERE series_done = 0), count(*) FILTER (WHERE records_done = 0), "
        "count(*) FILTER (WHERE windows_done = 0) FROM flushes WHERE events >= 0"
    ).fetchone()
    letters, wanted = connection.execute(
        "SELECT count(*), coalesce(sum(wanted), 0) FROM dead_letters"
    ).fetchone()
    return Backlog(
        {
            "series": series + one(connection, "SELECT count(*) FROM held"),
            "records": records,
            "windows": windows,
        },
        one(connection, "SELECT coalesce(sum(count), 0) FROM segments"),
        letters,
        wanted,
        one(connection, "SELECT coalesce(sum(events), 0) FROM quarantine"),
    )


def newest_letters(connection: sqlite3.Connection, limit: int) -> list[DeadLetter]:
    """The newest dead letters, newest first."""
    return _letters(connection, "ORDER BY id DESC LIMIT ?", (limit,))


def wanted_letters(connection: sqlite3.Connection, limit: int) -> list[DeadLetter]:
    """The oldest dead letters that are to be sent again: those whose flush is through."""
    return _letters(
        connection,
        "WHERE wanted = 1 AND NOT EXISTS (SELECT 1 FROM flushes WHERE number = flush AND events >= 0) "
        "ORDER BY id LIMIT ?",
        (limit,),
    )


def letters_of(connection: sqlite3.Connection, ids: Collection[int]) -> list[DeadLetter]:
    """Those of the dead letters ``ids`` that are there still, oldest first."""
    return [
        letter
        for letter in _letters(
            connection, "WHERE id BETWEEN ? AND ? ORDER BY id", (min(ids, default=0), max(ids, default=0))
        )
        if letter.id in ids
    ]


def want_letters(connection: sqlite3.Connection, ids: Sequence[int] | None) -> int:
    """Mark dead letters (None: all) to be sent again by the collector that holds the spool; how many there were."""
    if ids is None:
        return connection.execute("UPDATE dead_letters SET wanted = 1").rowcount
    return connection.executemany(
        "UPDATE dead_letters SET wanted = 1 WHERE id = ?", [(number,) for number in ids]
    ).rowcount


def _letters(connection: sqlite3.Connection, rest: str, parameters: Sequence[Any]) -> list[DeadLetter]:
    return [
        DeadLetter(number, flush, Rejected(tenant, Tier(tier), line, events, reason), at, bool(wanted))
        for number, flush, tenant, tier, line, events, reason, at, wanted in connection.execute(
            f"SELECT id, flush, tenant, tier, line, events, reason, at, wanted FROM dead_letters {rest}",  # noqa: S608 - texts of ours
            parameters,
        )
    ]


def one(connection: sqlite3.Connection, statement: str, *parameters: Any) -> Any:
    """The first column of the first row; None where there is none."""
    row = connection.execute(statement, parameters).fetchone()
    return None if row is None else row[0]
