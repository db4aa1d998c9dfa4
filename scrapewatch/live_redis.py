"""The live hub across processes: what one publishes reaches the subscribers of all, through Redis pub/sub.

Nothing is kept: while Redis is away live messages are lost, and nothing else is. Needs the extra ``redis``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

import orjson
import redis.asyncio
import structlog
from redis.exceptions import RedisError

from scrapewatch.live import MemoryHub, Message, Subscription

log = structlog.get_logger(__name__)

CHANNEL: Final = "scrapewatch:live"

_MOST_WAITING: Final = 10_000
_MOST_AT_ONCE: Final = 500
_PAUSE: Final = 1.0


class RedisHub:
    """A :class:`~scrapewatch.live.Hub` over the Redis at ``url``. Its methods belong to the event loop's thread.

    Only what comes back from Redis reaches a subscriber, so each message is seen once, in one order, wherever it was published.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._local = MemoryHub()
        self._waiting: deque[Message] = deque(maxlen=_MOST_WAITING)
        self._arrived = asyncio.Event()
        self.connected = asyncio.Event()

    def publish(self, messages: Sequence[Message]) -> None:
        """See :meth:`scrapewatch.live.Hub.publish`."""
        self._waiting.extend(messages)
        self._arrived.set()

    def subscribe(self, wanted: Callable[[Message], bool], *, limit: int = 1_000) -> Subscription:
        """See :meth:`scrapewatch.live.Hub.subscribe`."""
        return self._local.subscribe(wanted, limit=limit)

    @contextlib.asynccontextmanager
    async def running(self, *, publishing: bool = True, listening: bool = True) -> AsyncIterator[None]:
        """Carry messages while the block lasts, connecting again whenever Redis was away."""
        tasks = [asyncio.create_task(self._keep_up(self._send))] if publishing else []
        if listening:
            tasks.append(asyncio.create_task(self._keep_up(self._listen)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_up(self, carry: Callable[[redis.asyncio.Redis], Awaitable[None]]) -> None:
        told = False
        while True:
            client = redis.asyncio.Redis.from_url(self._url, socket_connect_timeout=3)
            try:
                await carry(client)
            except (RedisError, OSError) as error:
                self.connected.clear()
                if not told:
                    log.warning("live messages wait for Redis", reason=type(error).__name__)
                told = True
            finally:
                with contextlib.suppress(RedisError, OSError):
                    await client.aclose()
            await asyncio.sleep(_PAUSE)

    async def _send(self, client: redis.asyncio.Redis) -> None:
        while True:
            while not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            count = min(len(self._waiting), _MOST_AT_ONCE)
            await client.publish(CHANNEL, orjson.dumps([dict(self._waiting[k]) for k in range(count)]))
            for _ in range(count):
                self._waiting.popleft()

    async def _listen(self, client: redis.asyncio.Redis) -> None:
        async with client.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(CHANNEL)
            self.connected.set()
            async for message in channel.listen():
                self._local.publish(orjson.loads(message["data"]))
