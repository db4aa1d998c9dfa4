"""The live hub: what is durable is published here and reaches every subscriber without touching a store.

:class:`MemoryHub` serves one process. Publishing is O(1): messages are made and handed on in the turns of the event loop that follow,
a few milliseconds' worth a turn, so that a flood of events delays live messages and never an ack. Subscribers have bounded queues: one
that does not read loses its oldest messages, is told how many, and never holds up the publisher or another subscriber.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Protocol

from scrapewatch.time import now_ns

Message = Mapping[str, Any]
"""What is published: ``tenant``, ``metric``, ``session_id`` (or None), ``value`` and ``time`` (ns).

All who get it share it: it is not to be changed.
"""

MOST_PENDING: Final = 20_000
"""Published messages that wait to be made; beyond, the oldest are dropped unmade."""

SLICE: Final = 256
"""Most messages of a :class:`Slice`."""

TURN_SECONDS: Final = 0.002
"""For how long messages are made and handed on before the event loop gets on with the rest."""

_HEAVY: Final = 4_096
"""Characters of a posting's description that fill a queue as much as one message does."""


def alert_message(tenant: str, alert: Mapping[str, Any]) -> Message:
    """What to publish when ``alert`` (as the API shows it) fires, is acknowledged or is resolved: it reaches who listens to alerts."""
    return {
        "tenant": tenant,
        "metric": "alert",
        "session_id": alert.get("session_id"),
        "value": dict(alert),
        "time": now_ns(),
    }


class Hub(Protocol):
    """Where events are published once durable, and subscribed to. Its methods belong to the event loop's thread."""

    @property
    def here(self) -> MemoryHub:
        """What this very process publishes; the hub itself where there is no other process."""
        ...

    @property
    def dropped(self) -> int:
        """Messages of this process that were dropped before they reached a subscriber's queue."""
        ...

    def publish(self, messages: Sequence[Message]) -> None:
        """Hand ``messages`` to every subscriber that asked for such. Never blocks, never raises.

        ``messages`` may be lazy, that is make its mappings only while it is iterated over: with nobody to read them they are never
        made, and else once, however many read them. It is asked for its length now and iterated over once, later.
        """
        ...

    def subscribe(self, tenant: str | None = None, *, limit: int = 2_000) -> Subscription:
        """A new subscription to everything, or to a tenant's messages; close it when done.

        ``limit`` is how many messages may wait for its reader.
        """
        ...


def weight_of(message: Message) -> int:
    """What a message takes of a queue: one of long texts takes as much as several."""
    value = message.get("value")
    if value and "job" in value:
        return 1 + len(value["job"].get("description") or "") // _HEAVY
    return 1


class Slice:
    """Consecutive messages, shared by all subscriptions that they reached."""

    __slots__ = ("messages", "weight")

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self.weight = sum(map(weight_of, messages))


class Subscription:
    """The messages for one reader. ``dropped`` counts those lost because it did not read in time.

    Where the whole process falls behind, messages are dropped before it is known whose they are: every subscription counts those.

    ``at_once`` may be set to what takes a slice then and there, without a task to be woken, and says whether it did; it is only called
    while the reader waits, and so has taken all before.
    """

    def __init__(self, limit: int, forget: Callable[[Subscription], None]) -> None:
        self.dropped = 0
        self.at_once: Callable[[Slice], bool] | None = None
        self._limit = limit
        self._forget = forget
        self._queue: deque[Slice] = deque()
        self._weight = 0
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    def offer(self, found: Slice) -> None:
        """Hand ``found`` on or queue it, and drop the oldest where the queue is too long."""
        if self._waiter is not None and self.at_once is not None and self.at_once(found):
            return
        self._queue.append(found)
        self._weight += found.weight
        while self._weight > self._limit and len(self._queue) > 1:
            self._drop(len(self._queue[0].messages))
        if self._weight > self._limit and len(found.messages) > self._limit:
            self._drop(len(found.messages) - self._limit)
        self._wake()

    def _drop(self, count: int) -> None:
        self.dropped += count
        self._take(count)

    def _take(self, count: int) -> Sequence[Message]:
        """Up to ``count`` messages of the first slice."""
        first = self._queue.popleft()
        self._weight -= first.weight
        if len(first.messages) <= count:
            return first.messages
        rest = Slice(first.messages[count:])
        self._queue.appendleft(rest)
        self._weight += rest.weight
        return first.messages[:count]

    def _wake(self) -> None:
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
            self._waiter = None

    async def wait(self) -> bool:
        """Wait until there are messages; False once closed and read to the end. For one task at a time."""
        while not self._queue and not self._closed:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return bool(self._queue)

    def take(self, most: int = 500) -> list[Slice]:
        """The slices that wait, oldest first: up to ``most`` messages, or one slice that has more."""
        found: list[Slice] = []
        count = 0
        while self._queue and (not found or count + len(self._queue[0].messages) <= most):
            first = self._queue.popleft()
            self._weight -= first.weight
            count += len(first.messages)
            found.append(first)
        return found

    async def next_batch(self, most: int = 200) -> list[Message]:
        """Wait for messages and take up to ``most``; an empty list once closed and read to the end."""
        batch: list[Message] = []
        await self.wait()
        while self._queue and len(batch) < most:
            batch += self._take(most - len(batch))
        return batch

    async def __aiter__(self) -> AsyncIterator[Message]:
        while batch := await self.next_batch():
            for message in batch:
                yield message

    def close(self) -> None:
        """Take no more messages and wake who waits for them."""
        self._closed = True
        self._wake()
        self._forget(self)


class MemoryHub:
    """The hub of one process. ``dropped`` counts the messages that were never made because the process fell behind."""

    def __init__(self) -> None:
        self.dropped = 0
        self._everything: set[Subscription] = set()
        self._tenants: dict[str, set[Subscription]] = {}
        self._pending: deque[Sequence[Message]] = deque()
        self._count = 0
        self._making: Iterator[Message] | None = None
        self._turning = False

    @property
    def here(self) -> MemoryHub:
        """See :attr:`Hub.here`."""
        return self

    def publish(self, messages: Sequence[Message]) -> None:
        """See :meth:`Hub.publish`."""
        if not messages or not (self._everything or self._tenants):
            return
        self._pending.append(messages)
        self._count += len(messages)
        while self._count > MOST_PENDING and len(self._pending) > 1:
            self._drop(len(self._pending.popleft()))
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def subscribe(self, tenant: str | None = None, *, limit: int = 2_000) -> Subscription:
        """See :meth:`Hub.subscribe`."""
        if tenant is not None:
            return _add(self._tenants, tenant, limit)
        subscription = Subscription(limit, self._everything.discard)
        self._everything.add(subscription)
        return subscription

    def _drop(self, count: int) -> None:
        self._count -= count
        self.dropped += count
        for subscriptions in (self._everything, *self._tenants.values()):
            for subscription in subscriptions:
                subscription.dropped += count

    def _turn(self) -> None:
        """Hand on what a short while allows, and come back for the rest."""
        self._turning = False
        until = time.perf_counter() + TURN_SECONDS
        try:
            while made := self._make():
                self._hand_on(made)
                if time.perf_counter() > until:
                    break
        finally:
            if self._making is not None or self._pending:
                self._turning = True
                asyncio.get_running_loop().call_soon(self._turn)

    def _make(self) -> list[Message]:
        """The next messages, up to a slice of them; none when all were made."""
        made: list[Message] = []
        while len(made) < SLICE:
            if self._making is None:
                if not self._pending:
                    break
                following = self._pending.popleft()
                self._count -= len(following)
                self._making = iter(following)
            making, self._making = self._making, None  # what fails to be made is not tried again
            wanted = SLICE - len(made)
            made.extend(islice(making, wanted))
            if len(made) == SLICE:
                self._making = making
        return made

    def _hand_on(self, made: list[Message]) -> None:
        _offer(self._everything, made)
        for tenant, subscriptions in self._tenants.items():
            _offer(subscriptions, [message for message in made if message["tenant"] == tenant])


def _offer(subscriptions: Collection[Subscription], messages: Sequence[Message]) -> None:
    if subscriptions and messages:
        found = Slice(messages)
        for subscription in subscriptions:
            subscription.offer(found)


def _add(index: dict[str, set[Subscription]], key: str, limit: int) -> Subscription:
    """A new subscription under ``key``, which goes from the index with the last of its subscriptions."""

    def forget(subscription: Subscription) -> None:
        known = index.get(key, set())
        known.discard(subscription)
        if not known:
            index.pop(key, None)

    subscription = Subscription(limit, forget)
    index.setdefault(key, set()).add(subscription)
    return subscription
