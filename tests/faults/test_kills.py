"""The collector is killed again and again under load: what was acknowledged is counted once."""

from __future__ import annotations

import os
import random
import time

from tests.faults.conftest import Start
from tests.faults.ledger import Writer
from tests.faults.proxy import PASS, RESET_AFTER_COMMIT, slow
from tests.faults.rig import Load

KILLS = int(os.environ.get("FAULTS_KILLS", "8"))


def test_killed_at_random_moments_under_load_it_loses_doubles_and_invents_nothing(start: Start) -> None:
    chance = random.Random()
    rig = start()
    with Load(rig, lambda k: Writer(random.Random(chance.random()), f"{k}").request) as load:
        for _ in range(KILLS):
            rig.proxy.set(chance.choice((PASS, PASS, slow(0.1), RESET_AFTER_COMMIT)))
            time.sleep(chance.uniform(0.05, 1.5))
            rig.process.kill()
            if chance.random() < 0.25:  # it may as well die while it starts
                rig.process.launch()
                time.sleep(chance.uniform(0.1, 2.0))
                rig.process.kill()
            rig.process.start()
    rig.proxy.set(PASS)
    assert len(load.acks) > KILLS
    rig.must_be_exact()
