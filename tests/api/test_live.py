"""What happens now: counted from the hub, told over WebSockets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psutil
import pytest
import websockets
from starlette.testclient import TestClient, WebSocketTestSession

from api.live import protocol, sockets
from api.live.activity import MOST_SESSIONS, SPAN, STEP, Activity
from scrapewatch.time import MINUTE, SECOND, now_ns
from tests.api.stacks import BASE, Served, Stack, event
from tests.loopback import wait_for

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
        # Down where the checks have found out by then what the message could not read.
        assert message["overall"]["status"] in ("degraded", "down")
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


def test_a_restart_leaves_no_hole_for_other_tenants_either_and_nothing_counts_twice(stack: Stack) -> None:
    now = now_ns()
    before = event("job_scraped", {"site": "indeed", "count": 7}, time=now - now % STEP - 5 * MINUTE)
    steps = event("progress", {"done": 3, "total": 10}, time=now - 5 * MINUTE)
    stack.store([before, steps], tenant="acme")
    with TestClient(stack.app, base_url=BASE) as client:
        feed = stack.services.feed
        wait_for(feed.seeded.is_set, what="it listens")
        heard = [
            event("job_scraped", {"site": "indeed", "count": 5}),
            event("progress", {"done": 4, "total": 10}),
        ]
        publish(client, stack, heard, tenant="acme")
        wait_for(lambda: "acme" in feed.activities, what="it was heard")
        stack.store(heard, tenant="acme")
        assert client.portal is not None
        assert client.portal.call(feed.activity, "acme").total(0, 2**63).jobs == 5, "nobody had asked"
        wait_for(lambda: feed.activity("acme").total(0, 2**63).jobs == 12, what="what was before is there")
        session = feed.activity("acme").session("s1")
        assert session is not None and session.progress == {"": (4, 10)}


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


def on_loop(stack: Stack, call: Callable[[], None]) -> None:
    """Run ``call`` on the loop of a served stack, and wait until it ran."""
    done = threading.Event()

    def run() -> None:
        call()
        done.set()

    loop: asyncio.AbstractEventLoop = stack.app.state.loop
    loop.call_soon_threadsafe(run)
    assert done.wait(10)


def figure(n: int, text: str) -> dict[str, Any]:
    return event("custom", {"name": "n", "value": 1.0}) | {"value": {"n": n, "text": text}}


def closed_by_server(here: int) -> bool:
    """Whether the server in this process let go of the connection from the port ``here``."""
    connections = psutil.Process().net_connections("tcp4")
    return not any(found.raddr and found.raddr.port == here for found in connections)


def handshake(address: str) -> socket.socket:
    """A WebSocket whose client reads nothing, and takes little into its buffer."""
    host, port = address.split(":")
    lazy = socket.socket()
    lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    lazy.connect((host, int(port)))
    lazy.sendall(
        f"GET /ws/sessions/s1 HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    return lazy


def test_events_of_any_length_arrive_whole(stack: Stack) -> None:
    lengths = [0, 1, *range(20, 140), 65_400, 65_500, 65_536, 200_000]

    async def listen(address: str) -> list[int]:
        async with websockets.connect(f"ws://{address}/ws/sessions/s1", max_size=None) as client:
            await client.recv()
            found = []
            for n, length in enumerate(lengths):
                await asyncio.to_thread(on_loop, stack, partial(stack.publish, [figure(n, "ü" * length)]))
                (told,) = json.loads(await asyncio.wait_for(client.recv(), 10))["events"]
                assert told["value"]["n"] == n
                found.append(told["value"]["text"].count("ü"))
            return found

    with Served(stack.app) as address:
        assert asyncio.run(listen(address)) == lengths


def test_who_lags_is_told_how_many_it_lost_and_the_others_lose_none(stack: Stack) -> None:
    published = 20_000
    text = "x" * 1_000

    progress = {"eager": 0, "lagging": 0}

    async def total(client: Any, name: str) -> tuple[int, int]:
        seen = lost = 0
        while seen + lost < published:
            message = json.loads(await asyncio.wait_for(client.recv(), 20))
            numbers = [told["value"]["n"] for told in message["events"]]
            assert numbers == sorted(numbers)
            seen, lost = seen + len(numbers), lost + message["dropped"]
            progress[name] = seen
        return seen, lost

    async def listen(address: str) -> None:
        url = f"ws://{address}/ws/sessions/s1"
        async with (
            websockets.connect(url, max_size=None) as eager,
            websockets.connect(url, max_size=None, max_queue=1) as lagging,
        ):
            await eager.recv()
            await lagging.recv()
            reading = asyncio.create_task(total(eager, "eager"))
            for start in range(0, published, 200):
                batch = [figure(n, text) for n in range(start, start + 200)]
                await asyncio.to_thread(on_loop, stack, partial(stack.publish, batch))
                while progress["eager"] < start - 600:
                    await asyncio.sleep(0.001)
            assert await reading == (published, 0)
            seen, lost = await total(lagging, "lagging")
            assert seen + lost == published and lost > 0
            assert stack.services.connections.dropped_messages == lost

    with Served(stack.app) as address:
        asyncio.run(listen(address))


def test_a_client_that_answers_no_ping_is_dropped(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "PING_SECONDS", 0.2)
    monkeypatch.setattr(protocol, "PONG_SECONDS", 2.0)

    async def listen(address: str) -> None:
        async with websockets.connect(f"ws://{address}/ws/sessions/s1") as answering:
            await answering.recv()
            with handshake(address) as lazy:
                while not closed_by_server(lazy.getsockname()[1]):
                    await asyncio.sleep(0.05)
            await asyncio.to_thread(on_loop, stack, lambda: stack.publish([figure(1, "")]))
            assert len(json.loads(await asyncio.wait_for(answering.recv(), 10))["events"]) == 1
            while stack.services.connections.open != 1:  # its socket was closed a moment earlier
                await asyncio.sleep(0.01)

    with Served(stack.app) as address:
        asyncio.run(asyncio.wait_for(listen(address), 20))


def test_a_client_that_never_reads_is_dropped_and_delays_nobody(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "SEND_SECONDS", 0.5)
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.1)
    letters = "x" * 9_000
    told = 0

    def tell() -> None:
        nonlocal told
        on_loop(stack, lambda: stack.publish([figure(told, letters)]))
        told += 1

    async def watch(address: str) -> int:
        received = 0
        async with websockets.connect(f"ws://{address}/ws/sessions/s1", max_size=None) as eager:
            await eager.recv()
            while not stack.services.connections.dropped_clients:
                await asyncio.to_thread(tell)
                received += len(json.loads(await asyncio.wait_for(eager.recv(), 10))["events"])
        return received

    with Served(stack.app) as address, handshake(address) as lazy:
        received = asyncio.run(watch(address))
        assert received == told, "who reads gets everything, whoever else does not"
        assert stack.services.connections.dropped_clients == 1
        here, deadline = lazy.getsockname()[1], time.monotonic() + 30
        while not closed_by_server(here) or stack.services.connections.open:
            assert time.monotonic() < deadline, "the server still holds the connection"
            time.sleep(0.05)
