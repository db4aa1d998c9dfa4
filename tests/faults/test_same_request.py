"""The same request comes several times: it counts once."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tests.faults.ledger import Writer, event, request
from tests.faults.rig import Rig


def test_the_same_request_three_times_at_once_and_after_a_crash_counts_once(rig: Rig) -> None:
    sent = request(Writer(random.Random()).events(50))
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: rig.post(sent), range(3)))
    assert sorted((a.body["accepted"], a.body["duplicates"]) for a in answers) == [(0, 50), (0, 50), (50, 0)]
    rig.process.kill()
    rig.process.start()
    assert rig.post(sent).body["duplicates"] == 50
    rig.must_be_exact()
    rig.process.stop()
    rig.process.start()
    assert rig.post(sent).body["duplicates"] == 50
    rig.must_be_exact()


def test_the_same_key_with_another_body_is_a_conflict_and_counts_nothing_also_after_a_crash(
    rig: Rig,
) -> None:
    sent = request([event("job_scraped", "s1", "indeed", 5)])
    other = replace(sent, body=request([event("job_scraped", "s1", "indeed", 6)]).body)
    assert rig.post(sent).status == 202
    assert rig.post(other).status == 409
    rig.process.kill()
    rig.process.start()
    assert rig.post(other).status == 409
    rig.ledger.send(sent)
    rig.must_be_exact()


def test_the_same_event_id_in_other_requests_counts_once_also_after_a_crash(rig: Rig) -> None:
    events = [event("job_scraped", "s1", "indeed", k, event_id=f"id-{k}") for k in range(1, 11)]
    assert rig.post(request(events)).body["accepted"] == 10
    fresh = [event("job_scraped", "s1", "indeed", 1_000 * k) for k in (1, 2)]
    again = [replace(request([*events[:5], late]), fresh=1, counts=request([late]).counts) for late in fresh]
    first = rig.post(again[0])
    assert (first.body["accepted"], first.body["duplicates"]) == (1, 5)
    rig.process.kill()
    rig.process.start()
    second = rig.post(again[1])
    assert (second.body["accepted"], second.body["duplicates"]) == (1, 5)
    rig.must_be_exact()
