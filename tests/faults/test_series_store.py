"""InfluxDB is down, hangs, breaks off, is too busy, or does not know the token: nothing is lost, and no ack waits for it."""

from __future__ import annotations

import random
import statistics
import time
from itertools import pairwise

import pytest

from tests.faults.conftest import Start
from tests.faults.ledger import Writer, request
from tests.faults.proxy import (
    NOT_FOUND,
    PASS,
    REFUSE,
    RESET_AFTER_COMMIT,
    STALL,
    UNAUTHORIZED,
    Fault,
    busy,
    slow,
)
from tests.faults.rig import Load, Rig
from tests.loopback import wait_for


def load(rig: Rig, seconds: float) -> list[float]:
    """Send for so many seconds; how long each acknowledgement took."""
    with Load(rig, lambda k: Writer(random.Random(), f"{k}").request, clients=2) as sending:
        time.sleep(seconds)
    return sending.acks


def test_a_store_that_is_down_fills_the_spool_which_drains_to_the_exact_count(rig: Rig) -> None:
    load(rig, 0.5)
    rig.must_be_exact()
    before = rig.process.totals()
    rig.proxy.set(REFUSE)
    backlog = []
    for _ in range(3):
        assert load(rig, 0.7)
        backlog.append(rig.process.totals()["spooled"])
    assert 0 < backlog[0] < backlog[1] < backlog[2]
    down = rig.process.totals()
    assert down["delivered"] == before["delivered"]
    assert down["dead_lettered"] == 0
    assert down["accepted"] == down["delivered"] + down["spooled"]
    assert "does not take connections" in (rig.process.problems() or "")
    rig.proxy.set(PASS)
    rig.must_be_exact()
    assert rig.process.totals()["dead_lettered"] == 0
    wait_for(lambda: rig.process.problems() is None, what="it is ready again")


def test_a_spool_at_its_cap_refuses_what_is_new_and_drops_nothing_old(start: Start) -> None:
    rig = start({"SCRAPEWATCH_SPOOL_MAX_BYTES": "1000000"})
    rig.proxy.set(REFUSE)
    writer = Writer(random.Random(1))
    answers: list[int] = []
    # Each has a session of its own, so that folding does not make the backlog small.
    while answers[-3:] != [503] * 3:
        answers.append(rig.post(request(writer.events(300))).status)
        assert len(answers) < 2_000
    assert set(answers) == {202, 503}
    refused = len(rig.ledger.open())
    assert refused >= 3
    full = rig.process.totals()
    assert full["spooled"] == full["accepted"] >= rig.ledger.events
    assert rig.process.problems() is not None
    rig.proxy.set(PASS)
    rig.must_be_exact()  # what was refused was sent again, and was taken
    assert rig.ledger.open() == []


@pytest.mark.parametrize("fault", [STALL, slow(1.5)], ids=lambda fault: str(fault.name))
def test_a_store_that_hangs_holds_up_no_ack(rig: Rig, fault: Fault) -> None:
    rig.proxy.set(fault)
    began = time.time()
    load(rig, 0.5)
    wait_for(lambda: any(write.at > began for write in rig.proxy.writes), what="a write that hangs")
    hanging = next(write for write in rig.proxy.writes if write.at > began)
    acks = [rig.post(Writer(random.Random()).request()) for k in range(20)]
    # Every one of them came while the store still owed its answer, or within what the store takes for one.
    assert [answer.status for answer in acks] == [202] * 20
    assert hanging.ended > time.time() or statistics.median(a.seconds for a in acks) < fault.seconds / 3
    rig.proxy.set(PASS)
    rig.must_be_exact()


def test_a_store_that_breaks_off_after_it_committed_counts_nothing_twice(rig: Rig) -> None:
    before = rig.process.totals()
    rig.proxy.set(RESET_AFTER_COMMIT)
    load(rig, 1.0)
    wait_for(lambda: len(rig.proxy.writes) >= 4, what="writes whose answers are lost", seconds=90)
    rig.process.kill()  # nor do a crash and a replay on top of it
    rig.process.start()
    wait_for(lambda: len(rig.proxy.writes) >= 6, what="the same once more", seconds=90)
    assert rig.process.totals()["delivered"] == before["delivered"]
    rig.proxy.set(PASS)
    rig.must_be_exact()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_store_is_not_asked_again_before_it_said(rig: Rig, status: int) -> None:
    rig.proxy.set(busy(status, retry_after=3))
    load(rig, 0.5)
    wait_for(lambda: len(rig.proxy.refused()) >= 3, what="three refusals", seconds=90)
    rig.proxy.set(PASS)
    rig.must_be_exact()
    writes = list(rig.proxy.writes)
    again = 0
    for write in writes:
        for later in writes:
            if write.status == status and later.at > write.ended and later.lines & write.lines:
                again += 1
                assert later.at - write.ended >= 3 - 0.01
    assert again
    assert rig.process.totals()["dead_lettered"] == 0


def test_a_busy_store_that_does_not_say_when_is_asked_again_after_pauses_that_vary(rig: Rig) -> None:
    rig.proxy.set(busy(503))
    rig.post(Writer(random.Random()).request())
    time.sleep(6)
    rig.proxy.set(PASS)
    rig.must_be_exact()
    # Rollups are not asked for again but made anew.
    first = next(write for write in rig.proxy.writes if write.bucket == "fleet")
    tries = [write.at for write in rig.proxy.writes if write.lines & first.lines and write.status == 503]
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    # With pauses of up to 0.25 s, doubled each time, a dozen tries is much; without any it would be hundreds.
    assert 2 <= len(tries) <= 40
    assert len({round(pause, 3) for pause in pauses}) == len(pauses)


@pytest.mark.parametrize("fault", [UNAUTHORIZED, NOT_FOUND], ids=lambda fault: str(fault.name))
def test_a_store_that_does_not_know_the_token_or_bucket_keeps_all_in_the_spool_and_says_so(
    rig: Rig, fault: Fault
) -> None:
    before = rig.process.totals()
    rig.proxy.set(fault)
    load(rig, 0.5)
    wait_for(lambda: rig.process.problems() is not None, what="readiness says what is wrong")
    said = rig.process.problems() or ""
    assert "INFLUX_TOKEN" in said or "INFLUX_ORG" in said
    assert "bootstrap" in said
    assert rig.token not in said
    assert rig.process.metric("scrapewatch_collector_ready") == 0
    totals = rig.process.totals()
    assert (totals["delivered"], totals["dead_lettered"]) == (before["delivered"], 0)
    assert totals["spooled"] == totals["accepted"] - before["accepted"] > 0
    rig.proxy.set(PASS)
    rig.must_be_exact()
    assert rig.process.totals()["dead_lettered"] == 0
    wait_for(lambda: rig.process.problems() is None, what="it is ready again")
