"""The orchestrators against the whole product: what they counted is what it shows."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import websockets

from stack.demo.orchestrator import run_orchestrator
from stack.demo.site import serve_site
from tests.stack.conftest import Stores
from tests.stack.running import Up

SCRIPT = Path(__file__).parents[2] / "examples" / "orchestrator.mjs"
PACE = 0.05


def compare(up: Up, totals: Mapping[str, Mapping[str, int]]) -> None:
    """Every session of ``totals`` shows exactly so in the API, and no other session does."""
    up.drain()
    shown = {session["session_id"]: session for session in up.sessions()}
    assert shown.keys() == totals.keys()
    for session_id, counted in totals.items():
        session = shown[session_id]
        assert session["total_jobs_found"] == counted["jobs"]
        assert session["total_pages"] == counted["pages"]
        assert session["errors_count"] == counted["errors"]
        assert session["events"] == counted["events"]


def test_the_orchestrator_and_the_product_agree_on_every_session(stores: Stores) -> None:
    async def crawl(up: Up) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        heard: list[dict[str, Any]] = []

        async def listen() -> None:
            async with websockets.connect(f"ws://127.0.0.1:{up.port}/ws/system") as socket:
                async for text in socket:
                    heard.append(json.loads(text))  # noqa: PERF401 - what was heard stays when it is cancelled

        listening = asyncio.create_task(listen())
        async with serve_site(3, pace=PACE) as site_url:
            totals = await run_orchestrator(site_url, up.url, seed=3, duration=6, pace=PACE)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        return {session: vars(sums) for session, sums in totals.items()}, heard

    with Up(stores.folder, stores.environment) as up:
        totals, heard = asyncio.run(crawl(up))
        assert sum(counted["jobs"] for counted in totals.values()) > 0
        compare(up, totals)
        verdicts = {session["verdict"] for session in up.sessions()}
        assert "empty" in verdicts
        assert any(message["type"] == "events" for message in heard)
        assert any(message["type"] == "system" and message["sessions"] for message in heard)


def test_the_node_twin_and_the_product_agree_on_every_session(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node here: install Node 20 or later to test examples/orchestrator.mjs")

    async def crawl(up: Up) -> dict[str, Any]:
        async with serve_site(5, pace=PACE) as site_url:
            process = await asyncio.create_subprocess_exec(
                node,
                str(SCRIPT),
                *("--site-url", site_url, "--report-url", up.url),
                *("--seconds", "4", "--seed", "0", "--pace", str(PACE)),
                stdout=asyncio.subprocess.PIPE,
            )
            output, _ = await process.communicate()
            assert process.returncode == 0
            sessions: dict[str, Any] = json.loads(output)["sessions"]
            return sessions

    with Up(tmp_path) as up:
        totals = asyncio.run(crawl(up))
        assert sum(counted["jobs"] for counted in totals.values()) > 0
        compare(up, totals)
