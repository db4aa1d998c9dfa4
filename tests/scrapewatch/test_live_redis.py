from __future__ import annotations

import asyncio

import orjson
import pytest
from redis import Redis as Client

from scrapewatch import live_redis
from scrapewatch.live import Slice, Subscription
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
            await asyncio.wait_for(collector.connected.wait(), 20)
            await asyncio.wait_for(api.connected.wait(), 20)
            subscription = api.subscribe()
            for start in range(0, 2_000, 100):
                collector.publish(messages(*range(start, start + 100)))
            return await take(subscription, 2_000)

    assert asyncio.run(run()) == list(range(2_000))


def test_a_subscriber_beside_the_publisher_sees_each_message_once(redis: Redis) -> None:
    async def run() -> list[int]:
        hub = RedisHub(redis.url)
        async with hub.running():
            await asyncio.wait_for(hub.connected.wait(), 20)
            subscription = hub.subscribe("default")
            hub.publish(messages(1, 2, 3, 4))
            hub.publish([{**message, "tenant": "another"} for message in messages(5)])
            hub.publish(messages(6))
            return await take(subscription, 5)

    assert asyncio.run(run()) == [1, 2, 3, 4, 6]


def test_messages_flow_again_once_redis_is_back(redis: Redis) -> None:
    async def run() -> list[int]:
        hub = RedisHub(redis.url)
        async with hub.running():
            await asyncio.wait_for(hub.connected.wait(), 20)
            subscription = hub.subscribe()
            redis.stop()
            while hub.connected.is_set():
                await asyncio.sleep(0.02)
            redis.start()
            await asyncio.wait_for(hub.connected.wait(), 20)
            hub.publish(messages(7))
            return await take(subscription, 1)

    assert asyncio.run(run()) == [7]


def test_what_a_process_publishes_can_be_read_there_without_redis(redis: Redis) -> None:
    async def run() -> tuple[list[int], int]:
        hub = RedisHub(redis.url)
        redis.stop()
        async with hub.running(listening=False):
            subscription = hub.here.subscribe("default")
            hub.publish(messages(1, 2))
            return await take(subscription, 2), hub.dropped

    assert asyncio.run(run()) == ([1, 2], 0)


def test_messages_that_redis_does_not_get_are_counted_and_hold_up_nothing(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_redis, "MOST_WAITING", 500)
    monkeypatch.setattr(live_redis, "_ANSWER_SECONDS", 0.5)

    async def run() -> tuple[int, list[int]]:
        hub = RedisHub(redis.url)
        async with hub.running():
            await asyncio.wait_for(hub.connected.wait(), 20)
            subscription = hub.subscribe()
            with Client.from_url(redis.url) as client:
                client.client_pause(3_000)
            for start in range(0, 20_000, 100):
                hub.publish(messages(*range(start, start + 100)))
                await asyncio.sleep(0)
            while hub.connected.is_set():
                await asyncio.sleep(0.02)
            await asyncio.wait_for(hub.connected.wait(), 20)
            hub.publish(messages(-1))
            seen: list[int] = []
            while not seen or seen[-1] != -1:
                seen += await take(subscription, 1)
            return hub.dropped, seen

    dropped, seen = asyncio.run(run())
    assert dropped > 0
    assert len(seen) <= 20_001


def test_large_messages_are_sent_in_portions(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_redis, "MOST_BYTES", 1_000)

    async def run() -> list[int]:
        hub = RedisHub(redis.url)
        async with hub.running():
            await asyncio.wait_for(hub.connected.wait(), 20)
            subscription = hub.subscribe()
            found = messages(*range(100))
            hub.publish([{**message, "text": "x" * (n * 50)} for n, message in enumerate(found)])
            return await take(subscription, 100)

    assert asyncio.run(run()) == list(range(100))


def test_a_publication_is_no_larger_than_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_redis, "MOST_BYTES", 1_000)
    found = [{**message, "text": "x" * 300} for message in messages(*range(50))]
    sent = list(live_redis._publications([Slice(found[:20]), Slice(found[20:])]))
    assert [n for _, text in sent for n in orjson.loads(text)] == found
    assert [count for count, _ in sent] == [len(orjson.loads(text)) for _, text in sent]
    assert 1 < len(sent) < 50 and max(len(text) for _, text in sent) < 1_100
