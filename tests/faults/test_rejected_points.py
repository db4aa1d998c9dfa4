"""InfluxDB refuses one point among many for good: the others are stored, and the guilty one too once its cause is mended."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.faults.ledger import by_site, counted, difference, event, request
from tests.faults.proxy import PASS, partial
from tests.faults.rig import Rig
from tests.loopback import wait_for


@pytest.mark.parametrize("status", [400, 422])
def test_of_a_thousand_points_one_is_refused_and_kept_to_be_replayed_and_the_others_are_stored(
    rig: Rig, status: int
) -> None:
    rig.must_be_exact()
    stored, before = rig.ledger.acked(), rig.process.totals()
    rig.proxy.set(partial(status, "poison"))
    session = f"refused-{status}"
    good = [event("job_scraped", session, f"site-{k}", 1_000 + k, age=60) for k in range(999)]
    poison = event("job_scraped", session, "poison", 77, age=60)
    assert rig.post(request([*good[:617], poison, *good[617:]])).status == 202
    wait_for(lambda: rig.process.totals()["spooled"] == 0, what="the spool is drained", log=rig.process.log)
    now = rig.process.totals()
    assert now["delivered"] - before["delivered"] >= 999
    assert now["dead_lettered"] - before["dead_lettered"] == 1
    assert now["accepted"] == now["delivered"] + now["dead_lettered"]
    stored += counted(good)
    assert difference(stored, rig.in_influx("sessions")) == []
    assert difference(by_site(stored), rig.in_influx("fleet")) == []
    # The records are none of InfluxDB's business.
    assert difference(rig.ledger.acked(), rig.in_records()) == []
    listed = rig.process.command("spool", "dead-letters", "--json")
    letters: list[dict[str, Any]] = json.loads(listed.stdout)
    assert {letter["tier"] for letter in letters} == {"fleet", "sessions"}
    assert all("poison" in letter["line"] and "refused" in letter["reason"] for letter in letters)
    rig.proxy.set(PASS)
    replayed = rig.process.command("spool", "replay", "--all", "--json")
    assert json.loads(replayed.stdout)["stored"] == len(letters), replayed.stderr
    assert rig.process.totals()["dead_lettered"] == before["dead_lettered"] == 0
    rig.must_be_exact()
