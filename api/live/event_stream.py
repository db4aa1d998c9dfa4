"""Server-sent events: the same as ``/monitoring/realtime`` over plain HTTP, for who only listens.

https://html.spec.whatwg.org/multipage/server-sent-events.html: each message is an event of its ``type``, with its number as ``id``, which
browsers send as ``Last-Event-ID`` when they come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from typing import Annotated, Final

import anyio
from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.access import tenant_of
from api.live.connections import Connections
from api.live.sockets import SEND_SECONDS, greeting
from api.live.stream import Reader, Told
from api.live.subscriptions import DEFAULT, interest_of
from api.services import ApiServices
from scrapewatch.http import problem_responses
from scrapewatch.problems import Busy

ALIVE_EVERY: Final = 15.0
"""Seconds of silence after which a comment says that the connection lives: proxies end those that are idle."""

RETRY_MS: Final = 3_000
"""How long browsers wait before they come back."""

_MEDIA_TYPE: Final = "text/event-stream"
_EXAMPLE: Final = """retry: 3000

id: 5f0c2a1b-41
event: hello
data: {"type":"hello","id":"5f0c2a1b-41","resumed":null,"channels":[{"channel":"events","session_id":"s1"}]}

id: 5f0c2a1b-42
event: events
data: {"type":"events","id":"5f0c2a1b-42","session_id":"s1","events":[{"metric":"job_scraped","value":{"site":"indeed"}}],"dropped":0}

"""


_NARROWED: Final = "of `events`, and of `sessions` and `alerts` where they have one"


def as_event(told: Told) -> bytes:
    """A message as an event of the stream. JSON has no line breaks, so that its data is one line."""
    name = b"" if told.id is None else b"id: %b\n" % told.id.encode()
    return b"%bevent: %b\ndata: %b\n\n" % (name, told.type.encode(), told.text)


class EventStream(Response):
    """Sends what ``first`` makes and then what ``reader`` gets, until the client is gone or takes nothing for :data:`SEND_SECONDS`."""

    def __init__(
        self, connections: Connections, reader: Reader, first: Callable[[], Awaitable[Sequence[Told]]]
    ) -> None:
        super().__init__(media_type=_MEDIA_TYPE)
        del self.headers["content-length"]
        # nginx would collect what is to be told at once.
        self.headers["x-accel-buffering"] = "no"
        self._connections = connections
        self._reader = reader
        self._first = first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""

        async def part(data: bytes) -> None:
            async with asyncio.timeout(SEND_SECONDS):
                await send({"type": "http.response.body", "body": data, "more_body": True})

        async def write() -> None:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            told = [as_event(each) for each in await self._first()]
            await part(b"retry: %d\n\n%b" % (RETRY_MS, b"".join(told)))
            while True:
                found = self._reader.take()
                if found:
                    await part(b"".join(map(as_event, found)))
                    continue
                try:
                    async with asyncio.timeout(ALIVE_EVERY):
                        await self._reader.news()
                except TimeoutError:
                    await part(b": alive\n\n")

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        with self._connections.one_more() as room, closing(self._reader):
            if not room:
                raise Busy("as many clients listen as may (WEBSOCKET_MAX_CONNECTIONS); come back later")
            async with anyio.create_task_group() as group:

                async def until_it_ends(run: Callable[[], Awaitable[None]]) -> None:
                    try:
                        await run()
                    except TimeoutError:
                        self._connections.dropped_clients += 1
                    group.cancel_scope.cancel()

                group.start_soon(until_it_ends, watch)
                group.start_soon(until_it_ends, write)


def build_router(services: ApiServices) -> APIRouter:
    """The route of server-sent events."""
    router = APIRouter(tags=["live"])
    streams, feed = services.streams, services.feed

    @router.get(
        "/monitoring/stream",
        summary="What happens, as server-sent events",
        description="The same messages as over the WebSocket `/monitoring/realtime` (docs/websockets.md): each is an event of its `type`, "
        "its data is JSON. Who comes back with `Last-Event-ID` gets what it missed, as far as it is still kept: `resumed` in `hello` says "
        "whether that is all.",
        response_class=Response,
        responses={
            200: {
                "description": "A stream without end.",
                "content": {_MEDIA_TYPE: {"schema": {"type": "string"}, "example": _EXAMPLE}},
            },
            **problem_responses(422, 503),
        },
    )
    async def stream(
        request: Request,
        channels: Annotated[
            str,
            Query(
                description="Channels by commas: sessions, system, alerts, events.",
                examples=["events,alerts"],
            ),
        ] = DEFAULT,
        session_id: Annotated[
            str | None, Query(description=f"Only what is of this session, {_NARROWED}.")
        ] = None,
        site: Annotated[str | None, Query(description=f"Only what is of this site, {_NARROWED}.")] = None,
        metric: Annotated[str | None, Query(description="Only events of this metric.")] = None,
        after: Annotated[
            str | None, Query(description="The same as `Last-Event-ID`, for who cannot set a header.")
        ] = None,
        last_event_id: Annotated[
            str | None, Header(description="The `id` of the last event that was got.")
        ] = None,
    ) -> Response:
        tenant = tenant_of(request)
        of_tenant = streams.of(tenant)
        interest = interest_of(request.query_params)
        since = last_event_id or after
        latest = of_tenant.latest
        reader = of_tenant.reader(interest, since)

        async def first() -> list[Told]:
            hello, *system = await greeting(feed, tenant, reader, latest, since)
            # What follows has the numbers of what was missed: only then is the client where hello says.
            number = latest if since is None or reader.gap else None
            return [Told("hello", number, hello), *(Told("system", None, text) for text in system)]

        return EventStream(services.connections, reader, first)

    return router
