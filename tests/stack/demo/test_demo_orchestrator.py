"""What the orchestrator says it reported is what arrives, exactly, whatever happens on the way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from pydantic import TypeAdapter

from scrapewatch.events import Event
from stack.demo.breaker import CircuitBreaker
from stack.demo.crawl import Search, Totals
from stack.demo.loopback import serve
from stack.demo.orchestrator import DEFAULT_SEARCHES, Orchestrator, run_orchestrator
from stack.demo.reporter import Reporter
from stack.demo.site import DEFAULT_SITES, serve_site
from tests.stack.demo.receiver import Receiver, Trouble

PACE = 0.03
SMALL = (Search("data engineer", "Berlin"), Search("nurse", "London", sites=("indeed",)))

Figures = dict[str, tuple[int, int, int, int]]


def received(receiver: Receiver) -> Figures:
    """By session: postings, pages, errors and events, summed over what arrived."""
    figures: dict[str, Counter[str]] = {}
    for event in receiver.events:
        sums = figures.setdefault(event["session_id"], Counter())
        sums["events"] += 1
        sums[event["metric"]] += event["value"].get("count", 1)
    return {
        session: (sums["job_scraped"], sums["page_processed"], sums["error_occurred"], sums["events"])
        for session, sums in figures.items()
    }


def reported(totals: dict[str, Totals]) -> Figures:
    return {session: (sums.jobs, sums.pages, sums.errors, sums.events) for session, sums in totals.items()}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def crawl(receiver: Receiver, **options: Any) -> Orchestrator:
    """Crawls a site of its own and reports to `receiver`, from first to last."""

    async def run() -> Orchestrator:
        async with serve(receiver) as report_url, serve_site(5, pace=PACE) as site_url:
            orchestrator = Orchestrator(site_url, report_url, seed=5, pace=PACE, **options)
            async with asyncio.timeout(60):
                await orchestrator.run()
            return orchestrator

    return asyncio.run(run())


@pytest.fixture(scope="module")
def whole() -> tuple[Orchestrator, Receiver]:
    """The first sessions of the demo, with nothing in the way."""
    receiver = Receiver()
    return crawl(receiver, sessions=6), receiver


Whole = tuple[Orchestrator, Receiver]


def test_the_totals_are_the_sums_of_the_received_events(whole: Whole) -> None:
    orchestrator, receiver = whole
    assert reported(orchestrator.totals) == received(receiver)
    assert len(orchestrator.totals) == 6
    assert (orchestrator.undelivered, orchestrator.rejected) == (0, 0)


def test_sessions_and_sites_finish_with_what_they_reported(whole: Whole) -> None:
    orchestrator, receiver = whole
    for session_id, totals in orchestrator.totals.items():
        (ending,) = receiver.of("session_finished", session_id)
        sites = receiver.of("site_finished", session_id)
        for name in ("jobs", "pages", "errors"):
            assert ending[name] == getattr(totals, name) == sum(site[name] for site in sites)
        assert ending["duration"] >= max(site["duration"] for site in sites) > 0
        for metric, name in (
            ("job_scraped", "jobs"),
            ("page_processed", "pages"),
            ("error_occurred", "errors"),
        ):
            by_attempt = Counter(
                (value["site"], value["attempt"]) for value in receiver.of(metric, session_id)
            )
            assert all(by_attempt[site["site"], site["attempt"]] == site[name] for site in sites)


def test_a_session_is_queued_then_started_then_finished_and_its_last_queue_is_empty(whole: Whole) -> None:
    _, receiver = whole
    for session_id in {event["session_id"] for event in receiver.events}:
        events = [event for event in receiver.events if event["session_id"] == session_id]
        metrics = [event["metric"] for event in events]
        assert metrics[:2] == ["session_queued", "session_started"]
        assert metrics[-1] == "session_finished"
        assert events[0]["value"] == events[1]["value"]
        assert metrics.count("site_started") == metrics.count("site_finished")
        stamps = [datetime.fromisoformat(event["timestamp"]) for event in events]
        assert stamps == sorted(stamps)
        last = {value["site"]: value for value in receiver.of("queue", session_id)}
        assert all(v["depth"] == v["pending"] == v["active_scrapers"] == 0 for v in last.values())


def test_sessions_overlap(whole: Whole) -> None:
    _, receiver = whole
    running, most = 0, 0
    for event in receiver.events:
        running += (event["metric"] == "session_started") - (event["metric"] == "session_finished")
        most = max(most, running)
    assert most == 2


def session_of(receiver: Receiver, term: str) -> str:
    return next(
        str(event["session_id"])
        for event in receiver.events
        if event["metric"] == "session_started" and event["value"]["search_term"] == term
    )


def test_some_sessions_end_empty_blocked_or_truncated(whole: Whole) -> None:
    orchestrator, receiver = whole

    empty = session_of(receiver, "lighthouse keeper")
    assert orchestrator.totals[empty].jobs == 0
    assert receiver.of("session_finished", empty)[0]["status"] == "completed"

    blocked = session_of(receiver, "penetration tester")
    assert receiver.of("session_finished", blocked)[0]["status"] == "failed"
    assert all(page["blocked"] for page in receiver.of("page_processed", blocked))
    assert {site["attempt"] for site in receiver.of("site_finished", blocked)} == {1, 2}

    truncated = session_of(receiver, "engineer")
    progress = [value for value in receiver.of("progress", truncated) if value["site"] == "linkedin"][-1]
    assert 0 < progress["done"] <= 40
    assert progress["total"] == 80


def test_postings_divide_into_saved_duplicate_and_invalid(whole: Whole) -> None:
    orchestrator, receiver = whole
    jobs = receiver.of("job_scraped")
    for job in jobs:
        assert job["count"] == job.get("saved", 0) + job.get("duplicate", 0) + job.get("invalid", 0)
        assert ("job" in job) == ("saved" in job)
    quality = receiver.of("data_quality")
    invalid = sum(job.get("invalid", 0) for job in jobs)
    duplicates = sum(job.get("duplicate", 0) for job in jobs)
    assert sum(value["items"] for value in quality) == len(jobs)
    assert sum(value["valid"] for value in quality) == len(jobs) - invalid
    assert sum(value["duplicates"] for value in quality) == duplicates > 0
    totals = orchestrator.totals.values()
    assert sum(sums.saved for sums in totals) == len(jobs) - invalid - duplicates
    assert sum(sums.duplicates for sums in totals) == duplicates


def test_proxies_and_their_cost_account_for_every_request(whole: Whole) -> None:
    _, receiver = whole
    used = receiver.of("proxy")
    silent = sum(error["type"] in ("timeout", "network") for error in receiver.of("error_occurred"))
    assert sum(value["requests"] for value in used) == len(receiver.of("page_processed")) + silent
    assert sum(value["bytes"] for value in used) == sum(
        page["bytes"] for page in receiver.of("page_processed")
    )
    paid = sum(value["amount"] for value in receiver.of("cost") if value["kind"] == "proxy")
    assert paid == pytest.approx(sum(value["cost"] for value in used))


Kinds = dict[str, Callable[[Any], bool]]


# The table of events, in words of its own: (required, optional) fields and what they hold.
def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _count(value: Any) -> bool:
    return _number(value) and isinstance(value, int)


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _time(value: Any) -> bool:
    return _text(value) and datetime.fromisoformat(value).utcoffset() is not None


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _shares(value: Any) -> bool:
    return isinstance(value, dict) and all(_text(name) and 0 <= share <= 1 for name, share in value.items())


def _one_of(*values: str) -> Callable[[Any], bool]:
    return lambda value: value in values


def _posting(value: Any) -> bool:
    texts = ("title", "company", "location", "salary", "url", "job_type", "description", "posted_at")
    kinds: Kinds = dict.fromkeys(texts, _text)
    kinds |= {"skills": _texts, "is_remote": _flag}
    kinds |= {"salary_min": _number, "salary_max": _number, "salary_currency": _text}
    kinds |= {"salary_interval": _one_of("year", "month", "day", "hour")}
    return {"title", "url"} <= value.keys() <= kinds.keys() and all(
        kinds[name](value[name]) for name in value
    )


PLAN: Kinds = {
    "search_term": _text,
    "location": _text,
    "sites": _texts,
    "max_jobs_per_site": _count,
    "max_concurrency": _count,
    "source": _text,
}
SITE: Kinds = {"site": _text}
ATTEMPT: Kinds = SITE | {"attempt": _count}
COUNTED: Kinds = {"jobs": _count, "pages": _count, "errors": _count, "duration": _number}
SHAPES: dict[str, tuple[Kinds, Kinds]] = {
    "session_queued": (PLAN, {}),
    "session_started": (PLAN, {}),
    "session_finished": (
        {"status": _one_of("completed", "failed", "cancelled")},
        COUNTED | {"reason": _text},
    ),
    "site_started": (ATTEMPT, {}),
    "site_finished": (ATTEMPT | COUNTED | {"success": _flag}, {"error_message": _text}),
    "job_scraped": (
        ATTEMPT | {"count": _count},
        {"saved": _count, "duplicate": _count, "invalid": _count, "job": _posting},
    ),
    "page_processed": (
        ATTEMPT | {"duration": _number, "status": _count, "bytes": _count, "blocked": _flag},
        {},
    ),
    "error_occurred": (
        ATTEMPT
        | {"type": _one_of("403", "429", "timeout", "parsing", "captcha", "network", "proxy", "other")}
        | {"message": _text, "url": _text},
        {},
    ),
    "circuit_breaker": (
        SITE | {"state": _one_of("closed", "open", "half_open"), "failures": _count, "successes": _count},
        {"last_failure_time": _time},
    ),
    "queue": (SITE | {"depth": _count, "pending": _count, "active_scrapers": _count}, {}),
    "resources": ({"memory_mb": _number, "cpu_percent": _number}, {}),
    "proxy": (
        {"provider": _text, "proxy": _text, "requests": _count, "failures": _count, "bans": _count}
        | {"latency": _number, "bytes": _count, "cost": _number},
        {},
    ),
    "data_quality": (
        SITE | {"items": _count, "valid": _count, "duplicates": _count, "field_coverage": _shares},
        {},
    ),
    "cost": (
        SITE | {"amount": _number, "currency": _text, "kind": _one_of("proxy", "compute", "captcha", "api")},
        {},
    ),
    "progress": (SITE | {"done": _count, "total": _count}, {}),
}


def test_every_event_has_the_shape_that_the_table_of_events_says(whole: Whole) -> None:
    _, receiver = whole
    for event in receiver.events:
        assert event.keys() == {"session_id", "metric", "value", "timestamp"}
        assert _time(event["timestamp"])
        required, optional = SHAPES[event["metric"]]
        value = event["value"]
        assert required.keys() <= value.keys() <= required.keys() | optional.keys(), event
        wrong = [name for name in value if not (required | optional)[name](value[name])]
        assert not wrong, event


def test_scrapewatch_accepts_every_event(whole: Whole) -> None:
    _, receiver = whole
    adapter: TypeAdapter[Any] = TypeAdapter(Event)
    for event in receiver.events:
        read = adapter.validate_python(event)
        # A key that is not known is passed over in silence: none may be lost that way.
        assert event["value"].keys() <= read.value.model_fields_set, event


def test_batches_go_to_the_one_route_under_keys_of_their_own(whole: Whole) -> None:
    _, receiver = whole
    assert {delivery.path for delivery in receiver.deliveries} == {"/api/v1/monitoring/metrics"}
    assert {delivery.content_type for delivery in receiver.deliveries} == {"application/json"}
    assert {delivery.authorization for delivery in receiver.deliveries} == {None}
    keys = [delivery.key for delivery in receiver.deliveries]
    assert len(set(keys)) == len(keys)
    assert all(1 <= len(json.loads(delivery.body)) <= 100 for delivery in receiver.deliveries)


def test_breakers_open_half_open_and_close_when_a_site_refuses_and_answers_again() -> None:
    receiver = Receiver()
    search = Search("", sites=("linkedin",))
    crawl(receiver, sessions=5, concurrency=1, search_terms=(search,))
    states = ["closed", *(value["state"] for value in receiver.of("circuit_breaker"))]
    allowed = {("closed", "open"), ("open", "half_open"), ("half_open", "open"), ("half_open", "closed")}
    assert set(pairwise(states)) <= allowed
    assert {"open", "half_open", "closed"} <= set(states[1:])
    assert {page["blocked"] for page in receiver.of("page_processed")} == {False, True}


def test_nothing_is_lost_or_sent_under_another_key_when_the_way_is_bad() -> None:
    troubles: list[Trouble] = ["busy", "cut", "lost", "limited", "lost", "cut"]
    receiver = Receiver(troubles)
    orchestrator = crawl(receiver, sessions=2, search_terms=SMALL)

    assert received(receiver) == reported(orchestrator.totals)
    assert receiver.conflicts == 0
    attempts = Counter(delivery.key for delivery in receiver.deliveries)
    assert sum(attempts.values()) == len(attempts) + len(troubles)
    assert len({(delivery.key, delivery.body) for delivery in receiver.deliveries}) == len(attempts)


def test_events_wait_for_a_collector_that_comes_late() -> None:
    async def run() -> tuple[Figures, Figures]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        receiver = Receiver()
        async with serve_site(5, pace=PACE) as site_url:
            orchestrator = Orchestrator(
                site_url, f"http://127.0.0.1:{port}", seed=5, pace=PACE, sessions=1, search_terms=SMALL
            )
            running = asyncio.create_task(orchestrator.run())
            await until(lambda: orchestrator.undelivered >= 50)
            async with serve(receiver, port=port):
                await running
        return received(receiver), reported(orchestrator.totals)

    arrived, said = asyncio.run(run())
    assert arrived == said


def test_stopped_it_reports_what_was_running_and_waiting_as_cancelled() -> None:
    async def run() -> tuple[Receiver, dict[str, Totals]]:
        receiver, stop = Receiver(), asyncio.Event()
        async with serve(receiver) as report_url, serve_site(5, pace=PACE) as site_url:
            running = asyncio.create_task(
                run_orchestrator(site_url, report_url, seed=5, stop=stop, concurrency=1, pace=PACE)
            )
            await until(lambda: len(receiver.of("job_scraped")) > 0)
            stop.set()
            return receiver, await running

    receiver, totals = asyncio.run(run())
    assert received(receiver) == reported(totals)
    endings = {session: receiver.of("session_finished", session) for session in totals}
    assert all(len(ending) == 1 for ending in endings.values())
    last = [ending[0] for ending in endings.values()][-2:]
    assert [(value["status"], value["reason"]) for value in last] == [("cancelled", "never started")] * 2
    assert "the orchestrator was stopped" in {ending[0].get("reason") for ending in endings.values()}
    started, finished = receiver.of("site_started"), receiver.of("site_finished")
    assert Counter(value["site"] for value in started) == Counter(value["site"] for value in finished)


def test_it_runs_for_as_long_as_it_is_told_to() -> None:
    async def run() -> tuple[Receiver, dict[str, Totals]]:
        receiver = Receiver()
        async with serve(receiver) as report_url, serve_site(5, pace=PACE) as site_url:
            totals = await run_orchestrator(
                site_url, report_url, seed=5, duration=0.5, pace=PACE, api_key="k1"
            )
        return receiver, totals

    receiver, totals = asyncio.run(run())
    assert received(receiver) == reported(totals)
    assert {delivery.authorization for delivery in receiver.deliveries} == {"Bearer k1"}


def test_the_default_searches_name_sites_of_the_default_site() -> None:
    assert {site for search in DEFAULT_SEARCHES for site in search.sites} <= set(DEFAULT_SITES)


@contextlib.asynccontextmanager
async def reporting(receiver: Receiver, **options: Any) -> AsyncIterator[Reporter]:
    async with serve(receiver) as url, Reporter(url, every=0.01, backoff=0.01, **options) as reporter:
        yield reporter


def test_what_is_refused_for_good_is_counted_and_the_next_batch_is_sent() -> None:
    async def run(receiver: Receiver) -> Reporter:
        async with reporting(receiver, batch_size=2) as reporter:
            for number in range(6):
                reporter.emit("s1", "custom", {"name": "n", "value": number})
        return reporter

    receiver = Receiver(["refused", "first item rejected"])
    reporter = asyncio.run(run(receiver))
    assert [value["value"] for value in receiver.of("custom")] == [3, 4, 5]
    assert (reporter.accepted, reporter.rejected, reporter.waiting) == (3, 3, 0)


def test_a_full_batch_does_not_wait_for_the_interval() -> None:
    async def run() -> None:
        receiver = Receiver()
        async with serve(receiver) as url, Reporter(url, every=3600.0, batch_size=3) as reporter:
            for number in range(4):
                reporter.emit("s1", "custom", {"name": "n", "value": number})
            await until(lambda: len(receiver.events) > 0)
            assert len(receiver.events) == 3
        assert len(receiver.events) == 4

    asyncio.run(run())


def test_whoever_makes_events_faster_than_they_can_be_sent_is_held_up() -> None:
    async def run() -> None:
        receiver = Receiver(["busy"] * 5)
        async with reporting(receiver, backlog=10) as reporter:
            await reporter.room()
            for number in range(10):
                reporter.emit("s1", "custom", {"name": "n", "value": number})
            held_up = asyncio.create_task(reporter.room())
            await asyncio.sleep(0)
            assert not held_up.done()
            await held_up
            assert len(reporter._events) < 10
        assert len(receiver.events) == 10

    asyncio.run(run())


def test_what_could_not_be_delivered_in_the_end_is_said() -> None:
    async def run() -> Reporter:
        with socket.create_server(("127.0.0.1", 0)) as free:
            nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
        async with Reporter(nobody, every=0.01, backoff=0.01, patience=0.2) as reporter:
            reporter.emit("s1", "custom", {"name": "n", "value": 1})
        return reporter

    reporter = asyncio.run(run())
    assert (reporter.accepted, reporter.waiting) == (0, 1)


def test_a_breaker_opens_after_failures_in_a_row_and_closes_after_successes_in_a_row() -> None:
    async def run() -> None:
        now = 0.0
        breaker = CircuitBreaker(threshold=3, cool_down=10.0, closes_after=2, clock=lambda: now)

        async def request(success: bool | None) -> tuple[bool, bool]:
            return await breaker.admit(), breaker.settle(success)

        for outcome in (False, False, True, False, False):
            assert await request(outcome) == (False, False)
        assert await request(False) == (False, True)
        assert (breaker.state, breaker.failures, breaker.openings) == ("open", 3, 1)

        now = 10.0
        assert await request(False) == (True, True)
        assert (breaker.state, breaker.openings) == ("open", 2)

        now = 20.0
        assert await request(True) == (True, False)
        assert await request(None) == (False, False)
        assert await request(True) == (False, True)
        assert (breaker.state, breaker.failures) == ("closed", 0)

    asyncio.run(run())


def test_a_half_open_breaker_lets_one_request_at_a_time_pass() -> None:
    async def run() -> None:
        breaker = CircuitBreaker(threshold=1, cool_down=0.02, closes_after=2)
        await breaker.admit()
        breaker.settle(False)
        assert await breaker.admit()
        waiting = [asyncio.create_task(breaker.admit()) for _ in range(2)]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in waiting)
        breaker.settle(True)
        done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert (len(done), len(pending)) == (1, 1)
        assert breaker.settle(True)
        assert await pending.pop() is False

    asyncio.run(run())
