"""The process that forwards is killed, suspended, or left alone: the collector goes on acknowledging, and each event counts once."""

from __future__ import annotations

import random
import signal
import time

import psutil

from tests.faults.conftest import Start
from tests.faults.ledger import Writer
from tests.faults.proxy import PASS, RESET_AFTER_COMMIT, slow
from tests.faults.rig import Load, Rig
from tests.loopback import wait_for


def clients(rig: Rig, seed: int) -> Load:
    return Load(rig, lambda k: Writer(random.Random(1_000 * seed + k), f"{seed}-{k}").request)


def test_killed_again_and_again_under_load_it_is_started_again_and_each_event_counts_once(
    start: Start,
) -> None:
    chance = random.Random()
    rig = start()
    with clients(rig, chance.randrange(10**9)) as load:
        for _ in range(4):
            rig.proxy.set(chance.choice((PASS, slow(0.1), RESET_AFTER_COMMIT)))
            time.sleep(chance.uniform(0.3, 2.0))
            before = len(load.acks)
            rig.process.forwarding().kill()
            wait_for(lambda before=before: len(load.acks) > before, what="it goes on acknowledging")  # type: ignore[misc]
    rig.proxy.set(PASS)
    rig.must_be_exact()
    wait_for(lambda: rig.process.problems() is None, what="it is ready", log=rig.process.log)


def test_while_it_is_suspended_events_are_acknowledged_and_wait(start: Start) -> None:
    rig = start()
    forwarding = rig.process.forwarding()
    wait_for(lambda: rig.process.totals()["spooled"] == 0, what="the spool is empty")
    forwarding.suspend()
    try:
        with clients(rig, 1) as load:
            wait_for(lambda: len(load.acks) > 20, what="events are acknowledged")
        assert rig.process.totals()["spooled"] >= 20
    finally:
        forwarding.resume()
    rig.must_be_exact()


def test_it_goes_with_its_collector_and_not_before(start: Start) -> None:
    rig = start()
    forwarding = rig.process.forwarding()
    with clients(rig, 3) as load:
        wait_for(lambda: len(load.acks) > 5, what="events are acknowledged")
    rig.must_be_exact()
    # What systemd sends to all processes at once; the collector says when it is time.
    for number in (signal.SIGTERM, signal.SIGINT):
        forwarding.send_signal(number)
    with clients(rig, 2) as load:
        wait_for(lambda: len(load.acks) > 5, what="events are acknowledged")
    rig.must_be_exact()
    assert rig.process.forwarding() == forwarding
    rig.process.kill()
    psutil.wait_procs([forwarding], timeout=30)
    assert not forwarding.is_running()
