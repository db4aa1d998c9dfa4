"""The Node twin reports what it says it reported, as plain `fetch` does."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from scrapewatch.events import Event
from stack.demo.loopback import serve
from stack.demo.site import serve_site
from tests.stack.demo.receiver import Receiver

SCRIPT = Path(__file__).parents[3] / "examples" / "orchestrator.mjs"


@pytest.fixture(scope="module")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("no Node here: install Node 20 or later to test examples/orchestrator.mjs")
    return found


def crawl(node: str, receiver: Receiver, *options: str) -> dict[str, Any]:
    """The sessions of the summary that the twin prints after crawling a site of its own."""

    async def run() -> dict[str, Any]:
        async with serve(receiver) as report_url, serve_site(5, pace=0.03) as site_url:
            process = await asyncio.create_subprocess_exec(
                node,
                str(SCRIPT),
                *("--site-url", site_url, "--report-url", report_url),
                *("--seconds", "1.5", "--seed", "0", "--pace", "0.03", *options),
                stdout=asyncio.subprocess.PIPE,
            )
            output, _ = await process.communicate()
            assert process.returncode == 0
            sessions: dict[str, Any] = json.loads(output)["sessions"]
            return sessions

    return asyncio.run(run())


def received(receiver: Receiver) -> dict[str, dict[str, int]]:
    figures: dict[str, Counter[str]] = {}
    for event in receiver.events:
        sums = figures.setdefault(event["session_id"], Counter())
        sums["events"] += 1
        sums[event["metric"]] += event["value"].get("count", 1)
    names = {"jobs": "job_scraped", "pages": "page_processed", "errors": "error_occurred", "events": "events"}
    return {
        session: {name: sums[metric] for name, metric in names.items()} for session, sums in figures.items()
    }


@pytest.fixture(scope="module")
def whole(node: str) -> tuple[dict[str, Any], Receiver]:
    receiver = Receiver()
    return crawl(node, receiver), receiver


def test_the_summary_is_the_sum_of_the_received_events(whole: tuple[dict[str, Any], Receiver]) -> None:
    summary, receiver = whole
    assert summary == received(receiver)
    assert sum(sums["jobs"] for sums in summary.values()) > 0


def test_it_sends_the_historic_body_as_plain_fetch_does(whole: tuple[dict[str, Any], Receiver]) -> None:
    _, receiver = whole
    for delivery in receiver.deliveries:
        assert delivery.path == "/api/v1/monitoring/metrics"
        assert delivery.content_type == "text/plain;charset=UTF-8"
        assert (delivery.key, delivery.authorization) == (None, None)
        assert json.loads(delivery.body).keys() == {"session_id", "metric", "value", "timestamp"}


def test_scrapewatch_accepts_every_event(whole: tuple[dict[str, Any], Receiver]) -> None:
    _, receiver = whole
    adapter: TypeAdapter[Any] = TypeAdapter(Event)
    for event in receiver.events:
        read = adapter.validate_python(event)
        # A key that is not known is passed over in silence: none may be lost that way.
        assert event["value"].keys() <= read.value.model_fields_set, event


def test_its_sessions_start_and_finish_with_what_they_reported(
    whole: tuple[dict[str, Any], Receiver],
) -> None:
    summary, receiver = whole
    for session, sums in summary.items():
        (opening,) = receiver.of("session_started", session)
        assert opening["source"] == "node"
        (ending,) = receiver.of("session_finished", session)
        assert {name: ending[name] for name in ("jobs", "pages", "errors")} == {
            name: sums[name] for name in ("jobs", "pages", "errors")
        }
        started, finished = receiver.of("site_started", session), receiver.of("site_finished", session)
        assert {value["site"] for value in started} == {value["site"] for value in finished}


def test_it_repeats_what_was_not_taken(node: str) -> None:
    receiver = Receiver(["busy", "limited", "busy"])
    assert crawl(node, receiver, "--sites", "indeed") == received(receiver)
    assert len(receiver.deliveries) == len(receiver.events) + 3


def test_without_a_site_it_says_how_it_is_used(node: str) -> None:
    async def run() -> tuple[int | None, bytes]:
        process = await asyncio.create_subprocess_exec(node, str(SCRIPT), stderr=asyncio.subprocess.PIPE)
        _, message = await process.communicate()
        return process.returncode, message

    code, message = asyncio.run(run())
    assert code == 2
    assert b"usage" in message
