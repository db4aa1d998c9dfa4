"""The machine: what its own files say."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import psutil
import pytest
from starlette.testclient import TestClient

from api.patience import Patience
from api.resources import machine
from api.resources.machine import MachineReader, top_processes
from tests.api.stacks import Stack

PATH = "/api/v1/monitoring/resources/utilization"


@pytest.fixture
def busy() -> Iterator[None]:
    """A thread that keeps a core busy."""
    done = threading.Event()

    def spin() -> None:
        while not done.is_set():
            sum(range(1_000))

    thread = threading.Thread(target=spin)
    thread.start()
    yield
    done.set()
    thread.join()


def test_the_machine_is_shown_in_all_its_parts(client: TestClient) -> None:
    shown = client.get(PATH).json()
    assert len(shown["cpu"]["cores"]) == psutil.cpu_count()
    assert all(0 <= percent <= 100 for percent in [shown["cpu"]["percent"], *shown["cpu"]["cores"]])
    assert shown["memory"]["total"] == psutil.virtual_memory().total
    assert shown["memory"]["used"] + shown["memory"]["available"] == shown["memory"]["total"]
    assert {each["name"] for each in shown["interfaces"]} == set(psutil.net_io_counters(pernic=True))
    assert shown["partitions"] and all(each["total"] > 0 for each in shown["partitions"])
    assert shown["load"]["load_1"] >= 0
    assert shown["processes"] is None and shown["disks"] is None
    assert shown["taken_at"] > shown["booted_at"]
    assert shown["degraded"] == []


def test_in_detail_with_the_processes_that_use_most(client: TestClient, busy: None) -> None:
    shown = client.get(PATH, params={"detailed": True}).json()
    own = next(each for each in shown["processes"] if each["pid"] == psutil.Process().pid)
    assert own["cpu_percent"] > 5 and own["memory"] > 10_000_000 and own["threads"] > 1
    assert len(shown["processes"]) <= 2 * machine.TOP_PROCESSES
    assert shown["disks"] is not None


def test_rates_are_those_since_the_reading_before(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = {"eth0": [1_000, 5_000], "lo": [10, 10]}
    clock = [100.0]

    def network(pernic: bool) -> dict[str, object]:
        return {
            name: SimpleNamespace(bytes_sent=found[0], bytes_recv=found[1], errin=0, errout=0)
            for name, found in counted.items()
        }

    monkeypatch.setattr(psutil, "net_io_counters", network)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    reader = MachineReader()
    clock[0] += 4
    counted["eth0"] = [1_400, 5_200]
    counted["lo"] = [9_000, 9_000]
    reading = reader.read()
    assert reading.sent_per_second == 100 and reading.received_per_second == 50, "without the loopback"
    clock[0] += 0.5
    counted["eth0"] = [9_999, 9_999]
    assert reader.read() is reading, "who asks twice within a second gets the same"
    clock[0] += 3.5
    counted["eth0"] = [0, 0]
    assert reader.read().sent_per_second == 0, "a counter that was set back is no rate"


def test_a_moment_of_work_is_no_lack_of_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, spent = [0.0], [0.0, 0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(machine, "_core_times", lambda: [(sum(spent), spent[0], 0.0, 0.0, spent[1])])
    reader = MachineReader()

    def after(seconds: float, busy: float) -> machine.Processors:
        clock[0] += seconds
        spent[0] += seconds * busy
        spent[1] += seconds * (1 - busy)
        return reader.read().processors

    for _ in range(20):
        idle = after(5, 0.1)
    assert idle.lately == pytest.approx(10)
    moment = after(5, 1.0)
    assert moment.percent == 100 and moment.lately == pytest.approx(10 + 90 * 5 / 60, abs=1)
    for _ in range(12):
        busy = after(5, 1.0)
    assert busy.lately == pytest.approx(100)
    assert len(reader._busy) < 20


def test_a_machine_that_does_not_answer_is_shown_as_it_was(stack: Stack, client: TestClient) -> None:
    before = client.get(PATH).json()
    stuck = threading.Event()
    stack.services.patience["machine"] = Patience("the machine", seconds=0.05, threads=1)
    stack.services.machine.read = lambda *, older=1.0: stuck.wait(10)  # type: ignore[assignment,return-value,method-assign]
    try:
        shown = client.get(PATH).json()
        assert shown["degraded"] == ["machine"] and shown["taken_at"] == before["taken_at"]
        shown = client.get(PATH, params={"detailed": True}).json()
        assert shown["degraded"] == ["machine", "processes"] and shown["processes"] is None
    finally:
        stuck.set()


def test_processes_are_sorted_by_what_they_use(busy: None) -> None:
    found = top_processes(3, 0.2)
    assert [each.cpu_percent for each in found] == sorted((each.cpu_percent for each in found), reverse=True)
    assert 3 <= len(found) <= 6
