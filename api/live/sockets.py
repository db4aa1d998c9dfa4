"""The WebSockets. Their messages are described in ``docs/websockets.md``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final

import anyio
import orjson
from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from api.access import tenant_of
from api.live.connections import Connections
from api.live.protocol import text_frame, wire_of
from api.services import ApiServices
from api.sessions.routes import read_session
from scrapewatch.live import Message, Slice
from scrapewatch.problems import NotFound, ScrapewatchError
from scrapewatch.time import now_ns, to_rfc3339

SEND_SECONDS = 5.0
"""A client that takes nothing for so long is dropped."""
FULL = 1013
"""Close code "try again later": https://www.iana.org/assignments/websocket/websocket.xhtml"""
MOST_EVENTS: Final = 500
"""Events in a message."""
MESSAGES_PER_SECOND: Final = 12_500
"""To all clients together: each waits its share between two messages, and gets more events in the next."""
_PONG: Final = b'{"type":"pong"}'


class TooSlow(Exception):
    """The client did not take what was sent in time."""


class Line:
    """One accepted WebSocket: what is sent goes one after the other, and each in time or the client is dropped."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._wire = wire_of(websocket.scope)
        self._sending = asyncio.Lock()

    @property
    def ready(self) -> bool:
        """Whether :meth:`write` may be called now."""
        return self._wire is not None and self._wire.ready

    def write(self, frame: bytes) -> None:
        """Send a frame (:func:`~api.live.protocol.text_frame`) at once, where the line is ready."""
        if self._wire is not None:
            self._wire.write_frame(frame)

    async def send(self, text: bytes) -> None:
        """Send ``text`` (UTF-8).

        Raises:
            TooSlow: the client did not take it.
            WebSocketDisconnect: it is gone.
        """
        wire = self._wire
        if wire is not None and wire.writable.is_set():
            wire.write_text(text)
            return
        try:
            async with asyncio.timeout(SEND_SECONDS):
                if wire is not None:
                    await wire.writable.wait()
                else:
                    async with self._sending:
                        await self._websocket.send_text(text.decode())
        except TimeoutError as error:
            raise TooSlow from error
        if wire is not None:
            wire.write_text(text)

    async def read(self) -> None:
        """Answer pings until the client is gone; all else that it says is passed over."""
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if _is_ping(message.get("text")):
                await self.send(_PONG)


def _is_ping(text: str | None) -> bool:
    if text is None or len(text) > 1_000:
        return False
    if text == "ping":
        return True
    try:
        said = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return isinstance(said, dict) and said.get("type") == "ping"


async def serve(
    websocket: WebSocket, connections: Connections, messages: Callable[[Line], AsyncGenerator[bytes]]
) -> None:
    """Accept ``websocket`` and send ``messages`` until either side ends."""
    await websocket.accept()
    with connections.one_more() as room:
        if not room:
            await websocket.close(FULL, "as many WebSockets are open as may be")
            return
        line = Line(websocket)

        async def write() -> None:
            async with aclosing(messages(line)) as texts:
                async for text in texts:
                    await line.send(text)

        async with anyio.create_task_group() as group:

            async def until_it_ends(run: Callable[[], Awaitable[None]]) -> None:
                try:
                    await run()
                except TooSlow:
                    connections.dropped_clients += 1
                except WebSocketDisconnect:
                    pass
                group.cancel_scope.cancel()

            group.start_soon(until_it_ends, line.read)
            group.start_soon(until_it_ends, write)


def build_router(services: ApiServices) -> APIRouter:
    """The routes of the WebSockets."""
    router = APIRouter()
    connections, feed, hub = services.connections, services.feed, services.hub

    @router.websocket("/ws/system")
    async def system(websocket: WebSocket) -> None:
        tenant = tenant_of(websocket)

        async def messages(line: Line) -> AsyncGenerator[bytes]:
            subscription = feed.connect(tenant)
            told = 0
            try:
                yield await feed.system_message(tenant)
                while batch := await subscription.next_batch():
                    for message in batch:
                        yield message["text"]
                    if subscription.dropped > told:
                        lost, told = subscription.dropped - told, subscription.dropped
                        connections.dropped_messages += lost
                        yield orjson.dumps({"type": "dropped", "messages": lost})
            finally:
                feed.disconnect(tenant, subscription)

        await serve(websocket, connections, messages)

    @router.websocket("/ws/sessions/{session_id}")
    async def session(websocket: WebSocket, session_id: str) -> None:
        tenant = tenant_of(websocket)

        async def messages(line: Line) -> AsyncGenerator[bytes]:
            # Subscribed before it is read: what happens meanwhile may come twice, but is not missed.
            subscription = hub.subscribe(tenant, session_id)
            clock = asyncio.get_running_loop().time
            told, share, due = 0, 0.0, 0.0

            def following() -> bytes:
                nonlocal told, share, due
                share = connections.open / MESSAGES_PER_SECOND
                due = max(due, clock()) + share
                events = b",".join([found.made(_as_json) for found in subscription.take(MOST_EVENTS)])
                lost, told = subscription.dropped - told, subscription.dropped
                connections.dropped_messages += lost
                return _message(session_id, events, lost)

            def early() -> float:
                # One message may come before its time: what comes at an even pace is not held up by a little unevenness.
                return due - share - clock()

            def at_once(found: Slice) -> bool:
                nonlocal share, due
                now = clock()
                if now < due - share or subscription.dropped != told or not line.ready:
                    return False
                share = connections.open / MESSAGES_PER_SECOND
                due = max(due, now) + share
                line.write(found.made(_as_frame))
                return True

            try:
                yield await _snapshot(services, tenant, session_id)
                subscription.at_once = at_once
                while await subscription.wait():
                    await asyncio.sleep(max(early(), 0))
                    yield following()
            finally:
                subscription.close()

        await serve(websocket, connections, messages)

    return router


def _message(session_id: str, events: bytes, lost: int) -> bytes:
    return b'{"type":"events","session_id":%b,"events":[%b],"dropped":%d}' % (
        orjson.dumps(session_id),
        events,
        lost,
    )


def _as_frame(messages: Sequence[Message]) -> bytes:
    """The frame of the message that has the events in ``messages``, all of one session: made once for all who take it at once."""
    return text_frame(_message(messages[0]["session_id"], _as_json(messages), 0))


def _as_json(messages: Sequence[Message]) -> bytes:
    """The events in ``messages`` as JSON, with commas between."""
    return orjson.dumps(
        [
            {"metric": message["metric"], "value": message["value"], "time": to_rfc3339(message["time"])}
            for message in messages
        ]
    )[1:-1]


async def _snapshot(services: ApiServices, tenant: str, session_id: str) -> bytes:
    """The message ``session``: null where there is no such session (yet), or where the records cannot be read now."""
    snapshot: dict[str, Any] | None = None
    degraded = []
    try:
        snapshot = (await read_session(services, tenant, session_id)).model_dump(mode="json")
    except NotFound:
        pass
    except ScrapewatchError:
        degraded.append("session")
    return orjson.dumps(
        {
            "type": "session",
            "time": to_rfc3339(now_ns()),
            "session_id": session_id,
            "snapshot": snapshot,
            "degraded": degraded,
        }
    )
