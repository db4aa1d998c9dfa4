from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, overload

from scrapewatch.live import MOST_PENDING, SLICE, MemoryHub, Message, Slice, Subscription


def message(n: int, session_id: str | None = "s", tenant: str = "default", **value: Any) -> Message:
    return {
        "tenant": tenant,
        "metric": "progress",
        "session_id": session_id,
        "value": {"done": n, **value},
        "time": n,
    }


class Lazy(Sequence[Message]):
    """Messages that are made while they are iterated over; counts them."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers
        self.made = 0

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Message]:
        for n in self.numbers:
            self.made += 1
            yield message(n)

    @overload
    def __getitem__(self, k: int) -> Message: ...
    @overload
    def __getitem__(self, k: slice) -> Sequence[Message]: ...
    def __getitem__(self, k: int | slice) -> Message | Sequence[Message]:
        raise AssertionError("only asked to iterate")


def numbers(messages: Sequence[Message]) -> list[Any]:
    return [found["time"] for found in messages]


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(20):
            await scenario

    asyncio.run(in_time())


async def settled(hub: MemoryHub) -> None:
    """Wait until all that was published was handed on."""
    while hub._turning:
        await asyncio.sleep(0)


async def read(subscription: Subscription) -> list[Any]:
    """What waits for a reader now."""
    return [n for found in subscription.take(10**6) for n in numbers(found.messages)]


def test_a_subscriber_gets_what_is_published_in_order() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        subscription = hub.subscribe()
        hub.publish([message(1), message(2)])
        hub.publish([message(3)])
        assert numbers(await subscription.next_batch()) == [1, 2, 3]

    run(scenario())


def test_a_subscriber_gets_only_the_tenant_that_it_asked_for() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        everything, ours = hub.subscribe(), hub.subscribe("us")
        hub.publish(
            [
                message(1, "mine", "us"),
                message(2, "mine", "them"),
                message(3, "yours", "us"),
                message(4, None, "us"),
                message(5, None, "them"),
            ]
        )
        hub.publish([message(6, "mine", "us"), message(7, "mine", "them")])
        await settled(hub)
        assert await read(everything) == [1, 2, 3, 4, 5, 6, 7]
        assert await read(ours) == [1, 3, 4, 6]

    run(scenario())


def test_a_slow_subscriber_loses_its_oldest_messages_and_is_told_how_many() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        slow, quick = hub.subscribe(limit=3), hub.subscribe()
        hub.publish([message(n) for n in range(10)])
        await settled(hub)
        assert slow.dropped == 7
        assert numbers(await slow.next_batch()) == [7, 8, 9]
        assert quick.dropped == 0
        assert numbers(await quick.next_batch()) == list(range(10))

    run(scenario())


def test_what_was_lost_and_what_is_read_make_what_was_published() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        slow = hub.subscribe(limit=100)
        found: list[Any] = []
        for start in range(0, 3_000, 30):
            hub.publish([message(n) for n in range(start, start + 30)])
            await settled(hub)
            if start % 900 == 0:
                found += await slow.next_batch(7)
        found += await slow.next_batch(10**6)
        assert slow.dropped > 0
        assert len(found) + slow.dropped == 3_000
        assert numbers(found) == sorted(numbers(found)) and found[-1]["time"] == 2_999

    run(scenario())


def test_what_others_are_sent_costs_no_room() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        subscription = hub.subscribe("us", limit=1)
        hub.publish([message(1, tenant="us"), *(message(n, tenant="them") for n in range(2, 50))])
        assert numbers(await subscription.next_batch()) == [1]
        assert subscription.dropped == 0

    run(scenario())


def test_long_descriptions_fill_a_queue_sooner() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        subscription = hub.subscribe(limit=1_000)
        for n in range(200):
            hub.publish([message(n, job={"description": "x" * 200_000})])
            await settled(hub)
        kept = await read(subscription)
        assert kept == list(range(200 - len(kept), 200))
        assert len(kept) * 200_000 < 5_000_000
        assert subscription.dropped == 200 - len(kept)

    run(scenario())


def test_a_batch_is_no_larger_than_asked_for_and_the_rest_waits() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        subscription = hub.subscribe()
        hub.publish([message(n) for n in range(5)])
        assert numbers(await subscription.next_batch(2)) == [0, 1]
        assert numbers(await subscription.next_batch(2)) == [2, 3]
        assert numbers(await subscription.next_batch(2)) == [4]

    run(scenario())


def test_who_waits_is_woken_by_a_message() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        subscription = hub.subscribe()
        waiting = asyncio.create_task(subscription.next_batch())
        await asyncio.sleep(0)
        assert not waiting.done()
        hub.publish([message(1)])
        assert numbers(await waiting) == [1]

    run(scenario())


def test_close_wakes_who_waits_and_ends_the_iteration() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        subscription = hub.subscribe()

        async def read_all() -> list[Message]:
            return [found async for found in subscription]

        reading = asyncio.create_task(read_all())
        hub.publish([message(1)])
        await settled(hub)
        subscription.close()
        assert numbers(await reading) == [1]

    run(scenario())


def test_a_closed_subscription_gets_nothing_more() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        closed, other = hub.subscribe("default"), hub.subscribe("default")
        closed.close()
        hub.publish([message(1)])
        assert numbers(await other.next_batch()) == [1]
        assert await closed.next_batch() == []

    run(scenario())


# --- lazy messages


def test_without_subscribers_nothing_is_made() -> None:
    async def scenario() -> None:
        hub, lazy = MemoryHub(), Lazy(1, 2, 3)
        hub.publish(lazy)
        hub.subscribe().close()
        hub.publish(lazy)
        await settled(hub)
        assert lazy.made == 0

    run(scenario())


def test_each_message_is_made_once_however_many_read_it() -> None:
    async def scenario() -> None:
        hub, lazy = MemoryHub(), Lazy(*range(1_000))
        readers = [
            *(hub.subscribe() for _ in range(50)),
            *(hub.subscribe("default") for _ in range(50)),
        ]
        hub.publish(lazy)
        await settled(hub)
        assert [await read(reader) for reader in readers] == [list(range(1_000))] * 100
        assert lazy.made == 1_000

    run(scenario())


def test_publishing_makes_nothing_before_it_returns_and_lets_others_run_between() -> None:
    async def scenario() -> None:
        hub, lazy = MemoryHub(), Lazy(*range(MOST_PENDING))
        subscription = hub.subscribe(limit=MOST_PENDING)
        hub.publish(lazy)
        assert lazy.made == 0
        made = []
        while hub._turning:
            await asyncio.sleep(0)
            made.append(lazy.made)
        assert len(made) > 2, "one turn of the loop would hold up everything else"
        assert await read(subscription) == list(range(MOST_PENDING))

    run(scenario())


def test_a_process_that_falls_behind_drops_the_oldest_unmade_and_says_so() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        subscription = hub.subscribe(limit=10**6)
        published = [Lazy(*range(start, start + 1_000)) for start in range(0, 2 * MOST_PENDING, 1_000)]
        for lazy in published:
            hub.publish(lazy)
        await settled(hub)
        kept = await read(subscription)
        assert kept == list(range(MOST_PENDING, 2 * MOST_PENDING))
        assert hub.dropped == subscription.dropped == MOST_PENDING
        assert sum(lazy.made for lazy in published) == MOST_PENDING
        hub.publish([message(-1)])
        assert numbers(await subscription.next_batch()) == [-1], "a fresh message passes afterwards"

    run(scenario())


def test_messages_that_cannot_be_made_do_not_end_the_hub() -> None:
    class Broken(Lazy):
        def __iter__(self) -> Iterator[Message]:
            yield message(1)
            raise RuntimeError("broken")

    async def scenario() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        hub = MemoryHub()
        subscription = hub.subscribe()
        hub.publish(Broken(1, 2))
        await settled(hub)
        hub.publish([message(3)])
        await settled(hub)
        assert (await read(subscription))[-1] == 3
        assert [str(context["exception"]) for context in told] == ["broken"]

    run(scenario())


def test_a_flood_of_one_tenant_leaves_the_others_what_they_wait_for() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        loud, quiet = hub.subscribe("loud", limit=50), hub.subscribe("quiet", limit=50)
        for n in range(20):
            hub.publish([message(n, tenant="loud")] * SLICE * 4)
            hub.publish([message(n, tenant="quiet")])
            await settled(hub)
        assert await read(quiet) == list(range(20))
        assert quiet.dropped == 0 and loud.dropped > 0

    run(scenario())


def test_a_reader_may_take_messages_at_once_while_it_waits() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        subscription = hub.subscribe()
        taken: list[Any] = []
        willing = True

        def at_once(found: Slice) -> bool:
            if willing:
                taken.extend(numbers(found.messages))
            return willing

        subscription.at_once = at_once
        hub.publish([message(1)])
        await settled(hub)
        assert taken == [], "nobody waits yet: the task that will may be about to read"
        assert numbers(await subscription.next_batch()) == [1]
        waiting = asyncio.create_task(subscription.next_batch())
        await asyncio.sleep(0)
        hub.publish([message(2)])
        await settled(hub)
        assert taken == [2] and not waiting.done()
        willing = False
        hub.publish([message(3)])
        assert numbers(await waiting) == [3]
        willing = True
        hub.publish([message(4)])
        await settled(hub)
        assert taken == [2], "nobody waits"

    run(scenario())
