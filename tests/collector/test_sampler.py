from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.contributions import Announced
from collector.fold import fold
from collector.observed import Observed
from collector.periodic import Periodic
from collector.sampler import BUSY, LONGEST, MOST_WATCHED, SHORTEST, Sampler, pace
from collector.sampler.processes import (
    MOST_NAMES,
    OTHER,
    OWN,
    Busiest,
    Process,
    read,
    read_with_psutil,
    scan,
    started_at,
    trees,
)
from scrapewatch.answers import ask
from scrapewatch.events import validate
from scrapewatch.line_protocol import decode
from scrapewatch.ports import DEFAULT_TENANT, TimeRange
from scrapewatch.problems import StoreUnavailable
from scrapewatch.time import MINUTE, SECOND, now_ns
from tests.collector.conftest import Running
from tests.collector.events import event, request

SPIN = "while True: pass"
IDLE = "import time; time.sleep(600)"
READY = "print(flush=True)"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def begin() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a Python process that runs some code, and returns once it says so: a line ``READY`` in the code, or else before it."""
    begun: list[subprocess.Popen[str]] = []

    def start(code: str) -> subprocess.Popen[str]:
        lines = code.splitlines()
        if READY not in lines:
            lines.insert(0, READY)
        process = subprocess.Popen(
            [sys.executable, "-c", "\n".join(lines)], stdout=subprocess.PIPE, text=True
        )
        begun.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield start
    for process in begun:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


# --- the machine


def test_a_sample_is_a_valid_event_with_every_core_disk_and_interface_of_the_machine() -> None:
    value = validate(Sampler().sample())["value"]
    assert len(value["cores"]) == psutil.cpu_count()
    assert value["memory_total"] == psutil.virtual_memory().total
    assert 0 < value["memory_available"] <= value["memory_total"]
    assert {interface["name"] for interface in value["interfaces"]} == set(
        psutil.net_io_counters(pernic=True)
    )
    assert any(disk["mount"] == "/" for disk in value["disks"])
    assert value["process_memory"] > 0
    assert {"swap_percent", "load_1", "load_5", "load_15"} <= value.keys()


def test_bytes_are_those_since_the_sample_before() -> None:
    sampler = Sampler()
    first = sampler.sample()["value"]["interfaces"]
    total = psutil.net_io_counters(pernic=True)
    for interface in first:
        assert interface["sent_bytes"] < max(total[interface["name"]].bytes_sent, 1)


def test_samples_take_the_way_of_all_events(start: Callable[..., AbstractContextManager[Running]]) -> None:
    with start() as running:
        running.collector.report([Sampler().sample()])
        running.drain()
        now = now_ns()
        time_range = TimeRange.widened(now - MINUTE, now + SECOND, 5 * SECOND)
        (row,) = ask(running.series, "resources", {}, time_range, tenant=DEFAULT_TENANT).dicts()
        assert 0 < row["memory_percent"] < 100
        assert running.collector.spool.status().delivered == 1


# --- how often

_figures = st.fixed_dictionaries({"cpu_percent": st.floats(0, 100), "memory_percent": st.floats(0, 100)})


def _load(cpu: float, memory: float = 50.0) -> dict[str, float]:
    return {"cpu_percent": cpu, "memory_percent": memory}


def test_an_idle_machine_is_sampled_ever_less_often_down_to_the_longest_interval() -> None:
    interval, intervals = SHORTEST, []
    for _ in range(20):
        interval = pace(_load(3), _load(4), interval, longest=LONGEST)
        intervals.append(interval)
    assert intervals == sorted(intervals)
    assert intervals[0] == 1.5 * SHORTEST
    assert intervals[-1] == LONGEST


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (_load(BUSY), _load(BUSY)),
        (_load(5), _load(30)),
        (_load(40), _load(5)),
        (_load(5, 40), _load(5, 43)),
        (_load(5, 95), _load(5, 95)),
    ],
)
def test_a_machine_that_is_busy_or_whose_figures_move_is_sampled_each_second(
    before: dict[str, float], now: dict[str, float]
) -> None:
    assert pace(before, now, LONGEST, longest=LONGEST) == SHORTEST


@given(_figures, _figures, st.floats(0.1, 3600), st.floats(0.1, 3600))
def test_samples_are_never_closer_than_a_second_nor_further_apart_than_was_set(
    before: dict[str, float], now: dict[str, float], interval: float, longest: float
) -> None:
    found = pace(before, now, interval, longest=longest)
    assert min(SHORTEST, longest) <= found <= longest


def test_samples_of_busy_seconds_travel_together_each_with_its_own_time(clock: Clock) -> None:
    # With an interval of no more than a second it is fixed, whatever this machine does meanwhile.
    sampler = Sampler(longest=1.0, clock=clock)
    handed_over: list[tuple[float, list[dict[str, Any]]]] = []
    for _ in range(400):
        if events := sampler.events():
            handed_over.append((clock.now, events[DEFAULT_TENANT]))
        time.sleep(0.0005)
        clock.now += 0.1
    assert all(later - earlier >= 5 for (earlier, _), (later, _) in pairwise(handed_over))
    samples = [event for _, some in handed_over for event in some]
    assert len(samples) >= 30
    assert len({sample["timestamp"] for sample in samples}) == len(samples)
    for sample in samples:
        validate(sample)


def test_the_end_of_idleness_is_noticed_before_the_next_sample_is_due(
    begin: Callable[[str], Any], clock: Clock
) -> None:
    sampler = Sampler(clock=clock)
    quiet = {"cpu_percent": 0.0, "memory_percent": 0.0}
    sampler.events()
    # As if the machine had been idle for long.
    sampler._before, sampler._interval = quiet, LONGEST
    sampler._sample_at = clock.now + LONGEST
    for _ in range(psutil.cpu_count() or 1):
        begin(SPIN)
    deadline = time.monotonic() + 30
    while psutil.cpu_percent(interval=0.3) < BUSY:  # they need a while to begin
        assert time.monotonic() < deadline
    sampler._machine.glance()
    time.sleep(0.5)
    clock.now += 2.0
    assert sampler.wait() == 0
    sampler.events()
    assert sampler._interval == SHORTEST
    assert sampler.wait() < LONGEST / 2  # or longer than the shortest where a sample is dear


def test_it_waits_until_something_is_due_and_then_has_nothing_left_to_do(clock: Clock) -> None:
    sampler = Sampler(clock=clock)
    assert sampler.wait() == 0
    for _ in range(50):
        sampler.events()
        assert sampler.wait() > 0
        clock.now += sampler.wait()


def test_what_is_dear_is_looked_at_less_often(clock: Clock) -> None:
    sampler = Sampler(longest=1.0, clock=clock)
    events = []
    for _ in range(121):
        events += sampler.events().get(DEFAULT_TENANT, [])
        clock.now += 1.0
    with_disks = [event for event in events if "disks" in event["value"]]
    with_processes = [event for event in events if event["value"].get("processes")]
    assert "disks" in events[0]["value"]
    assert 2 <= len(with_disks) <= 5
    assert 2 <= len(with_processes) <= 12
    assert len(events) > 60


def test_it_tells_what_it_costs(clock: Clock) -> None:
    observed = Observed()
    sampler = Sampler(observed=observed, clock=clock)
    began = time.thread_time()
    sampler.events()
    assert 0 < observed.sampler_seconds <= time.thread_time() - began


# --- processes


def test_a_process_is_read_as_psutil_reads_it(begin: Callable[[str], Any]) -> None:
    pid = begin(f"x = bytearray(50_000_000)\n{READY}\n{IDLE}").pid
    ours, theirs = read(pid), read_with_psutil(pid)
    assert ours is not None
    assert theirs is not None
    assert (ours.pid, ours.parent, ours.name, ours.threads, ours.ended) == (
        theirs.pid,
        os.getpid(),
        theirs.name,
        theirs.threads,
        False,
    )
    assert abs(started_at(ours) - psutil.Process(pid).create_time()) < 2
    assert ours.memory > 50_000_000
    assert abs(ours.memory - theirs.memory) < 5_000_000
    assert abs(ours.seconds - theirs.seconds) < 0.1


@pytest.mark.skipif(sys.platform != "linux", reason="a process names itself so on Linux only")
@pytest.mark.parametrize("name", ["a) Z 1 (b", "((((", "))))", "two words", "ünï", "\\n 0 0 0"])
def test_a_hostile_name_of_a_process_moves_no_figure(begin: Callable[[str], Any], name: str) -> None:
    found = read(begin(f"open('/proc/self/comm', 'w').write({name!r})\n{READY}\n{IDLE}").pid)
    assert found is not None
    assert (found.name, found.parent, found.threads, found.ended) == (name, os.getpid(), 1, False)


def test_there_is_no_process_of_a_number_that_none_has() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert read(ended.pid) is None
    assert read_with_psutil(ended.pid) is None
    assert ended.pid not in scan()


def test_every_process_that_psutil_sees_is_seen(begin: Callable[[str], Any]) -> None:
    mine = {begin(IDLE).pid for _ in range(3)}
    assert mine | {os.getpid()} <= scan().keys()
    assert mine <= set(psutil.pids())


def _process(pid: int, parent: int = 1, name: str = "x", **figures: Any) -> Process:
    known = {"started": pid, "seconds": 0.0, "reaped": 0.0, "memory": 0, "threads": 1, "ended": False}
    return Process(pid, parent, name, **{**known, **figures})


def test_a_process_belongs_to_the_nearest_session_above_it() -> None:
    orchestrator, spider, browser, tab, stranger = (
        _process(100),
        _process(101, 100),
        _process(102, 101),
        _process(103, 102),
        _process(104),
    )
    processes = {p.pid: p for p in (orchestrator, spider, browser, tab, stranger)}
    found = trees(processes, {100, 102, 999})
    assert {root: [p.pid for p in those] for root, those in found.items()} == {
        100: [100, 101],
        102: [102, 103],
    }


@given(st.dictionaries(st.integers(2, 12), st.integers(0, 12), min_size=1), st.sets(st.integers(2, 12)))
def test_whatever_is_whose_child_no_process_is_in_two_trees(parents: dict[int, int], roots: set[int]) -> None:
    # Parents may form circles here: a pid can be read again between the looks at two processes.
    processes = {pid: _process(pid, parent) for pid, parent in parents.items()}
    found = trees(processes, roots)
    assert found.keys() == roots & processes.keys()
    listed = [p.pid for those in found.values() for p in those]
    assert len(listed) == len(set(listed))


def test_the_process_that_uses_most_is_told_of_with_what_it_uses(begin: Callable[[str], Any]) -> None:
    busiest = Busiest(time.monotonic)
    before = psutil.Process(begin(SPIN).pid)
    name = before.name()
    assert busiest.of(scan()) == []
    time.sleep(0.5)
    found = {each["process"]: each for each in busiest.of(scan())}
    assert found[name]["cpu_percent"] > 10
    assert found[name]["memory"] >= before.memory_info().rss * 0.9
    assert found[OWN]["open_files"] > 0
    assert found[OWN]["count"] >= 1  # others may run on this machine


def test_processes_of_one_name_are_told_of_as_one(clock: Clock) -> None:
    busiest = Busiest(clock)
    processes = {pid: _process(pid, name="chrome", memory=1000, threads=3) for pid in range(100, 140)}
    busiest.of(processes)
    clock.now += 10
    later = {pid: _process(pid, name="chrome", memory=1000, threads=3, seconds=0.5) for pid in processes}
    (found,) = busiest.of(later)
    assert found | {"open_files": None} == {
        "process": "chrome",
        "count": 40,
        "cpu_percent": 200.0,
        "memory": 40_000,
        "threads": 120,
        "open_files": None,
    }


def test_a_number_that_went_to_another_process_brings_none_of_its_past(clock: Clock) -> None:
    busiest = Busiest(clock)
    busiest.of({7000: _process(7000, started=1, seconds=900.0)})
    clock.now += 10
    (found,) = busiest.of({7000: _process(7000, started=2, seconds=1.0)})
    assert found["cpu_percent"] == 10.0


def test_the_names_of_processes_that_are_told_apart_are_bounded(clock: Clock) -> None:
    busiest = Busiest(clock)
    told: set[str] = set()
    for turn in range(40):
        processes = {
            pid: _process(pid, name=f"job-{turn}-{pid}", seconds=1.0, memory=pid) for pid in range(100, 150)
        }
        told |= {each["process"] for each in busiest.of(processes)}
        clock.now += 10
    assert OTHER in told
    assert len(told) <= MOST_NAMES


# --- sessions


def resources(events: dict[str, list[dict[str, Any]]], session: str = "s1") -> list[dict[str, Any]]:
    return [
        event["value"]
        for those in events.values()
        for event in those
        if event["metric"] == "resources" and event["session_id"] == session
    ]


def test_the_process_of_a_session_is_sampled_with_its_children_until_it_ends(
    begin: Callable[[str], Any], clock: Clock
) -> None:
    scraper = begin(
        f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {SPIN!r}])\n"
        f"x = bytearray(80_000_000)\n{READY}\n{IDLE}"
    )
    (child,) = psutil.Process(scraper.pid).children()
    sampler = Sampler(clock=clock)
    assert sampler.watch("acme", "s1", scraper.pid, sampler.host, since=now_ns())
    (first,) = resources(sampler.events())
    assert "cpu_percent" not in first
    assert first["memory_mb"] > 76
    assert first["threads"] >= 2
    assert first["sampled"] is True
    time.sleep(0.5)
    clock.now += 5
    events = sampler.events()
    (second,) = resources(events)
    assert second["cpu_percent"] > 1
    assert [event["session_id"] for event in events["acme"]] == ["s1"]
    for told in events["acme"]:
        validate(told)
    child.kill()
    scraper.kill()
    # Not waited for yet: only its entry is left, and that is nothing to sample.
    until(lambda: (found := read(scraper.pid)) is None or found.ended)
    clock.now += 5
    assert resources(sampler.events()) == []
    assert sampler.watched == 0


def test_what_ended_children_used_counts_too(begin: Callable[[str], Any], clock: Clock) -> None:
    code = "import subprocess, sys\nfor _ in sys.stdin:\n subprocess.run([sys.executable, '-c', 'sum(range(10**7))'])\n print(flush=True)"
    scraper = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert scraper.stdin is not None
    assert scraper.stdout is not None
    with scraper, scraper.stdin, scraper.stdout:
        sampler = Sampler(clock=clock)
        assert sampler.watch("t", "s1", scraper.pid, sampler.host, since=now_ns())
        sampler.events()
        scraper.stdin.write("\n")
        scraper.stdin.flush()
        scraper.stdout.readline()
        clock.now += 5
        (value,) = resources(sampler.events())
        assert value["cpu_percent"] >= 1  # of 5 s


def test_a_session_that_finished_is_sampled_no_more(begin: Callable[[str], Any], clock: Clock) -> None:
    pid = begin(IDLE).pid
    sampler = Sampler(clock=clock)
    for session in ("s1", "s2"):
        assert sampler.watch("t", session, pid, sampler.host, since=now_ns())
    sampler.forget("t", "s1")
    sampler.forget("other tenant", "s2")
    sampler.forget("t", "never heard of")
    events = sampler.events()
    assert resources(events, "s1") == []
    assert len(resources(events, "s2")) == 1


def test_only_this_machines_processes_that_had_begun_by_then_are_watched(begin: Callable[[str], Any]) -> None:
    pid = begin(IDLE).pid
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    sampler = Sampler()
    now = now_ns()
    assert not sampler.watch("t", "s", pid, "another-host", since=now)
    assert not sampler.watch("t", "s", ended.pid, sampler.host, since=now)
    assert not sampler.watch("t", "s", 1, sampler.host, since=now)
    assert not sampler.watch("t", "s", os.getpid(), sampler.host, since=now)
    assert not sampler.watch("t", "s", pid, sampler.host, since=now - MINUTE)
    assert not sampler.watch("t", "s", 2**32 - 1, sampler.host, since=now)
    assert sampler.watched == 0
    assert sampler.watch("t", "s", pid, sampler.host.upper(), since=now)


def test_the_number_of_sessions_watched_is_bounded(begin: Callable[[str], Any]) -> None:
    pid = begin(IDLE).pid
    sampler = Sampler()
    now = now_ns()
    taken = [sampler.watch("t", f"s{n}", pid, sampler.host, since=now) for n in range(MOST_WATCHED + 2)]
    assert taken == [True] * MOST_WATCHED + [False] * 2
    assert sampler.watch("t", "s0", pid, sampler.host, since=now)
    sampler.forget("t", "s7")
    assert sampler.watch("t", "one more", pid, sampler.host, since=now)


def test_processes_are_still_watched_after_the_collector_started_again(
    begin: Callable[[str], Any], tmp_path: Path
) -> None:
    keep = tmp_path / "watched.json"
    lives, ends = begin(IDLE), begin(IDLE)
    before = Sampler(keep=keep)
    for session, process in (("s1", lives), ("s2", ends), ("s3", lives)):
        assert before.watch("t", session, process.pid, before.host, since=now_ns())
    before.forget("t", "s3")
    before.events()
    ends.kill()
    ends.wait()
    after = Sampler(keep=keep)
    events = after.events()
    assert len(resources(events, "s1")) == 1
    assert resources(events, "s2") == resources(events, "s3") == []
    assert Sampler(keep=keep).watched == 1


def test_a_number_is_not_watched_that_went_to_another_process_meanwhile(
    begin: Callable[[str], Any], tmp_path: Path
) -> None:
    keep = tmp_path / "watched.json"
    sampler = Sampler(keep=keep)
    assert sampler.watch("t", "s1", begin(IDLE).pid, sampler.host, since=now_ns())
    sampler.events()
    kept = json.loads(keep.read_text())
    for spoilt in (
        {**kept, "boot": "another run of the machine"},
        {**kept, "watched": [[*entry[:3], entry[3] - 1] for entry in kept["watched"]]},
    ):
        keep.write_text(json.dumps(spoilt))
        assert resources(Sampler(keep=keep).events()) == []


@pytest.mark.parametrize("text", ["", "[]", "{", '{"boot": 1}', "\0", '{"watched": [[1]]}'])
def test_a_spoilt_list_of_watched_processes_is_none(tmp_path: Path, text: str) -> None:
    keep = tmp_path / "watched.json"
    keep.write_text(text)
    sampler = Sampler(keep=keep)
    assert sampler.watched == 0
    assert sampler.events()


def test_live_sessions_that_name_process_and_machine_are_told_of_and_when_they_finish() -> None:
    named = {"pid": 4711, "host": "worker-1"}
    events = [
        event("session_started", {"pid": 4711}, session="no machine"),
        event("session_started", {"host": "worker-1"}, session="no process"),
        event("session_queued", {}, session="s1"),
        event("session_started", named, session="s1"),
        event("session_finished", {}, session="s1"),
    ]
    told = fold([request(events)], {}, collector_no=0, number=1).announced
    assert told == [
        Announced("default", "s1", 4711, "worker-1", events[3]["time"]),
        Announced("default", "s1"),
    ]
    assert fold([request(events, source="an import")], {}, collector_no=0, number=1).announced == []


def test_what_the_collector_sampled_is_no_sign_of_life_of_the_scraper() -> None:
    reported = event("resources", {"memory_mb": 1.0})
    sampled = event("resources", {"memory_mb": 1.0, "threads": 3, "open_files": 5, "sampled": True})
    by_scraper, by_us = (
        fold([request([each])], {}, collector_no=0, number=1) for each in (reported, sampled)
    )
    assert [row.table for change in by_scraper.changes for row in change.rows] == ["scrape_sessions"]
    assert [row for change in by_us.changes for row in change.rows] == []
    (batch,) = by_us.batches
    (point,) = map(decode, batch.lines)
    assert point.fields == {"memory_mb": 1.0, "threads": 3, "open_files": 5}


def test_processes_of_a_machine_become_points_of_their_own() -> None:
    used = {"process": "influxd", "count": 2, "cpu_percent": 12.5, "memory": 4096, "threads": 7}
    sample = event("host", {**Sampler().sample()["value"], "processes": [used]})
    folded = fold([request([sample])], {}, collector_no=0, number=1)
    points = [decode(line) for batch in folded.batches for line in batch.lines]
    (point,) = (point for point in points if point.measurement == "host_processes")
    assert point.tags["process"] == "influxd"
    assert point.fields == {"count": 2, "cpu_percent": 12.5, "memory": 4096, "threads": 7}
    assert sum(sum(batch.events) for batch in folded.batches) == 1


# --- at work


def test_periodic_work_goes_on_after_it_failed() -> None:
    calls = 0
    enough = threading.Event()

    def work() -> None:
        nonlocal calls
        calls += 1
        if calls >= 4:
            enough.set()
        raise StoreUnavailable("away") if calls % 2 else RuntimeError("a fault")

    periodic = Periodic("test", 0.01, work)
    periodic.start()
    assert enough.wait(20)
    periodic.stop()
    after = calls
    time.sleep(0.05)
    assert calls == after


def test_periodic_work_may_say_itself_when_it_wants_to_go_on() -> None:
    asked = 0
    enough = threading.Event()

    def wait() -> float:
        nonlocal asked
        asked += 1
        if asked == 3:
            enough.set()
        return 0.0 if asked < 3 else 3600.0

    periodic = Periodic("test", wait, lambda: None)
    periodic.start()
    assert enough.wait(20)
    periodic.stop()
    assert asked == 3
