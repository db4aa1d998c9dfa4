"""What happens now: counted from the hub, told over WebSockets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
import websockets
from starlette.testclient import TestClient, WebSocketTestSession

from api.live import protocol, sockets
from api.live.activity import MOST_SESSIONS, SPAN, STEP, Activity
from scrapewatch.time import MINUTE, SECOND, now_ns
from tests.api.stacks import BASE, Served, Stack, event

SYSTEM = "ws://127.0.0.1/api/v1/ws/system"
SESSION = "ws://127.0.0.1/api/v1/ws/sessions/s1"


@pytest.fixture
def running(stack: Stack) -> Iterator[TestClient]:
    """A client of a stack whose checks and live feed run."""
    with TestClient(stack.app, base_url=BASE) as client:
        yield client


def publish(client: TestClient, stack: Stack, events: list[dict[str, Any]], **more: Any) -> None:
    assert client.portal is not None
    client.portal.call(lambda: stack.publish(events, **more))


def until(websocket: WebSocketTestSession, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    for _ in range(200):
        message = json.loads(websocket.receive_text())
        if wanted(message):
            return dict(message)
    raise AssertionError("it never came")


def test_a_session_is_told_as_it_is_and_then_as_it_goes_on(stack: Stack, running: TestClient) -> None:
    stack.store([event("session_started", {"sites": ["indeed"], "search_term": "nurse"})])
    with running.websocket_connect(SESSION) as websocket:
        first = json.loads(websocket.receive_text())
        assert (first["type"], first["snapshot"]["search_term"]) == ("session", "nurse")
        job = event("job_scraped", {"site": "indeed", "count": 3})
        publish(running, stack, [job, event("job_scraped", {"site": "indeed"}, session="another")])
        message = json.loads(websocket.receive_text())
        assert message["type"] == "events" and message["dropped"] == 0
        assert [(e["metric"], e["value"]["count"]) for e in message["events"]] == [("job_scraped", 3)]


def test_a_session_that_is_not_known_yet_may_be_waited_for(stack: Stack, running: TestClient) -> None:
    with running.websocket_connect(SESSION) as websocket:
        assert json.loads(websocket.receive_text())["snapshot"] is None
        publish(running, stack, [event("session_started")])
        assert json.loads(websocket.receive_text())["events"][0]["metric"] == "session_started"


def test_a_session_of_another_tenant_is_not_told(stack: Stack, running: TestClient) -> None:
    with running.websocket_connect(SESSION) as websocket:
        websocket.receive_text()
        publish(running, stack, [event("job_scraped", {"site": "theirs"})], tenant="another")
        publish(running, stack, [event("job_scraped", {"site": "ours"})])
        assert [e["value"]["site"] for e in json.loads(websocket.receive_text())["events"]] == ["ours"]


@pytest.mark.parametrize("path", [SYSTEM, SESSION])
@pytest.mark.parametrize("ping", ["ping", '{"type": "ping"}'])
def test_a_ping_is_answered(running: TestClient, path: str, ping: str) -> None:
    with running.websocket_connect(path) as websocket:
        websocket.receive_text()
        for noise in ("", "{", "[]", '{"type": "pong"}', "x" * 10_000):
            websocket.send_text(noise)
        websocket.send_bytes(b"\xff")
        websocket.send_text(ping)
        assert until(websocket, lambda message: message["type"] == "pong")


def test_the_system_is_told_at_once_and_again(stack: Stack, running: TestClient) -> None:
    stack.store([event("session_started", {"sites": ["indeed"]})])
    with running.websocket_connect(SYSTEM) as websocket:
        first = json.loads(websocket.receive_text())
        assert first["type"] == "system"
        assert [session["session_id"] for session in first["sessions"]] == ["s1"]
        assert first["session_counts"]["running"] == 1 and first["degraded"] == []
        again = until(websocket, lambda message: message["type"] == "system")
        assert again["time"] >= first["time"]


def test_events_are_told_in_short_with_their_counts(stack: Stack, running: TestClient) -> None:
    with running.websocket_connect(SYSTEM) as websocket:
        websocket.receive_text()
        publish(running, stack, [event("job_scraped", {"site": "indeed"}) for _ in range(30)])
        publish(
            running, stack, [event("service_check", {"service": "sql", "up": True, "response_time": 0.1})]
        )
        message = until(websocket, lambda message: message["type"] == "events")
        assert message["counts"] == {"job_scraped": 30}
        assert len(message["recent"]) == 20
        assert message["recent"][0]["site"] == "indeed" and "value" not in message["recent"][0]


def test_what_is_published_shows_in_the_rates_without_a_store(stack: Stack, running: TestClient) -> None:
    at = now_ns() - now_ns() % STEP - 2 * STEP
    with running.websocket_connect(SYSTEM) as websocket:
        websocket.receive_text()
        publish(running, stack, [event("job_scraped", {"site": "indeed", "count": 7}, time=at)])
        message = until(websocket, lambda m: m["type"] == "system" and m["throughput"]["jobs_per_minute"] > 0)
        assert message["throughput"]["jobs_per_minute"] == 7
        assert sum(message["throughput"]["jobs"]["indeed"]) == 7


def test_the_live_page_goes_on_without_the_database(stack: Stack, running: TestClient) -> None:
    with stack.records.engine.begin() as db:
        db.exec_driver_sql("DROP TABLE scrape_sessions")
    with running.websocket_connect(SYSTEM) as websocket:
        message = json.loads(websocket.receive_text())
        assert message["sessions"] is None and message["degraded"] == ["sessions"]
        assert message["overall"]["status"] == "degraded"
        assert message["host"]["memory_percent"] > 0


def test_beyond_the_limit_a_client_is_told_to_come_back(make: Callable[..., Stack]) -> None:
    stack = make(websocket_max_connections=2)
    with TestClient(stack.app, base_url=BASE) as client:
        with client.websocket_connect(SYSTEM) as one, client.websocket_connect(SESSION) as two:
            one.receive_text(), two.receive_text()
            with client.websocket_connect(SYSTEM) as three:
                assert three.receive()["code"] == 1013
        with client.websocket_connect(SYSTEM) as again:
            assert json.loads(again.receive_text())["type"] == "system", "who left makes room"


def test_the_path_without_its_version_is_there_too(running: TestClient) -> None:
    with running.websocket_connect("ws://127.0.0.1/ws/system") as websocket:
        assert json.loads(websocket.receive_text())["type"] == "system"


def test_a_restart_leaves_no_hole_in_the_last_minutes(stack: Stack) -> None:
    now = now_ns()
    at = now - now % STEP - 5 * MINUTE
    stack.store(
        [
            event("job_scraped", {"site": "indeed", "count": 7}, time=at),
            event("page_processed", {"site": "indeed", "status": 200, "duration": 0.5}, time=at),
            event("error_occurred", {"site": "indeed", "type": "timeout", "count": 2}, time=at),
            event("circuit_breaker", {"site": "indeed", "state": "open", "failures": 3}, time=at),
        ]
    )
    with TestClient(stack.app, base_url=BASE) as client, client.websocket_connect(SYSTEM) as websocket:
        message = until(websocket, lambda m: m["type"] == "system" and m["throughput"]["jobs"] != {})
    assert sum(message["throughput"]["jobs"]["indeed"]) == 7
    assert message["errors"]["counts"] == {"timeout": 2}
    assert [(breaker["site"], breaker["state"]) for breaker in message["breakers"]] == [("indeed", "open")]


# --- counting


def messages(*events: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"tenant": "default", **found} for found in events]


def test_an_event_counts_in_the_window_of_its_own_time() -> None:
    now, activity = now_ns(), Activity()
    start = now - now % STEP - 10 * STEP
    activity.see(messages(event("job_scraped", {"site": "a", "count": 2}, time=start + STEP - 1)), now)
    activity.see(messages(event("job_scraped", {"site": "a", "count": 3}, time=start + STEP)), now)
    assert activity.jobs_by_window([start, start + STEP, start + 2 * STEP]) == {"a": [2, 3, 0]}
    assert activity.total(start, start + STEP).jobs == 2


def test_history_is_not_live() -> None:
    now, activity = now_ns(), Activity()
    activity.see(messages(event("job_scraped", {"site": "a"}, time=now - SPAN - SECOND)), now)
    assert activity.total(0, now + STEP).jobs == 0
    assert activity.last_event == now - SPAN - SECOND


def test_an_older_word_of_a_breaker_does_not_undo_a_newer() -> None:
    now, activity = now_ns(), Activity()
    activity.see(messages(event("circuit_breaker", {"site": "a", "state": "open"}, time=now)), now)
    activity.see(messages(event("circuit_breaker", {"site": "a", "state": "closed"}, time=now - SECOND)), now)
    assert activity.breakers["a"].state == "open"


def test_memory_is_bounded_whatever_is_reported() -> None:
    now, activity = now_ns(), Activity()
    for n in range(MOST_SESSIONS + 100):
        found = event(
            "error_occurred", {"site": f"site {n}", "type": f"{100 + n % 900}"}, time=now, session=f"s{n}"
        )
        activity.see(messages(found), now)
    assert len(activity._sessions) == MOST_SESSIONS
    assert len(activity.sites(0, now + STEP)) <= 500
    assert sum(activity.errors(0, now + STEP).values()) == MOST_SESSIONS + 100
    assert len(activity.errors(0, now + STEP)) <= 51
    for step in range(500):
        activity.see(messages(event("job_scraped", {"site": "a"}, time=now + step * STEP)), now + step * STEP)
    assert len(activity._all._windows) < 120


# --- over a real network


def test_a_foreign_origin_is_refused_over_the_network(stack: Stack) -> None:
    async def connect(address: str) -> int:
        try:
            async with websockets.connect(f"ws://{address}/ws/system", origin="https://evil.example"):  # type: ignore[arg-type]
                return 101
        except websockets.InvalidStatus as refused:
            return refused.response.status_code

    with Served(stack.app) as address:
        assert asyncio.run(connect(address)) == 403


def test_a_client_that_never_reads_is_dropped_and_delays_nobody(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "SEND_SECONDS", 0.5)
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.1)
    letters = "x" * 9_000
    with Served(stack.app) as address:
        host, port = address.split(":")
        lazy = socket.socket()
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        lazy.connect((host, int(port)))
        lazy.sendall(
            f"GET /ws/sessions/s1 HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

        async def watch() -> tuple[int, float]:
            received, slowest = 0, 0.0
            async with websockets.connect(f"ws://{address}/ws/sessions/s1", max_size=None) as eager:
                await eager.recv()
                loop = asyncio.get_running_loop()
                while not stack.services.connections.dropped_clients:
                    sent_at = time.monotonic()
                    await loop.run_in_executor(None, tell)
                    message = json.loads(await asyncio.wait_for(eager.recv(), 10))
                    slowest = max(slowest, time.monotonic() - sent_at)
                    received += len(message["events"])
            return received, slowest

        told = 0

        def tell() -> None:
            nonlocal told
            done = threading.Event()

            def on_loop() -> None:
                stack.publish(
                    [event("custom", {"name": "n", "value": 1.0, "unit": "x"}) | {"value": {"text": letters}}]
                )
                done.set()

            stack_loop().call_soon_threadsafe(on_loop)
            assert done.wait(10)
            told += 1

        def stack_loop() -> asyncio.AbstractEventLoop:
            loop = stack.app.state.loop
            assert isinstance(loop, asyncio.AbstractEventLoop)
            return loop

        received, _ = asyncio.run(watch())
        assert received == told, "who reads gets everything, whoever else does not"
        assert stack.services.connections.dropped_clients == 1
        assert stack.services.connections.open == 0
        here, deadline = lazy.getsockname()[1], time.monotonic() + 30
        while any(
            found.raddr and found.raddr.port == here for found in psutil.Process().net_connections("tcp4")
        ):
            assert time.monotonic() < deadline, "the server still holds the connection"
            time.sleep(0.05)
        lazy.close()
