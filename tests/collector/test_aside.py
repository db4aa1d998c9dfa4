from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Pipe
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import aside
from collector.aside import Command, ForwardingAside, forward_aside
from collector.contributions import Announced
from collector.forwarding import Plan
from collector.notes import Note, Passed
from collector.observed import Observed, Timing
from collector.spool import Spool
from embedded.store import EmbeddedStore
from records.migrate import upgrade
from records.store import SqlRecords
from scrapewatch.problems import SpoolFull
from scrapewatch.time import now_ns
from tests.collector.events import event, request


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@dataclass
class Both:
    """The two ends, the other one in a thread of this process."""

    spool: Spool
    records: SqlRecords
    near: ForwardingAside
    observed: Observed = field(default_factory=Observed)
    announced: list[Announced] = field(default_factory=list)

    def send(self, *metrics: tuple[str, dict[str, object]]) -> None:
        sent = request([event(metric, value) for metric, value in metrics], at=now_ns())
        self.spool.append(
            "default", sent.times, sent.events, key=None, body=b"", source=None, received_at=sent.received_at
        ).result(10)

    def jobs(self) -> int:
        with self.records.engine.connect() as db:
            return int(
                db.exec_driver_sql(
                    "SELECT coalesce(sum(total_jobs_found), 0) FROM scrape_sessions"
                ).scalar_one()
            )


class InThread(ForwardingAside):
    """Starts the other end as a thread, where coverage sees it."""

    def __init__(self, *given: object, open_stores: Callable[[], object], **options: object) -> None:
        super().__init__(*given, **options)  # type: ignore[arg-type]
        self._open_stores = open_stores

    def _run(self) -> str:
        ours, theirs = Pipe()

        def forward() -> None:
            with theirs:
                forward_aside(theirs, self._open_stores)  # type: ignore[arg-type]

        other = threading.Thread(target=forward, daemon=True)
        with ours:
            with self._sending:
                self._connection = ours
                self._poked = False
            ours.send_bytes(aside._encode(self._plan))
            other.start()
            self._serve(ours)
        with self._sending:
            self._connection = None
        return "ended"


@contextmanager
def both(folder: Path) -> Iterator[Both]:
    with ExitStack() as stack:
        series = EmbeddedStore(folder / "series.duckdb")
        stack.callback(series.close)
        records = SqlRecords(f"sqlite:///{folder / 'records.sqlite'}")
        stack.callback(records.close)
        upgrade(records.engine)
        spool = Spool(folder / "spool")
        stack.callback(spool.close)
        observed, announced = Observed(), list[Announced]()
        plan = Plan(str(spool.folder), spool.id, records.lease_collector(spool.id), 0.05, 90)
        near = InThread(
            Command([], {}, b""),
            plan,
            spool,
            observed=observed,
            announced=announced.extend,
            open_stores=lambda: (series, records),
        )
        spool.arrived = near.arrived
        near.start()
        yield Both(spool, records, near, observed, announced)
        near.stop(drain_for=5.0)


def test_what_is_spooled_reaches_the_stores_and_the_collector_hears_how_it_goes(tmp_path: Path) -> None:
    with both(tmp_path) as ends:
        for n in range(1, 4):
            ends.send(("job_scraped", {"site": "a", "count": 2}))
            wait_until(lambda: ends.spool.status().spooled == 0)
            assert ends.jobs() == 2 * n
        wait_until(lambda: (sink := ends.near.state().sinks.get("records")) is not None and sink.flushes == 3)
        assert ends.near.state().problems == []
        wait_until(lambda: ends.observed.fold.snapshot().count == 3)
        assert ends.observed.fold.snapshot().total > 0
        assert ends.observed.ack.snapshot().count == 0


def test_the_process_that_a_session_names_is_announced(tmp_path: Path) -> None:
    with both(tmp_path) as ends:
        ends.send(("session_started", {"sites": ["a"], "pid": os.getpid(), "host": "here"}))
        wait_until(lambda: [(each.pid, each.host) for each in ends.announced] == [(os.getpid(), "here")])


def test_told_to_stop_it_brings_what_waits_to_the_stores_first(tmp_path: Path) -> None:
    with both(tmp_path) as ends:
        job: tuple[str, dict[str, object]] = ("job_scraped", {"site": "a"})
        ends.send(*[job] * 100)
        ends.near.stop(drain_for=10.0)
        assert ends.spool.status().spooled == 0
        assert ends.jobs() == 100


class Refusing:
    """A spool whose disk is full."""

    def note(self, note: Note) -> None:
        raise SpoolFull("no room")


def test_a_note_that_cannot_be_written_is_refused_at_the_other_end() -> None:
    ours, theirs = Pipe()
    near = ForwardingAside(
        Command([], {}, b""),
        Plan("", "", 0, 1, 1),
        Refusing(),
        observed=Observed(),
        announced=list[Announced]().extend,
    )
    near._connection = ours
    serving = threading.Thread(target=near._serve, args=(ours,))
    serving.start()
    far = aside._Far(theirs)
    answering = threading.Thread(target=lambda: far.noted(aside._to_forwarding.decode(theirs.recv_bytes())))
    answering.start()
    with pytest.raises(SpoolFull, match="no room"):
        far.note(Passed("series", [1]))
    answering.join()
    theirs.close()
    serving.join(10)
    assert not serving.is_alive()


def started(code: str) -> ForwardingAside:
    found = ForwardingAside(
        Command([sys.executable, "-c", code], dict(os.environ), b""),
        Plan("", "", 0, 1, 1),
        Refusing(),
        observed=Observed(),
        announced=list[Announced]().extend,
    )
    found.start()
    return found


def test_one_that_ends_at_once_is_a_problem_and_is_started_again(tmp_path: Path) -> None:
    counted = tmp_path / "counted"
    near = started(f"open({str(counted)!r}, 'a').write('x'); raise SystemExit(3)")
    wait_until(lambda: counted.exists() and len(counted.read_text()) > 1)
    assert near.state().problems == ["forwarding: its process ended (3), and is started again"]
    near.stop()


def test_one_that_says_nothing_is_ended_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "_SILENT_FOR", 0.2)
    counted = tmp_path / "counted"
    near = started(f"open({str(counted)!r}, 'a').write('x'); import time; time.sleep(600)")
    wait_until(lambda: counted.exists() and len(counted.read_text()) > 1)
    assert near.state().problems == ["forwarding: its process did not answer, and is started again"]
    near.stop()


def test_one_that_does_not_end_in_time_is_killed() -> None:
    near = started("import time; time.sleep(600)")
    wait_until(lambda: near._process is not None)
    process = near._process
    assert process is not None
    near.stop()
    assert process.returncode == -9


@given(st.lists(st.lists(st.floats(0, 100), max_size=5), max_size=5))
def test_timings_told_part_by_part_add_up(parts: list[list[float]]) -> None:
    there, here = Timing(), Timing()
    before = there.snapshot()
    for part in parts:
        for seconds in part:
            there.add(seconds)
        now = there.snapshot()
        here.add_all(now.since(before, highest=there.take_recent()))
        before = now
    told, known = here.snapshot(), there.snapshot()
    assert (told.count, told.buckets, told.highest) == (known.count, known.buckets, known.highest)
    assert told.total == pytest.approx(known.total)
    assert here.take_recent() == known.highest
