"""A tenant that sends too many different values, or too much: it is told so, what it may send counts, and nothing else."""

from __future__ import annotations

import http.client
import json
import random
import time
from collections import Counter
from contextlib import closing
from typing import Any

from tests.faults.conftest import Start
from tests.faults.ledger import Counts, Writer, counted, event, request
from tests.faults.rig import PATH, Rig


def test_of_a_hundred_thousand_values_of_a_tag_those_within_the_limit_count_and_the_others_are_named(
    start: Start,
) -> None:
    limit = 1_000
    rig = start({"SCRAPEWATCH_MAX_TAG_VALUES": str(limit)})
    taken: Counts = Counter()
    refused = 0
    for first in range(0, 100_000, 10_000):
        events = [event("job_scraped", "s1", f"site-{k}", k + 1) for k in range(first, first + 10_000)]
        answer = post(rig, events)
        bad = {item["index"] for item in answer["rejected"]}
        assert {item["field"] for item in answer["rejected"]} == {"value.site"}
        assert all(str(limit) in item["reason"] for item in answer["rejected"])
        assert "site-" not in json.dumps(answer["rejected"])
        assert answer["accepted"] == len(events) - len(bad)
        refused += len(bad)
        taken += counted(item for index, item in enumerate(events) if index not in bad)
    assert refused == 100_000 - limit
    assert rig.process.metric('scrapewatch_items_rejected_total{field="site"}') == refused
    # What is known goes on.
    again = [event("job_scraped", "s1", f"site-{k}", 1) for k in range(limit)]
    assert post(rig, again)["accepted"] == limit
    taken += counted(again)
    rig.process.drain()
    assert rig.in_influx("sessions") == taken
    assert rig.in_records() == taken
    assert len(rig.in_influx("fleet")) == limit


def post(rig: Rig, events: list[dict[str, Any]]) -> dict[str, Any]:
    """Send ``events``, some of which may be refused; the receipt."""
    with closing(http.client.HTTPConnection("127.0.0.1", rig.process.port, timeout=60)) as line:
        line.request("POST", PATH, json.dumps(events), {"Content-Type": "application/json"})
        answer = line.getresponse()
        assert answer.status in (202, 422)
        found: dict[str, Any] = json.loads(answer.read())
        return found


def test_ten_times_the_rate_is_answered_with_429_and_what_was_taken_counts_once(start: Start) -> None:
    rate = 500
    rig = start({"SCRAPEWATCH_TENANT_EVENTS_PER_SECOND": str(rate)})
    writer = Writer(random.Random())
    statuses: list[int] = []
    began = time.monotonic()
    while statuses.count(429) < 5:
        # At many times the rate the burst that is allowed, ten seconds' worth, is soon used up.
        answer = rig.post(request(writer.events(1_000)))
        statuses.append(answer.status)
        assert len(statuses) < 200
        if answer.status == 429:
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.body["status"] == 429
            # The rate is one of events: probes are answered.
            assert rig.process.get("/healthz")
    assert set(statuses) == {202, 429}
    taken = rig.ledger.events
    assert rig.process.metric('scrapewatch_requests_refused_total{reason="tenant-rate"}') == statuses.count(
        429
    )
    assert taken == 1_000 * statuses.count(202)
    assert taken <= rate * (10 + time.monotonic() - began) + 1_000
    rig.ledger.forget_open()
    rig.must_be_exact()
