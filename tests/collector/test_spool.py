from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from collector.fold import fold
from collector.spool import KEYS_KEPT, Kept, Spool
from collector.spool_file import LOG_BYTES
from scrapewatch.measurements import Tier
from scrapewatch.ports import Rejected
from scrapewatch.problems import ConfigurationError, Conflict, SpoolFull
from scrapewatch.time import now_ns
from tests.collector.events import event, request
from tests.collector.outboxes import outbox_of


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool")
    yield spool
    spool.close()


def submit(
    spool: Spool,
    events: list[dict[str, Any]],
    *,
    tenant: str = "default",
    key: str | None = None,
    body: bytes = b"b",
    source: str | None = None,
) -> Future[Kept]:
    sent = request(events, at=now_ns())
    return spool.append(
        tenant, sent.times, sent.events, key=key, body=body, source=source, received_at=sent.received_at
    )


def append(spool: Spool, events: list[dict[str, Any]], **more: Any) -> Kept:
    return submit(spool, events, **more).result(10)


def jobs(n: int, **more: Any) -> list[dict[str, Any]]:
    return [event("job_scraped", {"site": "a"}) | more for _ in range(n)]


def persist_one(spool: Spool) -> int:
    cut = outbox_of(spool).uncut(1_000)
    assert cut is not None
    number = outbox_of(spool).next_number()
    outbox_of(spool).persist(number, cut, fold(cut.requests, {}, collector_no=0, number=number))
    return number


def check_invariant(spool: Spool) -> None:
    status = spool.status()
    assert status.accepted == status.delivered + status.spooled + status.dead_lettered


def test_what_is_appended_is_there_after_a_kill(tmp_path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from types import SimpleNamespace
from collector.spool import Spool
from tests.collector.events import event, request
spool = Spool(Path(sys.argv[1]))
sent = request([event("job_scraped", {"site": "a"})])
spool.append("default", sent.times, sent.events, key="k", body=b"b", source=None, received_at=1).result(10)
os.kill(os.getpid(), 9)
"""
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "spool")], check=False)
    assert killed.returncode == -9
    spool = Spool(tmp_path / "spool")
    try:
        cut = outbox_of(spool).uncut(10)
        assert cut is not None
        assert [(e.value.site, e.value.count) for e in cut.requests[0].events] == [("a", 1)]
        assert append(spool, jobs(1), key="k").duplicates == 1
    finally:
        spool.close()


def test_commits_write_over_a_log_that_was_laid_out_and_never_make_it_longer(spool: Spool) -> None:
    log = spool.folder / "spool.sqlite-wal"
    size = log.stat().st_size
    assert size >= LOG_BYTES
    text = os.urandom(15_000).hex()
    for n in range(LOG_BYTES // 15_000):
        job = {"description": f"{n} {text}"}
        append(spool, [event("job_scraped", {"site": "a", "job": job})])
    assert log.stat().st_size < size * 1.2, "it began anew before it was full"
    check_invariant(spool)


def test_what_was_appended_is_read_up_to_the_room_that_is_left_in_the_log(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    append(spool, jobs(3))
    shutil.copytree(spool.folder, tmp_path / "copy")
    spool.close()
    again = Spool(tmp_path / "copy")
    try:
        assert again.status().accepted == 3
        assert append(again, jobs(1)).accepted == 1
    finally:
        again.close()


def test_a_request_with_a_known_key_is_a_duplicate_even_after_a_restart(tmp_path: Path) -> None:
    first = Spool(tmp_path / "spool")
    assert append(first, jobs(2), key="k").accepted == 2
    assert append(first, jobs(2), key="k") == Kept(0, 2, (), ())
    first.close()
    second = Spool(tmp_path / "spool")
    assert append(second, jobs(2), key="k") == Kept(0, 2, (), ())
    assert second.status().accepted == 2
    second.close()


def test_the_same_request_at_once_is_counted_once(spool: Spool) -> None:
    results: list[Kept] = []
    threads = [
        threading.Thread(target=lambda: results.append(append(spool, jobs(3), key="k"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(kept.accepted for kept in results) == [0] * 7 + [3]
    assert spool.status().accepted == 3


def test_a_key_with_another_body_is_a_conflict_and_stores_nothing(spool: Spool) -> None:
    append(spool, jobs(1), key="k", body=b"one")
    with pytest.raises(Conflict):
        append(spool, jobs(1), key="k", body=b"two")
    assert spool.status().accepted == 1


def test_keys_of_one_tenant_mean_nothing_to_another(spool: Spool) -> None:
    append(spool, jobs(1), key="k")
    other = append(spool, jobs(1), tenant="other", key="k", body=b"x")
    assert other.accepted == 1


def test_an_event_with_a_known_id_is_left_out_and_the_others_are_kept(spool: Spool) -> None:
    append(spool, jobs(1, event_id="e1"))
    kept = append(spool, jobs(1, event_id="e1") + jobs(1, event_id="e2") + jobs(1, event_id="e2") + jobs(1))
    assert (kept.accepted, kept.duplicates) == (2, 2)


def test_a_folder_is_held_by_one_process(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    with pytest.raises(ConfigurationError, match="held by process"):
        Spool(tmp_path / "spool")
    spool.close()
    Spool(tmp_path / "spool").close()


def test_a_spool_of_another_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    Spool(tmp_path / "spool").close()
    with sqlite3.connect(tmp_path / "spool" / "spool.sqlite") as db:
        db.execute("UPDATE meta SET value = 99 WHERE name = 'format'")
    with pytest.raises(ConfigurationError, match="format 99"):
        Spool(tmp_path / "spool")


def test_a_persisted_flush_is_read_back_byte_for_byte_until_every_sink_has_passed_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    append(spool, jobs(3))
    cut = outbox_of(spool).uncut(10)
    assert cut is not None
    folded = fold(cut.requests, {}, collector_no=5, number=1)
    outbox_of(spool).persist(1, cut, folded)
    spool.close()
    spool = Spool(tmp_path / "spool")
    (flush,) = outbox_of(spool).pending("series")
    assert flush is not None
    assert list(flush.batches) == folded.batches
    assert list(flush.changes) == folded.changes
    assert outbox_of(spool).uncut(10) is None
    for sink in ("series", "records", "windows"):
        check_invariant(spool)
        assert spool.status().spooled == 3
        outbox_of(spool).passed(sink, [1])
    check_invariant(spool)
    assert spool.status().delivered == 3
    assert outbox_of(spool).next_number() == 2
    spool.close()


def test_windows_are_marked_only_once_their_points_are_stored(spool: Spool) -> None:
    append(spool, jobs(1))
    number = persist_one(spool)
    assert outbox_of(spool).pending("windows") == []
    outbox_of(spool).passed("series", [number])
    (found,) = outbox_of(spool).pending("windows")
    assert found is not None and found.number == number


def test_numbers_and_positions_are_never_given_again(tmp_path: Path) -> None:
    numbers = []
    for _ in range(3):
        spool = Spool(tmp_path / "spool")
        append(spool, jobs(2))
        number = persist_one(spool)
        for sink in ("series", "records", "windows"):
            outbox_of(spool).passed(sink, [number])
        numbers.append(number)
        check_invariant(spool)
        spool.close()
    assert numbers == [1, 2, 3]


def test_a_rejected_point_becomes_a_dead_letter_that_keeps_its_events(spool: Spool) -> None:
    append(spool, jobs(5))
    number = persist_one(spool)
    letter = Rejected("default", Tier.FLEET, "jobs scraped=5i 1", 5, "no room for it")
    outbox_of(spool).passed("series", [number], {number: [letter]})
    outbox_of(spool).passed("records", [number])
    outbox_of(spool).passed("windows", [number])
    check_invariant(spool)
    assert spool.status().dead_lettered == 5
    assert [item.letter for item in spool.dead_letters()] == [letter]


def test_a_damaged_request_is_counted_as_dead_and_its_neighbours_are_kept(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    for n in (1, 2, 4):
        append(spool, jobs(n))
    spool.close()
    with sqlite3.connect(tmp_path / "spool" / "spool.sqlite") as db:
        db.execute("UPDATE segments SET events = x'00' WHERE count = 2")
    spool = Spool(tmp_path / "spool")
    number = persist_one(spool)
    (flush,) = outbox_of(spool).pending("series")
    assert flush is not None
    assert sum(sum(batch.events) for batch in flush.batches) == 5
    for sink in ("series", "records", "windows"):
        outbox_of(spool).passed(sink, [number])
    check_invariant(spool)
    assert spool.status().dead_lettered == 2
    spool.close()


@pytest.mark.parametrize("column", ["batches", "changes"])
def test_a_damaged_flush_is_counted_as_dead_and_those_after_it_go_on(tmp_path: Path, column: str) -> None:
    spool = Spool(tmp_path / "spool")
    for n in (1, 2, 4):
        append(spool, jobs(n))
        persist_one(spool)
    outbox_of(spool).passed("series", [1])
    spool.close()
    with sqlite3.connect(tmp_path / "spool" / "spool.sqlite") as db:
        db.execute(f"UPDATE flushes SET {column} = CAST(substr({column}, 1, 20) AS BLOB) WHERE number = 2")
    spool = Spool(tmp_path / "spool")
    for sink, first in (("series", 3), ("windows", 1), ("records", 1)):
        (flush,) = outbox_of(spool).pending(sink)
        assert flush is not None and flush.number == first
        check_invariant(spool)
        for number in range(first, 4):
            outbox_of(spool).passed(sink, [number])
        assert outbox_of(spool).pending(sink) == []
    check_invariant(spool)
    status = spool.status()
    assert (status.delivered, status.dead_lettered, status.spooled) == (5, 2, 0)
    spool.close()


def test_a_backlog_of_long_texts_is_cut_into_flushes_that_fit_in_memory(spool: Spool) -> None:
    for _ in range(100):
        append(spool, [event("job_scraped", {"site": "a", "job": {"description": "x" * 200_000}})] * 5)
    cuts = 0
    while cut := outbox_of(spool).uncut(20_000):
        assert sum(len(request.events) for request in cut.requests) * 200_000 <= 33_100_000
        number = outbox_of(spool).next_number()
        outbox_of(spool).persist(number, cut, fold(cut.requests, {}, collector_no=0, number=number))
        cuts += 1
    assert cuts == 4


def test_a_spool_without_any_page_left_can_still_be_flushed(spool: Spool) -> None:
    for k in range(50):
        append(
            spool,
            [event("error_occurred", {"site": "a", "message": f"{chr(97 + k)} {os.urandom(4_000).hex()}"})],
        )
    pages = spool._submit(lambda db: db.execute("PRAGMA page_count").fetchone()[0]).result()
    spool._submit(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone()).result()
    persist_one(spool)
    assert spool.status().flushes_pending == 1


def test_a_spool_that_cannot_grow_acknowledges_nothing_and_recovers_unaided(spool: Spool) -> None:
    append(spool, jobs(1))
    pages = spool._submit(lambda db: db.execute("PRAGMA page_count").fetchone()[0]).result()
    spool._submit(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone()).result()
    big = [
        event("error_occurred", {"site": "a", "message": f"{k} {hash(str(k))}" * 200}) for k in range(2_000)
    ]
    with pytest.raises(SpoolFull):
        append(spool, big, key="k")
    check_invariant(spool)
    spool._submit(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchone()).result()
    assert append(spool, big, key="k").accepted == 2_000


def test_one_request_that_does_not_fit_does_not_take_its_neighbours_with_it(spool: Spool) -> None:
    append(spool, jobs(1))
    pages = spool._submit(lambda db: db.execute("PRAGMA page_count").fetchone()[0]).result()
    spool._submit(lambda db: db.execute(f"PRAGMA max_page_count = {pages + 2}").fetchone()).result()
    big = [
        event("error_occurred", {"site": "a", "message": f"{k} {hash(str(k))}" * 200}) for k in range(2_000)
    ]
    gate = threading.Event()
    spool._submit(lambda db: gate.wait(10))
    waiting = [submit(spool, events) for events in (jobs(1), big, jobs(1))]
    gate.set()
    assert waiting[0].result(10).accepted == 1
    with pytest.raises(SpoolFull):
        waiting[1].result(10)
    assert waiting[2].result(10).accepted == 1


def test_room_says_what_is_wrong(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", max_bytes=1)
    assert "may hold 1" in (spool.room() or "")
    spool.close()
    spool = Spool(tmp_path / "spool", min_free_bytes=10**18)
    assert "free" in (spool.room() or "")
    spool.close()


def test_a_spool_that_was_full_has_room_again_as_soon_as_it_is_drained(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", max_bytes=2_000_000)
    for _ in range(2):  # the second time in pages that the first left free
        while spool.room() is None:
            append(spool, [event("error_occurred", {"site": "a", "message": os.urandom(5_000).hex()})] * 10)
        while outbox_of(spool).uncut(1) is not None:
            number = persist_one(spool)
            for sink in ("series", "records", "windows"):
                outbox_of(spool).passed(sink, [number])
        assert spool.room() is None
    assert spool.status().size_bytes < 1_000_000
    spool.close()


def test_room_that_a_drained_spool_holds_on_the_disk_counts_as_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SimpleNamespace(free=1_000_000)
    monkeypatch.setattr("collector.spool.shutil.disk_usage", lambda _: disk)
    spool = Spool(tmp_path / "spool", min_free_bytes=3_000_000)
    assert "must keep" in (spool.room() or "")
    for _ in range(10):
        append(
            spool,
            [event("error_occurred", {"site": "a", "message": os.urandom(5_000).hex()}) for _ in range(100)],
        )
    while outbox_of(spool).uncut(1) is not None:
        number = persist_one(spool)
        for sink in ("series", "records", "windows"):
            outbox_of(spool).passed(sink, [number])
    assert spool.room() is None
    spool.close()


def test_keys_are_forgotten_after_they_can_matter_no_more(spool: Spool) -> None:
    append(spool, jobs(1, event_id="e"), key="k")
    spool.forget_keys(now_ns() + KEYS_KEPT - 10**9)
    assert append(spool, jobs(1, event_id="e"), key="k").duplicates == 1
    spool.forget_keys(now_ns() + KEYS_KEPT + 10**9)
    assert append(spool, jobs(1, event_id="e"), key="k").accepted == 1


def test_nothing_is_acknowledged_after_the_spool_was_closed(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.close()
    with pytest.raises(SpoolFull, match="stopping"):
        append(spool, jobs(1))


def test_what_folds_remember_is_durable_with_their_flush(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    append(spool, [event("site_started", {"site": "a", "attempt": 3})])
    persist_one(spool)
    spool.close()
    spool = Spool(tmp_path / "spool")
    assert outbox_of(spool).recall("default", "s1") == {"a": [3, None, 0]}
    assert outbox_of(spool).recall("default", "unknown") is None
    spool.close()


def test_a_request_that_is_cancelled_while_it_waits_does_not_hold_up_those_after_it(spool: Spool) -> None:
    gate = threading.Event()
    busy = spool._submit(lambda db: gate.wait(10))
    while not busy.running():
        time.sleep(0.001)
    waiting = [submit(spool, jobs(1)) for _ in range(3)]
    assert waiting[1].cancel()
    gate.set()
    assert [waiting[k].result(10).accepted for k in (0, 2)] == [1, 1]
    assert append(spool, jobs(1)).accepted == 1
    assert spool.status().accepted == 3


def test_a_backlog_that_is_through_gives_its_room_back_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.spool._SPARE", 1_000_000)
    spool = Spool(tmp_path / "spool")
    for _ in range(200):
        append(spool, [event("error_occurred", {"site": "a", "message": os.urandom(4_900).hex()})] * 5)
    number = persist_one(spool)
    for sink in ("series", "records", "windows"):
        outbox_of(spool).passed(sink, [number])
    for _ in range(30):
        append(spool, jobs(1))
    assert spool.status().spooled == 30
    spool.close()
    assert (tmp_path / "spool" / "spool.sqlite").stat().st_size < 3_000_000


def test_a_fault_of_whoever_is_told_of_what_arrived_does_not_stop_the_spool(spool: Spool) -> None:
    def fail() -> None:
        raise RuntimeError("a fault of ours")

    spool.arrived = fail
    assert append(spool, jobs(1)).accepted == 1
    assert append(spool, jobs(1)).accepted == 1
    assert spool.status().accepted == 2
