from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import psutil

from collector.periodic import Periodic
from collector.sampler import Sampler
from scrapewatch.answers import ask
from scrapewatch.events import validate
from scrapewatch.ports import DEFAULT_TENANT, TimeRange
from scrapewatch.problems import StoreUnavailable
from scrapewatch.time import MINUTE, SECOND, now_ns
from tests.collector.conftest import Running


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
