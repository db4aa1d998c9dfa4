"""The live hub across processes: what one publishes reaches the subscribers of all, through Redis pub/sub.

Nothing is kept: while Redis is away live messages are lost, and nothing else is. Needs the extra ``redis``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

import orjson
import redis.asyncio
import structlog
from redis.exceptions import RedisError

from scrapewatch.live import MemoryHub, Message, Slice, Subscription

log = structlog.get_logger(__name__)

CHANNEL: Final = "scrapewatch:live"

MOST_WAITING: Final = 10_000
"""Messages that wait to be sent; the oldest of more are dropped."""

MOST_BYTES: Final = 1_000_000
"""Size of one publication. Redis closes a subscriber that lags by 32 MB: no single one may bring it there."""

_MOST_AT_ONCE: Final = 500
_ANSWER_SECONDS: Final = 5.0
_IDLE_SECONDS: Final = 1.0
_PAUSE: Final = 1.0


class RedisHub:
    """A :class:`~scrapewatch.live.Hub` over the Redis at ``url``. Its methods belong to the event loop's thread.

    Only what comes back from Redis reaches a subscriber, so each message is seen once, in one order, wherever it was published.
    ``dropped`` counts the messages of this process that Redis did not get in time; those published while it is away are not made,
    and not counted.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._here = MemoryHub()
        self._everywhere = MemoryHub()
        self._lost = 0
        self._sending: Subscription | None = None
        self.connected = asyncio.Event()

    @property
    def here(self) -> MemoryHub:
        """See :attr:`scrapewatch.live.Hub.here`."""
        return self._here

    @property
    def dropped(self) -> int:
        """Messages of this process that did not get to Redis."""
        return self._lost + (self._sending.dropped if self._sending is not None else 0)

    def publish(self, messages: Sequence[Message]) -> None:
        """See :meth:`scrapewatch.live.Hub.publish`."""
        self._here.publish(messages)

    def subscribe(self, tenant: str | None = None, *, limit: int = 2_000) -> Subscription:
        """See :meth:`scrapewatch.live.Hub.subscribe`."""
        return self._everywhere.subscribe(tenant, limit=limit)

    @contextlib.asynccontextmanager
    async def running(self, *, publishing: bool = True, listening: bool = True) -> AsyncIterator[None]:
        """Carry messages while the block lasts, connecting again whenever Redis was away; ``connected`` is set while it is not."""
        task = asyncio.create_task(self._keep_up(publishing, listening))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _keep_up(self, publishing: bool, listening: bool) -> None:
        told = False
        while True:
            client = redis.asyncio.Redis.from_url(self._url, socket_connect_timeout=3)
            try:
                async with contextlib.AsyncExitStack() as ways, asyncio.TaskGroup() as group:
                    async with asyncio.timeout(_ANSWER_SECONDS):
                        await client.ping()
                        if listening:
                            channel = await ways.enter_async_context(
                                client.pubsub(ignore_subscribe_messages=True)
                            )
                            await channel.subscribe(CHANNEL)
                            group.create_task(self._listen(channel))
                    if publishing:
                        sending = self._sending = self._here.subscribe(limit=MOST_WAITING)
                        ways.callback(sending.close)
                        group.create_task(self._send(client, sending))
                    self.connected.set()
                    if told:
                        log.info("live messages flow again")
                        told = False
            except* (RedisError, OSError) as errors:
                if not told:
                    log.warning("live messages wait for Redis", reason=type(errors.exceptions[0]).__name__)
                told = True
            finally:
                self.connected.clear()
                with contextlib.suppress(RedisError, OSError):
                    await client.aclose()
            await asyncio.sleep(_PAUSE)

    async def _send(self, client: redis.asyncio.Redis, sending: Subscription) -> None:
        unsent = 0
        try:
            while True:
                try:
                    async with asyncio.timeout(_IDLE_SECONDS):
                        await sending.wait()
                except TimeoutError:
                    # A connection that broke while nothing was sent would cost the first message after it.
                    async with asyncio.timeout(_ANSWER_SECONDS):
                        await client.ping()
                slices = sending.take(_MOST_AT_ONCE)
                unsent = sum(len(found.messages) for found in slices)
                for count, text in _publications(slices):
                    async with asyncio.timeout(_ANSWER_SECONDS):
                        await client.publish(CHANNEL, text)
                    unsent -= count
        finally:
            sending.close()
            unsent += sum(len(found.messages) for found in sending.take(MOST_WAITING))
            self._lost += sending.dropped + unsent
            self._sending = None

    async def _listen(self, channel: redis.asyncio.client.PubSub) -> None:
        async for message in channel.listen():
            with contextlib.suppress(orjson.JSONDecodeError):  # of someone else who uses the channel
                self._everywhere.publish(orjson.loads(message["data"]))


def _publications(slices: Sequence[Slice]) -> Iterator[tuple[int, bytes]]:
    """Arrays of messages as JSON, each with their number; none is larger than :data:`MOST_BYTES` unless a single message is."""
    texts = [orjson.dumps(message) for found in slices for message in found.messages]
    first = size = 0
    for k, text in enumerate(texts):
        if size and size + len(text) > MOST_BYTES:
            yield k - first, b"[" + b",".join(texts[first:k]) + b"]"
            first, size = k, 0
        size += len(text)
    if size:
        yield len(texts) - first, b"[" + b",".join(texts[first:]) + b"]"
