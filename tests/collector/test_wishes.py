"""Wishes on their way back: the answer to a session's events carries what is wished, until the scraper reports that it is so."""

from __future__ import annotations

import time
from typing import Any

from collector.wishes import Wishes
from records.wishes import make
from scrapewatch.wishes import Wish
from tests.collector.conftest import Running
from tests.collector.events import event, request


def said(running: Running, *events: dict[str, Any], **more: Any) -> Any:
    answer = running.post(list(events), **more)
    assert answer.status_code == 202, answer.text
    return answer.json().get("wishes")


def heard(running: Running, events: list[dict[str, Any]], expected: Any) -> None:
    """Wait until the answer to ``events`` carries what is ``expected``: wishes are read once a second."""
    deadline = time.monotonic() + 10
    while (found := said(running, *events)) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_an_answer_carries_the_wish_until_the_scraper_reports_that_it_is_so(running: Running) -> None:
    job = {"session_id": "s1", "metric": "job_scraped", "value": {"site": "indeed"}}
    other = job | {"session_id": "s2"}
    assert said(running, job | {"metric": "session_started", "value": {}}, other) is None
    running.drain()
    engine = running.records.engine
    make(engine, "default", "s1", "pause")
    pause = [{"session_id": "s1", "wish": "pause"}]
    heard(running, [job], pause)
    assert said(running, other, job) == pause, "again with each answer"
    assert said(running, other) is None
    assert running.post([job, {}]).json()["wishes"] == pause
    assert said(running, job, headers={"Idempotency-Key": "k"}) == pause
    assert said(running, job, headers={"Idempotency-Key": "k"}) == pause, (
        "the first answer may have been lost"
    )
    make(engine, "default", "s1", "cancel")
    heard(running, [job], [{"session_id": "s1", "wish": "cancel"}])
    ended = job | {"metric": "session_finished", "value": {"status": "cancelled"}}
    assert said(running, ended) is None
    assert said(running, job) is None, "even before the records know"
    running.drain()
    deadline = time.monotonic() + 10
    while running.records.wishes():
        assert time.monotonic() < deadline
    assert said(running, job) is None


def test_a_wish_that_was_fulfilled_is_not_told_again_while_the_records_lag_and_a_new_one_is() -> None:
    known = [Wish("t", "s1", "pause", 1)]
    wishes = Wishes(lambda: known)
    job = request([event("job_scraped", {"site": "a"})]).events
    paused = request([event("session_paused", {})]).events
    session_id = job[0].session_id
    known[0] = Wish("t", session_id, "pause", 1)
    assert wishes.heed("t", job) == {}
    wishes.refresh()
    assert wishes.heed("t", job) == {session_id: "pause"} and wishes.heed("another", job) == {}
    assert wishes.heed("t", [*job, *paused]) == {}
    wishes.refresh()
    assert wishes.heed("t", job) == {}
    known[0] = Wish("t", session_id, "pause", 2)
    wishes.refresh()
    assert wishes.heed("t", job) == {session_id: "pause"}
    known.clear()
    wishes.refresh()
    assert wishes.heed("t", job) == {}
