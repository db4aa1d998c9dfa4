"""The WebSockets. Their messages are described in ``docs/websockets.md``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import anyio
import orjson
from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from api.access import tenant_of
from api.live.connections import Connections
from api.services import ApiServices
from api.sessions.routes import read_session
from scrapewatch.problems import NotFound, ScrapewatchError
from scrapewatch.time import now_ns, to_rfc3339

SEND_SECONDS = 10.0
"""A client that takes nothing for so long is dropped."""
FULL = 1013
"""Close code "try again later": https://www.iana.org/assignments/websocket/websocket.xhtml"""
PONG = '{"type":"pong"}'


class Line:
    """One accepted WebSocket: what is sent goes one after the other, and each in time or the client is dropped."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._sending = anyio.Lock()

    async def send(self, text: str) -> None:
        """Send ``text``.

        Raises:
            TimeoutError: the client did not take it.
            WebSocketDisconnect: it is gone.
        """
        with anyio.fail_after(SEND_SECONDS):
            async with self._sending:
                await self._websocket.send_text(text)

    async def read(self) -> None:
        """Answer pings until the client is gone; all else that it says is passed over."""
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if _is_ping(message.get("text")):
                await self.send(PONG)


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
    websocket: WebSocket, connections: Connections, messages: Callable[[], AsyncGenerator[str]]
) -> None:
    """Accept ``websocket`` and send ``messages`` until either side ends."""
    await websocket.accept()
    with connections.one_more() as room:
        if not room:
            await websocket.close(FULL, "as many WebSockets are open as may be")
            return
        line = Line(websocket)

        async def write() -> None:
            async with aclosing(messages()) as texts:
                async for text in texts:
                    await line.send(text)

        async with anyio.create_task_group() as group:

            async def until_it_ends(run: Callable[[], Awaitable[None]]) -> None:
                try:
                    await run()
                except TimeoutError:
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

        async def messages() -> AsyncGenerator[str]:
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
                        yield orjson.dumps({"type": "dropped", "messages": lost}).decode()
            finally:
                feed.disconnect(tenant, subscription)

        await serve(websocket, connections, messages)

    @router.websocket("/ws/sessions/{session_id}")
    async def session(websocket: WebSocket, session_id: str) -> None:
        tenant = tenant_of(websocket)

        async def messages() -> AsyncGenerator[str]:
            # Subscribed before it is read: what happens meanwhile may come twice, but is not missed.
            subscription = hub.subscribe(
                lambda message: message.get("session_id") == session_id and message["tenant"] == tenant
            )
            told = 0
            try:
                yield await _snapshot(services, tenant, session_id)
                while batch := await subscription.next_batch():
                    lost, told = subscription.dropped - told, subscription.dropped
                    connections.dropped_messages += lost
                    yield orjson.dumps(
                        {
                            "type": "events",
                            "session_id": session_id,
                            "events": [
                                {
                                    "metric": message["metric"],
                                    "value": message["value"],
                                    "time": to_rfc3339(message["time"]),
                                }
                                for message in batch
                            ],
                            "dropped": lost,
                        }
                    ).decode()
            finally:
                subscription.close()

        await serve(websocket, connections, messages)

    return router


async def _snapshot(services: ApiServices, tenant: str, session_id: str) -> str:
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
    ).decode()
