"""The WebSockets. Their messages are described in ``docs/websockets.md``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any, Final

import anyio
import orjson
from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from api.access import tenant_of
from api.live.connections import Connections
from api.live.protocol import wire_of
from api.live.stream import Filter, Interest, Reader
from api.services import ApiServices
from api.sessions.routes import read_session
from scrapewatch.problems import NotFound, ScrapewatchError
from scrapewatch.time import now_ns, to_rfc3339

SEND_SECONDS = 5.0
"""A client that takes nothing for so long is dropped."""
FULL = 1013
"""Close code "try again later": https://www.iana.org/assignments/websocket/websocket.xhtml"""
GAP: Final = b'{"type":"gap"}'
"""What came right after the number that was asked for is not there any more."""
SYSTEM: Final = Interest(frozenset({"system", "summary"}))
_PONG: Final = b'{"type":"pong"}'


class TooSlow(Exception):
    """The client did not take what was sent in time."""


class Line:
    """One accepted WebSocket: what is sent goes one after the other, and each in time or the client is dropped."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._wire = wire_of(websocket.scope)
        self._sending = asyncio.Lock()

    def step_in(self, reader: Reader) -> bool:
        """Let ``reader`` be told without a task of its own, as long as the client takes it; False where that cannot be now."""
        wire = self._wire
        if wire is None or not wire.ready or not reader.step_in(wire.transport.write):
            return False
        wire.unready = reader.step_out
        return True

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
    websocket: WebSocket, connections: Connections, reader: Reader, first: Callable[[], Awaitable[bytes]]
) -> None:
    """Accept ``websocket``, send what ``first`` makes and then what ``reader`` gets, until either side ends."""
    await websocket.accept()
    with connections.one_more() as room, closing(reader):
        if not room:
            await websocket.close(FULL, "as many WebSockets are open as may be")
            return
        line = Line(websocket)

        async def write() -> None:
            await line.send(await first())
            if reader.gap:
                await line.send(GAP)
            while True:
                texts = reader.take()
                for text in texts:
                    await line.send(text)
                if not texts:
                    line.step_in(reader)
                    await reader.news()

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
    connections, streams, feed = services.connections, services.streams, services.feed

    @router.websocket("/ws/system")
    async def system(websocket: WebSocket) -> None:
        tenant = tenant_of(websocket)
        reader = streams.of(tenant).reader(SYSTEM, websocket.query_params.get("after"))
        await serve(websocket, connections, reader, lambda: feed.system_message(tenant))

    @router.websocket("/ws/sessions/{session_id}")
    async def session(websocket: WebSocket, session_id: str) -> None:
        tenant = tenant_of(websocket)
        interest = Interest(frozenset({"events"}), frozenset({Filter(session_id=session_id)}))
        # Before the session is read: what happens meanwhile may come twice, but is not missed.
        reader = streams.of(tenant).reader(interest, websocket.query_params.get("after"))
        await serve(websocket, connections, reader, lambda: _snapshot(services, tenant, session_id))

    return router


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
