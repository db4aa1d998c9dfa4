from __future__ import annotations

import asyncio
from typing import Any

from scrapewatch.live import MemoryHub, Message


def message(n: int, session_id: str = "s") -> Message:
    return {
        "tenant": "default",
        "metric": "progress",
        "session_id": session_id,
        "value": {"done": n},
        "time": n,
    }


def anything(_: Message) -> bool:
    return True


def numbers(messages: list[Message]) -> list[Any]:
    return [found["time"] for found in messages]


def test_a_subscriber_gets_what_is_published_in_order() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        subscription = hub.subscribe(anything)
        hub.publish([message(1), message(2)])
        hub.publish([message(3)])
        assert numbers(await subscription.next_batch()) == [1, 2, 3]

    asyncio.run(scenario())


def test_a_subscriber_gets_only_what_its_filter_takes() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        subscription = hub.subscribe(lambda found: found["session_id"] == "mine")
        hub.publish([message(1, "yours"), message(2, "mine"), message(3, "yours")])
        assert numbers(await subscription.next_batch()) == [2]

    asyncio.run(scenario())


def test_a_slow_subscriber_loses_its_oldest_messages_and_is_told_how_many() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        slow, quick = hub.subscribe(anything, limit=3), hub.subscribe(anything)
        hub.publish([message(n) for n in range(10)])
        assert slow.dropped == 7
        assert numbers(await slow.next_batch()) == [7, 8, 9]
        assert quick.dropped == 0
        assert numbers(await quick.next_batch()) == list(range(10))

    asyncio.run(scenario())


def test_what_the_filter_leaves_out_costs_no_room() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        subscription = hub.subscribe(lambda found: found["session_id"] == "mine", limit=1)
        hub.publish([message(1, "mine"), *(message(n, "yours") for n in range(2, 50))])
        assert subscription.dropped == 0
        assert numbers(await subscription.next_batch()) == [1]

    asyncio.run(scenario())


def test_a_batch_is_no_larger_than_asked_for_and_the_rest_waits() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        subscription = hub.subscribe(anything)
        hub.publish([message(n) for n in range(5)])
        assert numbers(await subscription.next_batch(2)) == [0, 1]
        assert numbers(await subscription.next_batch(2)) == [2, 3]
        assert numbers(await subscription.next_batch(2)) == [4]

    asyncio.run(scenario())


def test_who_waits_is_woken_by_a_message() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        subscription = hub.subscribe(anything)
        waiting = asyncio.create_task(subscription.next_batch())
        await asyncio.sleep(0)
        assert not waiting.done()
        hub.publish([message(1)])
        assert numbers(await waiting) == [1]

    asyncio.run(scenario())


def test_close_wakes_who_waits_and_ends_the_iteration() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        subscription = hub.subscribe(anything)

        async def read() -> list[Message]:
            return [found async for found in subscription]

        reading = asyncio.create_task(read())
        hub.publish([message(1)])
        await asyncio.sleep(0)
        subscription.close()
        assert numbers(await reading) == [1]

    asyncio.run(scenario())


def test_a_closed_subscription_gets_nothing_more() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        subscription = hub.subscribe(anything)
        subscription.close()
        hub.publish([message(1)])
        assert await subscription.next_batch() == []

    asyncio.run(scenario())
