from __future__ import annotations

import threading
import time

from collector.periodic import Periodic
from scrapewatch.problems import StoreUnavailable


def test_a_store_that_names_a_time_is_not_asked_before_it() -> None:
    calls: list[float] = []
    enough = threading.Event()

    def work() -> None:
        calls.append(time.monotonic())
        if len(calls) == 1:
            raise StoreUnavailable("busy", retry_after=0.5)
        enough.set()

    periodic = Periodic("test", 0.01, work)
    periodic.start()
    assert enough.wait(30)
    periodic.stop()
    assert calls[1] - calls[0] >= 0.5
    assert periodic.problem is None


def test_what_fails_is_told_and_tried_again() -> None:
    tries = threading.Semaphore(0)

    def work() -> None:
        tries.release()
        raise ValueError("no")

    periodic = Periodic("test", 0.01, work)
    periodic.start()
    assert all(tries.acquire(timeout=30) for _ in range(3))
    periodic.stop()
    assert periodic.problem == "ValueError: no"
