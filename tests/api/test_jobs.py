"""Jobs: their progress, pace and end, against what their events say."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.jobs.figures import PACE, progress_of, rest_of
from api.live.activity import STEP, Activity
from records.queries import Session
from scrapewatch.time import HOUR, MINUTE, SECOND, now_ns, to_datetime
from tests.api.stacks import Stack, event

PATH = "/api/v1/monitoring/jobs/active"


def crawl(session: str, minutes: int, *, per_step: int = 3, **opening: Any) -> list[dict[str, Any]]:
    """A session that found so many postings every ten seconds, each on a page that was good, until now."""
    now = now_ns()
    begun = now - minutes * MINUTE
    value = {"sites": ["indeed"], "max_jobs_per_site": 1_000, "source": "scrapy", **opening}
    found = [event("session_started", value, time=begun, session=session)]
    for k in range(minutes * 6):
        at = begun + k * 10 * SECOND + SECOND
        found.append(event("page_processed", {"site": "indeed", "status": 200}, time=at, session=session))
        found.append(
            event("job_scraped", {"site": "indeed", "count": per_step}, time=at + 1, session=session)
        )
    return found


def bring(stack: Stack, events: Sequence[dict[str, Any]]) -> None:
    stack.store(events)
    stack.hear(events)


def jobs(client: TestClient) -> dict[str, dict[str, Any]]:
    return {item["session_id"]: item for item in client.get(PATH).json()["items"]}


def test_a_job_without_progress_events_goes_by_the_most_it_is_to_find(
    stack: Stack, client: TestClient
) -> None:
    events = crawl("s1", 10)
    bring(
        stack,
        [
            *events,
            event("resources", {"memory_mb": 210.0, "cpu_percent": 35.0}),
            event("queue", {"site": "indeed", "depth": 7, "active_scrapers": 2}),
        ],
    )
    job = jobs(client)["s1"]
    found = sum(each["value"]["count"] for each in events if each["metric"] == "job_scraped")
    assert job["status"] == "running" and not job["stalled"]
    assert job["progress"] == {"done": found, "total": 1_000, "share": found / 1_000, "basis": "max_jobs"}
    assert job["jobs_found"] == found and job["pages"] == 60
    assert job["jobs_per_minute"] == pytest.approx(18, abs=3)
    assert job["success_rate"] == 1.0
    assert job["resources"] == {
        "memory_mb": 210.0,
        "cpu_percent": 35.0,
        "active_scrapers": 2,
        "queue_depth": 7,
    }
    # So steady a pace has a narrow interval.
    assert job["eta"]["seconds"] == pytest.approx((1_000 - found) / 18 * 60, rel=0.05)
    assert job["eta"]["low_seconds"] <= job["eta"]["seconds"] <= job["eta"]["high_seconds"]
    assert job["eta"]["high_seconds"] < 1.2 * job["eta"]["seconds"]
    assert datetime.fromisoformat(job["eta"]["at"]) > datetime.now(UTC)


def test_progress_events_say_more_than_postings(stack: Stack, client: TestClient) -> None:
    now = now_ns()
    steps = [
        event("progress", {"site": site, "done": 2 * k, "total": 100}, time=now - (20 - k) * 20 * SECOND)
        for k in range(20)
        for site in ("indeed", "linkedin")
    ]
    bring(stack, [*crawl("s1", 7), *steps])
    job = jobs(client)["s1"]
    assert job["progress"] == {"done": 76, "total": 200, "share": 0.38, "basis": "progress"}
    assert job["eta"]["seconds"] == pytest.approx(124 / 4 * 20, rel=0.1)


def test_each_state_is_shown_as_what_it_is(stack: Stack, client: TestClient) -> None:
    now = now_ns()
    bring(
        stack,
        [
            *crawl("runs", 3),
            event("session_queued", {"sites": ["indeed"]}, session="waits"),
            *crawl("rests", 3),
            event("session_paused", {"reason": "maintenance"}, session="rests"),
            *crawl("fails", 3),
            event("session_finished", {"status": "failed", "reason": "no proxies left"}, session="fails"),
            *crawl("ends", 3),
            event("session_finished", {"status": "completed"}, session="ends"),
            event("session_started", {}, session="failed long ago", time=now - 3 * HOUR),
            event("session_finished", {"status": "failed"}, session="failed long ago", time=now - 2 * HOUR),
        ],
    )
    answer = client.get(PATH).json()
    states = {item["session_id"]: item["status"] for item in answer["items"]}
    assert states == {"runs": "running", "waits": "queued", "rests": "paused", "fails": "error"}
    assert answer["items"][-1]["session_id"] == "fails"
    assert answer["counts"] == {"running": 1, "queued": 1, "paused": 1, "error": 1}
    found = jobs(client)
    assert found["fails"]["reason"] == "no proxies left" and found["fails"]["completed_at"]
    assert found["fails"]["jobs_per_minute"] is None
    assert [name for name, job in found.items() if job["eta"]] == ["runs"]
    assert found["waits"]["progress"] is None and found["waits"]["running_seconds"] is None
    assert found["rests"]["reason"] == "maintenance"


def test_what_is_not_known_is_null(stack: Stack, client: TestClient) -> None:
    stack.store(crawl("unheard", 3, max_jobs_per_site=None))
    job = jobs(client)["unheard"]
    assert job["progress"] is None and job["eta"] is None and job["jobs_per_minute"] is None
    assert job["resources"]["memory_mb"] is None
    bring(stack, crawl("new", 1))
    assert jobs(client)["new"]["eta"] is None, "a minute tells no pace"


def test_the_newest_come_first_up_to_the_limit(stack: Stack, client: TestClient) -> None:
    now = now_ns()
    stack.store([event("session_started", {}, time=now - k * MINUTE, session=f"s{k}") for k in range(5)])
    answer = client.get(PATH, params={"limit": 2}).json()
    assert [item["session_id"] for item in answer["items"]] == ["s0", "s1"]
    assert answer["counts"]["running"] == 5
    assert client.get(PATH, params={"limit": 0}).status_code == 422


def test_a_site_that_brings_too_much_makes_up_for_no_other() -> None:
    session = session_of(sites=["a", "b"], max_jobs_per_site=100)
    progress = progress_of(session, None, {"a": 250, "b": 10})
    assert progress is not None and (progress.done, progress.total, progress.share) == (110, 200, 0.55)
    assert progress_of(session_of(sites=[], max_jobs_per_site=100), None, {}) is None


def session_of(**changes: Any) -> Session:
    begun = to_datetime(now_ns() - 20 * MINUTE)
    empty: dict[str, Any] = dict.fromkeys(Session.__dataclass_fields__)
    return Session(**{**empty, "status": "running", "begun_at": begun, "started_at": begun, **changes})


@pytest.mark.parametrize("seed", range(3))
def test_the_rest_is_what_the_pace_of_the_events_says(seed: int) -> None:
    """Against the plain mean over the time that is looked at, for a pace as uneven as scrapers have it."""
    chance = random.Random(seed)
    now = now_ns() // STEP * STEP
    events = [
        event(
            "job_scraped",
            {"site": "indeed", "count": chance.choice((0, 1, 5, 20))},
            time=now - k * 7 * SECOND,
        )
        for k in range(1, 200)
    ]
    activity = Activity()
    activity.see([{"tenant": "default", **each} for each in events], now)
    session = session_of(sites=["indeed"], max_jobs_per_site=10_000)
    found = progress_of(session, activity.session("s1"), {"indeed": 400})
    rest = rest_of(session, found, activity.session("s1"), now)
    assert rest is not None
    inside = [each for each in events if each["time"] >= now - 15 * MINUTE + STEP]
    rate = sum(each["value"]["count"] for each in inside) / (15 * 60)
    assert rest.seconds == pytest.approx(9_600 / rate, rel=0.1)
    assert rest.low < rest.seconds < rest.high


def test_a_counter_that_was_set_back_ends_no_pace() -> None:
    now = now_ns()
    done = [*range(0, 60, 5), *range(0, 60, 5)]
    activity = Activity()
    activity.see(
        [
            {"tenant": "default", **event("progress", {"done": d, "total": 100}, time=now - (24 - k) * PACE)}
            for k, d in enumerate(done)
        ],
        now,
    )
    session = session_of(sites=["indeed"])
    rest = rest_of(session, progress_of(session, activity.session("s1"), {}), activity.session("s1"), now)
    assert rest is not None
    assert rest.seconds == pytest.approx(45 / 5 * 30, rel=0.15)


def test_a_job_that_stalled_has_no_end() -> None:
    session = session_of(sites=["a"], max_jobs_per_site=10, stalled_at=to_datetime(now_ns()))
    assert rest_of(session, progress_of(session, None, {"a": 1}), None, now_ns()) is None


def test_without_its_database_the_answer_is_a_problem(stack: Stack, client: TestClient) -> None:
    with stack.records.engine.begin() as db:
        db.exec_driver_sql("DROP TABLE scrape_sessions")
    assert client.get(PATH).status_code == 503


def test_after_a_restart_the_pace_is_taken_from_the_stores(stack: Stack, client: TestClient) -> None:
    now = now_ns()
    stack.store(
        [
            *crawl("runs", 10),
            event("queue", {"site": "indeed", "depth": 7, "active_scrapers": 2}, session="runs"),
            *crawl("steps", 10),
            *(
                event(
                    "progress", {"done": k, "total": 40}, time=now - (20 - k) * 30 * SECOND, session="steps"
                )
                for k in range(20)
            ),
            event("queue", {"site": "indeed", "active_scrapers": 5}, session="ended"),
            event("session_finished", {"status": "completed"}, session="ended"),
            event("proxy", {"provider": "acme", "requests": 9, "failures": 9}, session="runs"),
        ]
    )
    asyncio.run(stack.services.feed._seed_sessions("default", now))
    found = jobs(client)
    assert found["runs"]["jobs_per_minute"] == pytest.approx(18, abs=10)
    assert found["runs"]["eta"]["seconds"] == pytest.approx((1_000 - 180) / 18 * 60, rel=0.1)
    assert found["runs"]["resources"]["queue_depth"] == 7
    assert found["steps"]["progress"]["done"] == 19 and found["steps"]["progress"]["basis"] == "progress"
    assert found["steps"]["eta"]["seconds"] == pytest.approx(21 * 30, rel=0.1)
    activity = stack.services.feed.activity("default")
    assert activity.active_scrapers(now - MINUTE) == 2, "who ended scrapes no more"
    assert activity.proxies(now - MINUTE, now + MINUTE)["acme"].failures == 9
