"""InfluxDB refuses one point among many for good: the others are stored, the guilty one is a dead letter."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.faults.ledger import Counts, by_site, difference, event, request
from tests.faults.proxy import partial
from tests.faults.rig import Rig, wait_for


@pytest.mark.parametrize("status", [400, 422])
def test_of_a_thousand_points_one_is_refused_and_the_others_are_stored(rig: Rig, status: int) -> None:
    before = rig.process.totals()
    rig.proxy.set(partial(status, "poison"))
    good = [event("job_scraped", "s1", f"site-{k}", 1_000 + k, age=60) for k in range(999)]
    poison = event("job_scraped", "s1", "poison", 77, age=60)
    sent = request([*good[:617], poison, *good[617:]])
    assert rig.post(sent).status == 202
    wait_for(lambda: rig.process.totals()["spooled"] == 0, what="the spool is drained", log=rig.process.log)
    now = rig.process.totals()
    assert now["delivered"] - before["delivered"] >= 999
    assert now["dead_lettered"] - before["dead_lettered"] == 1
    assert now["accepted"] == now["delivered"] + now["dead_lettered"]
    stored: Counts = Counter({key: count for key, count in rig.ledger.acked().items() if key[2] != "poison"})
    assert difference(stored, rig.in_influx("sessions")) == []
    assert difference(by_site(stored), rig.in_influx("fleet")) == []
    # The records are none of InfluxDB's business.
    assert difference(rig.ledger.acked(), rig.in_records()) == []
