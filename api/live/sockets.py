"""The WebSockets. Their messages are described in ``docs/websockets.md``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, Final

import anyio
import orjson
from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from api.access import tenant_of
from api.live.connections import Connections
from api.live.feed import LiveFeed
from api.live.protocol import wire_of
from api.live.stream import Interest, Reader, Want
from api.live.subscriptions import as_json, changed, interest_of, said
from api.services import ApiServices
from api.sessions.routes import read_session
from scrapewatch.problems import InvalidInput, NotFound, ScrapewatchError
from scrapewatch.time import now_ns, to_rfc3339

SEND_SECONDS = 5.0
"""A client that takes nothing for so long is dropped."""
FULL = 1013
"""Close code "try again later": https://www.iana.org/assignments/websocket/websocket.xhtml"""
POLICY = 1008
"""Close code for who asks for what there is not."""
_SYSTEM: Final = Interest(frozenset({Want("system"), Want("summary")}))
_PONG: Final = b'{"type":"pong"}'


Heed = Callable[[Mapping[str, Any]], Awaitable[Sequence[bytes]]]
"""Answers to what a client said."""


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

    async def read(self, heed: Heed) -> None:
        """Answer what the client says until it is gone: pings, and what ``heed`` has answers to; all else is passed over."""
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            asked = said(message.get("text"))
            for answer in [_PONG] if asked.get("type") == "ping" else await heed(asked):
                await self.send(answer)


async def _heed_nothing(_: Mapping[str, Any]) -> Sequence[bytes]:
    return ()


async def serve(
    websocket: WebSocket,
    connections: Connections,
    reader: Reader,
    first: Callable[[], Awaitable[Sequence[bytes]]],
    heed: Heed = _heed_nothing,
) -> None:
    """Accept ``websocket``, send what ``first`` makes and then what ``reader`` gets, until either side ends.

    ``heed`` makes the answers to what the client says, if there are any.
    """
    with connections.one_more() as room, closing(reader):
        await websocket.accept()
        if not room:
            await websocket.close(FULL, "as many WebSockets are open as may be")
            return
        line = Line(websocket)

        async def write() -> None:
            for text in await first():
                await line.send(text)
            while True:
                found = reader.take()
                for told in found:
                    await line.send(told.text)
                if not found:
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

            group.start_soon(until_it_ends, lambda: line.read(heed))
            group.start_soon(until_it_ends, write)


def build_router(services: ApiServices) -> APIRouter:
    """The routes of the WebSockets."""
    router = APIRouter()
    connections, streams, feed = services.connections, services.streams, services.feed

    @router.websocket("/ws/system")
    async def system(websocket: WebSocket) -> None:
        tenant = tenant_of(websocket)

        async def first() -> list[bytes]:
            return [await feed.system_message(tenant)]

        await serve(websocket, connections, streams.of(tenant).reader(_SYSTEM), first)

    @router.websocket("/ws/sessions/{session_id}")
    async def session(websocket: WebSocket, session_id: str) -> None:
        tenant, after = tenant_of(websocket), websocket.query_params.get("after")
        stream = streams.of(tenant)
        # Before the session is read: what happens meanwhile may come twice, but is not missed.
        latest = stream.latest
        reader = stream.reader(Interest(frozenset({Want("events", session_id)})), after)

        async def first() -> list[bytes]:
            known = {"session_id": session_id, "id": latest, "resumed": resumed(reader, after)}
            return [orjson.dumps({**await _snapshot(services, tenant, session_id), **known})]

        await serve(websocket, connections, reader, first)

    @router.websocket("/monitoring/realtime")
    async def realtime(websocket: WebSocket) -> None:
        tenant, after = tenant_of(websocket), websocket.query_params.get("after")
        stream = streams.of(tenant)
        try:
            interest = interest_of(websocket.query_params)
        except InvalidInput as error:
            await websocket.accept()
            await websocket.close(POLICY, f"{error.field}: {error}"[:120])
            return
        latest = stream.latest
        reader = stream.reader(interest, after)

        async def first() -> list[bytes]:
            return await greeting(feed, tenant, reader, latest, after)

        async def heed(asked: Mapping[str, Any]) -> Sequence[bytes]:
            if asked.get("type") not in ("subscribe", "unsubscribe"):
                return ()
            had = reader.interest
            try:
                reader.want(changed(had, asked))
            except InvalidInput as error:
                return [orjson.dumps({"type": "error", "field": error.field, "detail": str(error)})]
            answers = [orjson.dumps({"type": "subscribed", "channels": as_json(reader.interest)})]
            if reader.interest.has("system") and not had.has("system"):
                answers.append(await feed.system_message(tenant))
            return answers

        await serve(websocket, connections, reader, first, heed)

    return router


def resumed(reader: Reader, after: str | None) -> bool | None:
    """Whether all that came after the number ``after`` follows; None where none was named."""
    return None if after is None else not reader.gap


async def greeting(
    feed: LiveFeed, tenant: str, reader: Reader, latest: str, after: str | None
) -> list[bytes]:
    """What a client is told first: ``hello`` with what it gets and from where on, and how the system is if it wants to know."""
    hello = {
        "type": "hello",
        "time": to_rfc3339(now_ns()),
        "id": latest,
        "resumed": resumed(reader, after),
        "channels": as_json(reader.interest),
    }
    system = [await feed.system_message(tenant)] if reader.interest.has("system") else []
    return [orjson.dumps(hello), *system]


async def _snapshot(services: ApiServices, tenant: str, session_id: str) -> dict[str, Any]:
    """The message ``session``: null where there is no such session (yet), or where the records cannot be read now."""
    snapshot: dict[str, Any] | None = None
    degraded = []
    try:
        snapshot = (await read_session(services, tenant, session_id)).model_dump(mode="json")
    except NotFound:
        pass
    except ScrapewatchError:
        degraded.append("session")
    return {"type": "session", "time": to_rfc3339(now_ns()), "snapshot": snapshot, "degraded": degraded}
