"""The spool of the release before, format 1: requests as compressed JSON, no dead letter that is wanted, no quarantine."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import orjson
import pytest

from collector.decode import Event, pack
from collector.fold import fold
from collector.spool import Spool
from scrapewatch.events import validate
from scrapewatch.examples import EVENTS
from scrapewatch.measurements import MEASUREMENTS, Tier
from scrapewatch.ports import DEFAULT_TENANT, TimeRange
from scrapewatch.problems import ConfigurationError
from scrapewatch.time import DAY, HOUR, SECOND, now_ns
from tests.collector.conftest import Running
from tests.collector.events import event, request
from tests.collector.outboxes import outbox_of

Start = Callable[..., AbstractContextManager[Running]]

TABLES_OF_1 = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE requests (
    position INTEGER PRIMARY KEY, count INTEGER NOT NULL, tenant TEXT NOT NULL, source TEXT,
    received_at INTEGER NOT NULL, checksum INTEGER NOT NULL, events BLOB NOT NULL
);
CREATE TABLE request_keys (
    tenant TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (tenant, key)
) WITHOUT ROWID;
CREATE TABLE event_ids (
    tenant TEXT NOT NULL, event_id TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (tenant, event_id)
) WITHOUT ROWID;
CREATE TABLE flushes (
    number INTEGER PRIMARY KEY, last_position INTEGER NOT NULL, events INTEGER NOT NULL, sources INTEGER NOT NULL,
    created_at INTEGER NOT NULL, batches BLOB NOT NULL, changes BLOB NOT NULL,
    series_done INTEGER NOT NULL DEFAULT 0, records_done INTEGER NOT NULL DEFAULT 0,
    windows_done INTEGER NOT NULL DEFAULT 0, dead_events INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE memory (
    tenant TEXT NOT NULL, session_id TEXT NOT NULL, sites BLOB NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (tenant, session_id)
) WITHOUT ROWID;
CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY, flush INTEGER NOT NULL, tenant TEXT NOT NULL, tier TEXT NOT NULL, line TEXT NOT NULL,
    events INTEGER NOT NULL, reason TEXT NOT NULL, at INTEGER NOT NULL
);
"""


class OfFormat1:
    """A spool as the release before left it in ``folder``, after ``passed`` flushes of ``delivered`` events in all."""

    def __init__(self, folder: Path, *, passed: int = 0, delivered: int = 0) -> None:
        folder.mkdir(parents=True)
        self.path = folder / "spool.sqlite"
        self._db = sqlite3.connect(self.path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.executescript(TABLES_OF_1)
        self._number, self._position = passed, delivered
        self._totals = {"accepted": delivered, "delivered": delivered, "dead_lettered": 0}

    def close(self) -> None:
        self._db.executemany(
            "INSERT INTO meta VALUES (?, ?)",
            [("format", 1), ("id", "a2b7f7f0-2c1e-4c66-9f0e-5d1f6f2f8f11"), *self._totals.items()],
        )
        self._db.close()

    def request(
        self,
        events: Sequence[Mapping[str, Any]],
        *,
        source: str | None = None,
        damage: Callable[[bytes], tuple[bytes, int]] = lambda blob: (blob, zlib.crc32(blob)),
    ) -> None:
        """A request that waits to be cut; ``damage`` makes what is stored, and its checksum, out of what should be."""
        blob, checksum = damage(zlib.compress(orjson.dumps(events), 1))
        self._db.execute(
            "INSERT INTO requests VALUES (?, ?, 'default', ?, ?, ?, ?)",
            (self._position + 1, len(events), source, now_ns(), checksum, blob),
        )
        self._position += len(events)
        self._totals["accepted"] += len(events)

    def flush(self, events: list[dict[str, Any]], *, series_done: bool) -> None:
        """A flush that the records do not have yet."""
        self._number += 1
        self._position += len(events)
        self._totals["accepted"] += len(events)
        folded = fold([request(events, at=now_ns())], {}, collector_no=0, number=self._number)
        self._db.execute(
            "INSERT INTO flushes VALUES (?, ?, ?, 0, ?, ?, ?, ?, 0, 0, 0)",
            (
                self._number,
                self._position,
                len(events),
                now_ns(),
                zlib.compress(orjson.dumps(folded.batches), 1),
                zlib.compress(orjson.dumps(folded.changes, option=orjson.OPT_NON_STR_KEYS), 1),
                int(series_done),
            ),
        )

    def marker(self) -> None:
        """The last flush, which every store has: its number and position stay."""
        self._db.execute(
            "INSERT INTO flushes VALUES (?, ?, -1, 0, ?, '', '', 1, 1, 1, 0)",
            (self._number, self._position, now_ns()),
        )

    def dead_letter(self, line: str, events: int, reason: str) -> None:
        self._db.execute(
            "INSERT INTO dead_letters (flush, tenant, tier, line, events, reason, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self._number, "default", "fleet", line, events, reason, now_ns()),
        )
        self._totals["accepted"] += events
        self._totals["dead_lettered"] += events

    def key(self, key: str, digest: bytes) -> None:
        self._db.execute("INSERT INTO request_keys VALUES ('default', ?, ?, ?)", (key, digest, now_ns()))

    def event_id(self, event_id: str) -> None:
        self._db.execute("INSERT INTO event_ids VALUES ('default', ?, ?)", (event_id, now_ns()))

    def memory(self, session: str, sites: Mapping[str, Any]) -> None:
        self._db.execute(
            "INSERT INTO memory VALUES ('default', ?, ?, ?)", (session, orjson.dumps(sites), now_ns())
        )


def jobs(count: int, *, time: int | None = None, event_id: str | None = None) -> dict[str, Any]:
    found = event("job_scraped", {"site": "a", "count": count}, time=now_ns() if time is None else time)
    return found | {"event_id": event_id}


def flipped(blob: bytes) -> tuple[bytes, int]:
    return blob[:-5] + bytes([blob[-5] ^ 1]) + blob[-4:], zlib.crc32(blob)


def unreadable(_: bytes) -> tuple[bytes, int]:
    blob = zlib.compress(b'[{"session_id": "s1"}, null]')
    return blob, zlib.crc32(blob)


def scraped(running: Running) -> int:
    """The jobs that the store of points counts."""
    now = now_ns()
    points = running.series.windows(
        MEASUREMENTS["jobs"].name,
        TimeRange.widened(now - DAY, now + HOUR, HOUR),
        tier=Tier.FLEET,
        tenant=DEFAULT_TENANT,
    )
    return sum(int(point.fields["scraped"]) for point in points)


def test_all_that_a_spool_of_format_1_holds_is_delivered_once_and_what_it_knew_is_known(
    start: Start, tmp_path: Path
) -> None:
    before = now_ns() - 60 * SECOND
    old = OfFormat1(tmp_path / "spool", passed=6, delivered=40)
    old.dead_letter(f"jobs,site=a scraped=9i {before}", 2, "it was refused then")
    old.flush([jobs(1_000, time=before), jobs(2_000, time=before)], series_done=True)
    old.flush([jobs(100, time=before)], series_done=False)
    old.request([jobs(10), jobs(20, event_id="known-event")])
    old.event_id("known-event")
    old.request([jobs(7)], damage=flipped)
    history = {
        "session_id": "s0",
        "metric": "job_scraped",
        "value": {"site": "a", "count": 4},
        "timestamp": "2026-01-05T10:00:00Z",
    }
    body = json.dumps([history]).encode()
    old.request([validate(history)], source="log-1")
    old.key("log-1", hashlib.sha256(body + b"\1").digest())
    old.request([jobs(7), jobs(7)], damage=unreadable)
    old.request([jobs(3)])
    old.memory("s1", {"a": [2, "open", 3]})
    old.close()

    spool = Spool(tmp_path / "spool")
    status = spool.status()
    assert (status.accepted, status.delivered, status.dead_lettered, status.spooled) == (52, 40, 2, 10)
    spool.close()
    with start() as running:
        running.drain()
        status = running.collector.spool.status()
        # It also reports on itself now and then.
        assert status.delivered == 47 + status.accepted - 52
        assert status.dead_lettered == 5
        # The series had the first flush already, the records did not.
        assert scraped(running) == 100 + 10 + 20 + 3
        assert running.counts("total_jobs_found") == 3_100 + 10 + 20 + 3 + 4
        (letter,) = running.collector.spool.dead_letters()
        assert (letter.letter.events, letter.letter.reason, letter.wanted) == (
            2,
            "it was refused then",
            False,
        )
        assert outbox_of(running.collector.spool).recall("default", "s1") is not None
        with sqlite3.connect(old.path) as db:
            damaged = db.execute("SELECT events FROM quarantine ORDER BY id").fetchall()
        db.close()
        assert damaged == [(1,), (2,)]

        again = running.post([{**history, "event_id": "known-event", "timestamp": None}])
        assert again.json() == {"accepted": 0, "duplicates": 1, "rejected": []}
        headers = {"Idempotency-Key": "log-1", "Content-Type": "application/json"}
        sent = running.http.post("/api/v1/monitoring/metrics?backfill=true", content=body, headers=headers)
        assert sent.json() == {"accepted": 0, "duplicates": 1, "rejected": []}
        other = running.post([history, history], params={"backfill": "true"}, headers=headers)
        assert other.status_code == 409
    with start() as running:
        assert running.counts("total_jobs_found") == 3_137


def test_what_was_known_of_sessions_is_known_in_the_new_format(tmp_path: Path) -> None:
    old = OfFormat1(tmp_path / "spool")
    old.memory("s1", {"a": [2, "open", 3]})
    old.close()
    spool = Spool(tmp_path / "spool")
    assert outbox_of(spool).recall("default", "s1") == {"a": [2, "open", 3]}
    spool.close()


def test_numbers_positions_and_the_identity_of_a_drained_spool_go_on(tmp_path: Path) -> None:
    old = OfFormat1(tmp_path / "spool", passed=12, delivered=40)
    old.marker()
    old.close()
    spool = Spool(tmp_path / "spool")
    assert spool.id == "a2b7f7f0-2c1e-4c66-9f0e-5d1f6f2f8f11"
    assert outbox_of(spool).next_number() == 13
    sent = request([jobs(1)], at=now_ns())
    spool.append("default", sent.times, sent.events, key=None, body=b"", source=None, received_at=1).result(
        10
    )
    cut = outbox_of(spool).uncut(10)
    assert cut is not None
    assert cut.last_position == 41
    spool.close()


def opened(folder: Path) -> Iterable[tuple[int, Event]]:
    spool = Spool(folder)
    cut = outbox_of(spool).uncut(1_000)
    spool.close()
    assert cut is not None
    return [pair for found in cut.requests for pair in zip(found.times, found.events, strict=True)]


def test_every_type_of_event_is_the_same_after_the_upgrade(tmp_path: Path) -> None:
    events = [validate(example) for example in EVENTS.values()]
    old = OfFormat1(tmp_path / "spool")
    for found in events:
        old.request([found])
    old.close()
    expected = request(events)
    assert opened(tmp_path / "spool") == list(zip(expected.times, expected.events, strict=True))


def test_an_upgrade_that_is_cut_short_leaves_the_old_spool_and_the_next_start_does_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = OfFormat1(tmp_path / "spool")
    for count in range(1, 200):
        old.request([jobs(count)])
    old.close()
    made = 0

    def dies(*given: Any) -> bytes:
        nonlocal made
        made += 1
        if made == 150:
            raise MemoryError
        return pack(*given)

    monkeypatch.setattr("collector.spool_file.pack", dies)
    with pytest.raises(MemoryError):
        Spool(tmp_path / "spool")
    with sqlite3.connect(old.path) as db:
        assert db.execute("SELECT count(*) FROM requests").fetchone() == (199,)
    db.close()
    monkeypatch.undo()
    assert [found.value.count for _, found in opened(tmp_path / "spool")] == list(range(1, 200))


def test_a_newer_format_is_refused_and_not_a_byte_of_it_is_changed(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.close()
    path = tmp_path / "spool" / "spool.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = 4 WHERE name = 'format'")
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("ALTER TABLE segments RENAME TO pieces")
    db.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="format 4, this scrapewatch knows up to 3"):
        Spool(tmp_path / "spool")
    assert path.read_bytes() == before


def test_a_file_that_is_no_spool_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "spool.sqlite").write_bytes(
        b"no database, but long enough to be taken for one" * 100
    )
    with pytest.raises(ConfigurationError, match="Move its file away"):
        Spool(tmp_path / "spool")
