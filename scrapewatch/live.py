"""The live hub: what is durable is published here and reaches every subscriber without touching a store.

:class:`MemoryHub` serves one process. Subscribers have bounded queues: one that does not read loses its oldest messages, is told how
many, and never holds up the publisher or another subscriber.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol

Message = Mapping[str, Any]
"""What is published: ``tenant``, ``metric``, ``session_id`` (or None), ``value`` and ``time`` (ns)."""


class Hub(Protocol):
    """Where events are published once durable, and subscribed to."""

    def publish(self, messages: Sequence[Message]) -> None:
        """Hand ``messages`` to every subscriber whose filter takes them. Never blocks, never raises; from the loop's thread."""
        ...

    def subscribe(self, wanted: Callable[[Message], bool], *, limit: int = 1_000) -> Subscription:
        """A new subscription to the messages that ``wanted`` takes; close it when done."""
        ...


class Subscription:
    """The messages for one subscriber; iterate over it. ``dropped`` counts those lost because it did not read in time."""

    def __init__(
        self, wanted: Callable[[Message], bool], limit: int, forget: Callable[[Subscription], None]
    ) -> None:
        self.dropped = 0
        self._wanted = wanted
        self._queue: deque[Message] = deque(maxlen=limit)
        self._limit = limit
        self._arrived = asyncio.Event()
        self._forget = forget
        self._closed = False

    def offer(self, message: Message) -> None:
        """Queue ``message`` when the filter takes it."""
        if self._wanted(message):
            if len(self._queue) == self._limit:
                self.dropped += 1
            self._queue.append(message)
            self._arrived.set()

    async def next_batch(self, most: int = 200) -> list[Message]:
        """Wait for messages and take up to ``most``; an empty list once closed."""
        while not self._queue and not self._closed:
            self._arrived.clear()
            await self._arrived.wait()
        return [self._queue.popleft() for _ in range(min(most, len(self._queue)))]

    async def __aiter__(self) -> AsyncIterator[Message]:
        while batch := await self.next_batch():
            for message in batch:
                yield message

    def close(self) -> None:
        """Take no more messages and wake who waits for them."""
        self._closed = True
        self._arrived.set()
        self._forget(self)


class MemoryHub:
    """The hub of one process. All its methods belong to the event loop's thread."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()

    def publish(self, messages: Sequence[Message]) -> None:
        """See :meth:`Hub.publish`."""
        for subscription in self._subscriptions:
            for message in messages:
                subscription.offer(message)

    def subscribe(self, wanted: Callable[[Message], bool], *, limit: int = 1_000) -> Subscription:
        """See :meth:`Hub.subscribe`."""
        subscription = Subscription(wanted, limit, self._subscriptions.discard)
        self._subscriptions.add(subscription)
        return subscription
