from __future__ import annotations

import asyncio

from scrapewatch.live import Subscription
from scrapewatch.live_redis import RedisHub
from tests.redis import Redis


async def take(subscription: Subscription, count: int) -> list[int]:
    """The numbers of the next ``count`` messages."""
    found: list[int] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found += [message["value"]["n"] for message in await subscription.next_batch()]
    return found


def messages(*numbers: int) -> list[dict[str, object]]:
    return [
        {"tenant": "default", "metric": "custom", "session_id": "s", "value": {"n": n}, "time": n}
        for n in numbers
    ]


def test_what_one_process_publishes_reaches_the_subscribers_of_another_in_order(redis: Redis) -> None:
    async def run() -> list[int]:
        collector, api = RedisHub(redis.url), RedisHub(redis.url)
        async with collector.running(listening=False), api.running(publishing=False):
            await asyncio.wait_for(api.connected.wait(), 20)
            subscription = api.subscribe(lambda _: True)
            for start in range(0, 2_000, 100):
                collector.publish(messages(*range(start, start + 100)))
            return await take(subscription, 2_000)

    assert asyncio.run(run()) == list(range(2_000))


def test_a_subscriber_beside_the_publisher_sees_each_message_once(redis: Redis) -> None:
    async def run() -> list[int]:
        hub = RedisHub(redis.url)
        async with hub.running():
            await asyncio.wait_for(hub.connected.wait(), 20)
            subscription = hub.subscribe(lambda message: message["value"]["n"] % 2 == 0)
            hub.publish(messages(1, 2, 3, 4))
            hub.publish(messages(6))
            return await take(subscription, 3)

    assert asyncio.run(run()) == [2, 4, 6]


def test_messages_flow_again_once_redis_is_back(redis: Redis) -> None:
    async def run() -> list[int]:
        hub = RedisHub(redis.url)
        async with hub.running():
            await asyncio.wait_for(hub.connected.wait(), 20)
            subscription = hub.subscribe(lambda _: True)
            redis.stop()
            while hub.connected.is_set():
                await asyncio.sleep(0.02)
            redis.start()
            await asyncio.wait_for(hub.connected.wait(), 20)
            hub.publish(messages(7))
            return await take(subscription, 1)

    assert asyncio.run(run()) == [7]
