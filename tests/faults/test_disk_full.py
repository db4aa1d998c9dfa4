"""There is no more room on the disk: nothing is acknowledged that is not durable, and it recovers by itself."""

from __future__ import annotations

import random
import time

import pytest

from tests.faults.conftest import Start
from tests.faults.disk import no_room
from tests.faults.ledger import Writer, request
from tests.faults.proxy import PASS, REFUSE
from tests.faults.rig import Load
from tests.loopback import wait_for


@pytest.mark.parametrize("its_log_as_well", [False, True])
def test_a_full_disk_is_answered_with_503_acknowledges_nothing_and_is_recovered_from_unaided(
    start: Start, its_log_as_well: bool
) -> None:
    rig = start()
    if its_log_as_well:
        with rig.process.log.open("ab") as log:
            log.write(b"x" * 10_000 + b"\n")
    writer = Writer(random.Random())
    with Load(rig, lambda k: Writer(random.Random(), f"{k}").request, clients=2):
        time.sleep(0.5)
    with no_room(rig):
        before = rig.ledger.events
        answers = [rig.post(writer.request()) for _ in range(10)]
        assert [answer.status for answer in answers] == [503] * 10
        assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
        assert rig.ledger.events == before
    assert rig.process.runs
    wait_for(lambda: rig.post(writer.request()).status == 202, what="it accepts again")
    rig.must_be_exact()
    wait_for(lambda: rig.process.problems() is None, what="it is ready again")


def test_a_disk_that_is_full_while_the_store_is_down_and_the_process_dies_loses_nothing(start: Start) -> None:
    rig = start()
    rig.proxy.set(REFUSE)
    with Load(rig, lambda k: Writer(random.Random(), f"{k}").request, clients=2):
        time.sleep(0.4)
        with no_room(rig):
            time.sleep(0.4)
        time.sleep(0.4)
        with no_room(rig):
            time.sleep(0.4)
            rig.process.kill()
    rig.process.start()
    rig.proxy.set(PASS)
    rig.must_be_exact()


def test_below_the_space_that_must_stay_free_nothing_is_accepted(start: Start) -> None:
    rig = start({"SCRAPEWATCH_SPOOL_MIN_FREE_BYTES": str(10**18)})
    sent = request(Writer(random.Random()).events(3))
    answer = rig.post(sent)
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    assert rig.process.totals()["accepted"] == 0
    assert rig.ledger.events == 0
    assert "free" in (rig.process.problems() or "")
