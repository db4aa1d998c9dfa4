"""``/monitoring/realtime`` and its twin of server-sent events, told to real clients over real connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from typing import Any, Self

import pytest
import websockets

from api.live import event_stream, sockets
from scrapewatch.events import OWN
from scrapewatch.live import alert_message
from tests.api.stacks import Served, Stack, event
from tests.api.test_live import on_loop

REALTIME = "/api/v1/monitoring/realtime"
STREAM = "/api/v1/monitoring/stream"
JOB = {"site": "indeed"}


@pytest.fixture
def address(stack: Stack) -> Iterator[str]:
    """Where ``stack`` is served."""
    with Served(stack.app) as served:
        yield served


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 30))


async def publish(stack: Stack, *events: dict[str, Any]) -> None:
    await asyncio.to_thread(on_loop, stack, partial(stack.publish, list(events)))


class Client:
    """One that listens over a WebSocket."""

    def __init__(self, line: websockets.ClientConnection) -> None:
        self.line = line

    async def next(self, kind: str) -> dict[str, Any]:
        """The next message of this type; others are passed over."""
        while True:
            message: dict[str, Any] = json.loads(await asyncio.wait_for(self.line.recv(), 10))
            if message["type"] == kind:
                return message

    async def say(self, **message: Any) -> None:
        await self.line.send(json.dumps(message))


@contextlib.asynccontextmanager
async def listening(address: str, query: str = "") -> AsyncIterator[tuple[Client, dict[str, Any]]]:
    async with websockets.connect(f"ws://{address}{REALTIME}{query}") as line:
        client = Client(line)
        yield client, await client.next("hello")


def test_who_names_no_channel_hears_of_all_but_single_events(stack: Stack, address: str) -> None:
    async def scenario() -> None:
        async with listening(address) as (client, hello):
            assert [each["channel"] for each in hello["channels"]] == ["sessions", "system", "alerts"]
            assert hello["resumed"] is None
            assert (await client.next("system"))["session_counts"]["running"] == 0
            started = event("session_started", {"sites": ["indeed"]})
            await publish(stack, started, event("job_scraped", JOB))
            (told,) = (await client.next("sessions"))["sessions"]
            assert (told["session_id"], told["status"]) == ("s1", "running")
            await publish(stack, event("session_paused", {"reason": "for lunch"}))
            (told,) = (await client.next("sessions"))["sessions"]
            assert told["status"] == "paused"
            alert = {"id": 7, "severity": "critical", "status": "firing"}
            await asyncio.to_thread(
                on_loop, stack, lambda: stack.hub.publish([alert_message("default", alert)])
            )
            assert (await client.next("alerts"))["alerts"] == [alert]

    run(scenario())


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?channels=events", [1, 2, 3]),
        ("?channels=events&session_id=s2", [2]),
        ("?channels=events&site=linkedin", [3]),
        ("?metric=progress", [3]),
    ],
)
def test_events_are_narrowed_by_session_site_and_metric(
    stack: Stack, address: str, query: str, expected: list[int]
) -> None:
    async def scenario() -> None:
        async with listening(address, query) as (client, _):
            await publish(
                stack,
                event("job_scraped", JOB | {"count": 1}),
                event("job_scraped", JOB | {"count": 2}, session="s2"),
                event("progress", {"site": "linkedin", "done": 3}),
                event("service_check", {"service": "sql", "up": True, "response_time": 0.1}, session=None),
            )
            found: list[int] = []
            while len(found) < len(expected):
                message = await client.next("events")
                assert not OWN & {told["metric"] for told in message["events"]}
                found += [told["value"].get("count", 3) for told in message["events"]]
            assert found == expected

    run(scenario())


def test_subscriptions_come_and_go_while_the_connection_stays(stack: Stack, address: str) -> None:
    async def scenario() -> None:
        async with listening(address, "?channels=") as (client, hello):
            assert hello["channels"] == []
            await client.say(type="subscribe", channel="events", session_id="s1")
            await client.say(type="subscribe", channel="events", site="linkedin")
            assert len((await client.next("subscribed"))["channels"]) == 1
            assert (await client.next("subscribed"))["channels"] == [
                {"channel": "events", "session_id": "s1"},
                {"channel": "events", "site": "linkedin"},
            ]
            theirs = event("job_scraped", JOB, session="s2")
            await publish(stack, theirs, event("job_scraped", {"site": "linkedin"}))
            message = await client.next("events")
            assert [told["session_id"] for told in message["events"]] == ["s1"], "once, though wanted twice"
            await client.say(type="unsubscribe", channel="events", session_id="s1")
            assert (await client.next("subscribed"))["channels"] == [
                {"channel": "events", "site": "linkedin"}
            ]
            await client.say(type="subscribe", channel="system")
            assert (await client.next("system"))["host"]["cores"] > 0
            await client.say(type="unsubscribe", channel="events")
            assert (await client.next("subscribed"))["channels"] == [{"channel": "system"}]
            await client.say(type="ping")
            assert await client.next("pong")

    run(scenario())


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"channel": "secrets"}, "channel"),
        ({"channel": ["events"]}, "channel"),
        ({}, "channel"),
        ({"channel": "events", "site": ""}, "site"),
        ({"channel": "events", "session_id": 5}, "session_id"),
        ({"channel": "events", "metric": "no_such"}, "metric"),
        ({"channel": "events", "site": "x" * 500}, "site"),
    ],
)
def test_what_there_is_not_cannot_be_subscribed_to(address: str, said: dict[str, Any], field: str) -> None:
    async def scenario() -> None:
        async with listening(address, "?channels=") as (client, _):
            await client.say(type="subscribe", **said)
            error = await client.next("error")
            assert error["field"] == field and "x" * 20 not in error["detail"]

    run(scenario())


def test_subscriptions_are_bounded(address: str) -> None:
    async def scenario() -> None:
        async with listening(address, "?channels=") as (client, _):
            for n in range(51):
                await client.say(type="subscribe", channel="events", session_id=f"s{n}")
            assert "50" in (await client.next("error"))["detail"]

    run(scenario())


def test_an_address_that_asks_for_what_there_is_not_is_closed_with_the_reason(address: str) -> None:
    async def scenario() -> None:
        async with websockets.connect(f"ws://{address}{REALTIME}?channels=secrets") as line:
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await line.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == sockets.POLICY and "channel" in closed.value.rcvd.reason

    run(scenario())


@pytest.mark.parametrize("path", [REALTIME + "?channels=events&", "/api/v1/ws/sessions/s1?"])
def test_who_comes_back_with_the_last_number_gets_what_it_missed(
    stack: Stack, address: str, path: str
) -> None:
    url = f"ws://{address}{path}"

    async def scenario() -> None:
        async with websockets.connect(url) as line:
            hello = json.loads(await line.recv())
            assert hello["resumed"] is None
            await publish(stack, event("job_scraped", JOB | {"count": 1}))
            last = (await Client(line).next("events"))["id"]
        await publish(stack, event("job_scraped", JOB | {"count": 2}))
        await publish(stack, event("job_scraped", JOB | {"count": 3}))
        for after, expected in ((last, [2, 3]), (hello["id"], [1, 2, 3])):
            async with websockets.connect(f"{url}after={after}") as line:
                assert json.loads(await line.recv())["resumed"] is True
                missed = (await Client(line).next("events"))["events"]
                assert [told["value"]["count"] for told in missed] == expected
        async with websockets.connect(f"{url}after=of-another-process-5") as line:
            assert json.loads(await line.recv())["resumed"] is False

    run(scenario())


def test_a_verdict_is_told_once_the_records_have_it_and_what_was_known_before_is_no_news(
    stack: Stack, address: str
) -> None:
    stack.store([event("session_started", {"sites": ["indeed"]}, session="before")])

    async def scenario() -> None:
        async with listening(address, "?channels=sessions") as (client, _):
            await asyncio.sleep(0.6)  # until it was looked at how things stand
            ran = [
                event("session_started", {"sites": ["indeed"]}),
                event("session_finished", {"status": "completed"}),
            ]
            await asyncio.to_thread(stack.store, ran)
            (told,) = (await client.next("sessions"))["sessions"]
            assert (told["session_id"], told["status"], told["verdict"]) == ("s1", "completed", "empty")
            await publish(stack, event("job_scraped", JOB, session="s2"))
            (told,) = (await client.next("sessions"))["sessions"]
            assert (told["session_id"], told["status"], told["verdict"]) == ("s2", None, None)

    run(scenario())


def test_sessions_are_told_without_the_records(stack: Stack, address: str) -> None:
    with stack.records.engine.begin() as db:
        db.exec_driver_sql("DROP TABLE scrape_sessions")

    async def scenario() -> None:
        async with listening(address, "?channels=sessions") as (client, _):
            await publish(stack, event("session_started"))
            (told,) = (await client.next("sessions"))["sessions"]
            assert told["status"] == "running"

    run(scenario())


# --- server-sent events


class Events:
    """One that listens to server-sent events."""

    def __init__(self, address: str, query: str = "", headers: str = "") -> None:
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.socket.sendall(
            f"GET {STREAM}{query} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n{headers}\r\n".encode()
        )
        self.file = self.socket.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers: dict[str, str] = {}
        while line := self.file.readline().strip().decode():
            name, _, value = line.partition(": ")
            self.headers[name.lower()] = value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def lines(self) -> Iterator[str]:
        """The lines of the chunks of the body."""
        rest = b""
        while size := int(self.file.readline(), 16):
            rest += self.file.read(size)
            self.file.readline()
            *lines, rest = rest.split(b"\n")
            yield from (line.decode() for line in lines)

    def next(self, kind: str) -> tuple[str | None, dict[str, Any]]:
        """Id and data of the next event of a type, as browsers read them."""
        fields: dict[str, str] = {}
        for line in self.lines():
            name, _, value = line.partition(": ")
            if name:
                fields[name] = value
            elif fields.get("event") == kind:
                return fields.get("id"), json.loads(fields["data"])
            else:
                fields = {}
        raise AssertionError("the stream ended")


def test_server_sent_events_tell_the_same(stack: Stack, address: str) -> None:
    with Events(address, "?channels=events,system&site=indeed") as events:
        assert (events.status, events.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert events.headers["cache-control"] == "no-store"
        _, hello = events.next("hello")
        assert hello["channels"] == [{"channel": "system"}, {"channel": "events", "site": "indeed"}]
        assert events.next("system")[0] is None
        on_loop(
            stack,
            lambda: stack.publish([event("job_scraped", {"site": "linkedin"}), event("job_scraped", JOB)]),
        )
        number, message = events.next("events")
        assert number == message["id"]
        assert [told["value"]["site"] for told in message["events"]] == ["indeed"]


def test_a_browser_that_comes_back_gets_what_it_missed(stack: Stack, address: str) -> None:
    with Events(address, "?channels=events") as events:
        number, hello = events.next("hello")
        assert number == hello["id"], "so that who hears nothing else can come back, too"
    on_loop(stack, lambda: stack.publish([event("job_scraped", JOB)]))
    with Events(address, "?channels=events", f"Last-Event-ID: {number}\r\n") as events:
        assert events.next("hello")[1]["resumed"] is True
        number, message = events.next("events")
        assert len(message["events"]) == 1
    with Events(address, f"?channels=events&after={number}") as events:
        assert events.next("hello")[1]["resumed"] is True
    with Events(address, "?channels=events", "Last-Event-ID: gone-1\r\n") as events:
        number, hello = events.next("hello")
        assert hello["resumed"] is False and number == hello["id"]


def test_a_silent_stream_says_now_and_then_that_it_lives(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "ALIVE_EVERY", 0.05)
    with Events(address, "?channels=alerts") as events:
        assert next(line for line in events.lines() if line.startswith(":")) == ": alive"


def test_what_there_is_not_is_a_problem_and_no_stream(address: str) -> None:
    for query in (
        "?channels=secrets",
        "?channels=events&metric=no_such",
        f"?site={'x' * 500}&channels=events",
    ):
        with Events(address, query) as events:
            assert (events.status, events.headers["content-type"]) == (422, "application/problem+json")


def test_server_sent_events_count_as_listeners_and_are_refused_beyond_the_limit(
    make: Callable[..., Stack],
) -> None:
    stack = make(websocket_max_connections=1)
    with Served(stack.app) as address:
        with Events(address) as first, Events(address) as second:
            assert (first.status, second.status) == (200, 503)
            assert "retry-after" in second.headers
            first.next("hello")
        deadline = time.monotonic() + 10
        while stack.services.connections.open:
            assert time.monotonic() < deadline, "who left makes room"
            time.sleep(0.02)
        with Events(address) as again:
            assert again.status == 200


def test_a_client_that_takes_no_server_sent_events_is_dropped(
    stack: Stack, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "SEND_SECONDS", 0.3)
    with Events(address, "?channels=events") as events:
        assert events.status == 200
        long = event("custom", {"name": "n", "value": 1.0})
        long["value"] = {"text": "x" * 500_000}
        deadline = time.monotonic() + 20
        while not stack.services.connections.dropped_clients:
            assert time.monotonic() < deadline
            on_loop(stack, lambda: stack.publish([long]))
        while stack.services.connections.open:
            time.sleep(0.02)
