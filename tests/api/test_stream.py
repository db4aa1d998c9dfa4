"""The stream behind WebSockets and server-sent events: numbered, bounded, told to many at once, and read by those who lag."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import pytest

from api.live import stream as streams
from api.live.connections import Connections
from api.live.interval import MOST_TIMES, Interval
from api.live.stream import KEPT, MOST_EVENTS, MOST_HELD, Interest, Reader, Stream, Want


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 20))


def figure(n: int, session: str | None = "s1", site: str = "a", metric: str = "custom") -> dict[str, Any]:
    value = {"n": n, "site": site}
    return {"tenant": "default", "metric": metric, "session_id": session, "value": value, "time": n}


def figures(start: int, stop: int, **more: Any) -> list[dict[str, Any]]:
    return [figure(n, **more) for n in range(start, stop)]


def interest(*wants: Want) -> Interest:
    return Interest(frozenset(wants))


EVENTS = interest(Want("events"))
OF_S1 = interest(Want("events", "s1"))


@pytest.fixture
def stream() -> Stream:
    return Stream("e", Connections(10))


def read(reader: Reader) -> tuple[list[int], int]:
    """The numbers in all that there is to take, and how many it is told that it lost."""
    numbers: list[int] = []
    lost = 0
    while found := reader.take():
        for told in found:
            message = json.loads(told.text)
            numbers += [event["value"]["n"] for event in message.get("events", ())]
            lost += message.get("dropped", 0) + message.get("messages", 0)
    return numbers, lost


def texts(written: list[bytes]) -> list[dict[str, Any]]:
    """The messages in frames that are shorter than 64 KiB."""
    return [json.loads(frame[4:] if frame[1] == 126 else frame[2:]) for frame in written]


def frames(written: list[bytes]) -> list[int]:
    """The numbers of the events in frames."""
    return [event["value"]["n"] for text in texts(written) for event in text["events"]]


def test_a_reader_gets_what_it_wants_and_nothing_else(stream: Stream) -> None:
    async def scenario() -> None:
        wanted = {
            "all": EVENTS,
            "session": OF_S1,
            "site": interest(Want("events", site="b")),
            "metric": interest(Want("events", metric="service_check")),
            "two": interest(Want("events", "s2"), Want("events", site="b")),
            "two sessions": interest(Want("events", "s1", site="b"), Want("events", "s2"), Want("system")),
            "alerts": interest(Want("alerts")),
        }
        readers = {name: stream.reader(what) for name, what in wanted.items()}
        stream.add(
            [
                figure(1),
                figure(2, session="s2"),
                figure(3, site="b"),
                figure(4, session=None, metric="service_check"),
                figure(5, metric="alert"),
            ]
        )
        assert {name: read(reader)[0] for name, reader in readers.items() if name != "alerts"} == {
            "all": [1, 2, 3],
            "session": [1, 3],
            "site": [3],
            "metric": [4],
            "two": [2, 3],
            "two sessions": [2, 3],
        }
        (told,) = readers["alerts"].take()
        assert json.loads(told.text) == {"type": "alerts", "id": "e-5", "alerts": [{"n": 5, "site": "a"}]}

    run(scenario())


def test_those_in_step_are_written_the_same_bytes_at_once(stream: Stream) -> None:
    async def scenario() -> None:
        written: list[list[bytes]] = [[], []]
        for out in written:
            assert stream.reader(OF_S1).step_in(out.append)
        stream.add([figure(1), figure(2, session="another")])
        assert [frames(out) for out in written] == [[1], [1]]
        assert written[0][0] is written[1][0]

    run(scenario())


def test_who_falls_out_of_step_reads_on_where_it_was_and_comes_back(stream: Stream) -> None:
    async def scenario() -> None:
        reader = stream.reader(EVENTS)
        written: list[bytes] = []

        def write(frame: bytes) -> None:
            written.append(frame)
            if len(written) == 2:
                reader.step_out()  # as a transport does whose buffer this frame has filled

        assert reader.step_in(write)
        for n in range(5):
            stream.add([figure(n)])
        assert frames(written) == [0, 1]
        assert not reader.step_in(write), "there is something to take before"
        assert read(reader) == ([2, 3, 4], 0)
        assert reader.step_in(write)
        stream.add([figure(5)])
        assert frames(written) == [0, 1, 5]

    run(scenario())


def test_a_reader_that_fails_to_write_holds_up_nobody(stream: Stream) -> None:
    async def scenario() -> None:
        def fail(_: bytes) -> None:
            raise RuntimeError("the handler is closed")

        written: list[bytes] = []
        stream.reader(EVENTS).step_in(fail)
        stream.reader(EVENTS).step_in(written.append)
        stream.add([figure(1)])
        stream.add([figure(2)])
        assert frames(written) == [1, 2]

    run(scenario())


def test_what_waits_for_its_turn_is_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(streams, "MESSAGES_PER_SECOND", 20)
        connections = Connections(10)
        stream = Stream("e", connections)
        written: list[bytes] = []
        with connections.one_more():
            stream.reader(EVENTS).step_in(written.append)
            for n in range(50):
                stream.add([figure(n)])
            assert len(written) <= 2
            while len(frames(written)) < 50:
                await asyncio.sleep(0.01)
            assert frames(written) == list(range(50)) and len(written) <= 4

    run(scenario())


def test_a_flood_drops_the_oldest_and_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(streams, "MESSAGES_PER_SECOND", 10)
        connections = Connections(10)
        stream = Stream("e", connections)
        written: list[bytes] = []
        with connections.one_more():
            stream.reader(EVENTS).step_in(written.append)
            total = MOST_HELD + 1_000
            stream.add(figures(0, 200))
            stream.add(figures(200, 400))
            stream.add(figures(400, 400 + total))
            seen = lost = 0
            while seen + lost < 400 + total:
                await asyncio.sleep(0.01)
                told = texts(written)
                seen = sum(len(message["events"]) for message in told)
                lost = sum(message["dropped"] for message in told)
                assert all(len(message["events"]) <= MOST_EVENTS for message in told)
            assert lost == 1_000
            assert connections.dropped_messages == lost

    run(scenario())


def test_who_lags_further_than_is_kept_is_told_exactly_how_many_it_lost(stream: Stream) -> None:
    async def scenario() -> None:
        reader = stream.reader(OF_S1)
        total = 3 * KEPT
        for start in range(0, total, 100):
            stream.add(figures(start, start + 100))
            stream.add(figures(start, start + 50, session="another"))
            await asyncio.sleep(0)
            while stream.party(OF_S1)._held:
                await asyncio.sleep(0)
        numbers, lost = read(reader)
        assert numbers == list(range(lost, total)) and lost > 0
        assert len(numbers) >= KEPT // 2

    run(scenario())


def test_who_comes_back_gets_what_it_missed(stream: Stream) -> None:
    async def scenario() -> None:
        before = stream.latest
        stream.add(figures(0, 10))
        assert read(stream.reader(EVENTS, before)) == (list(range(10)), 0)
        again = stream.reader(EVENTS, "e-7")
        assert not again.gap and read(again) == ([7, 8, 9], 0)
        stream.add([figure(10)])
        assert read(again) == ([10], 0)
        latest = stream.reader(EVENTS, stream.latest)
        assert not latest.gap and read(latest) == ([], 0)

    run(scenario())


@pytest.mark.parametrize("after", ["another-3", "e-99999", "e-", "e", "", "e-x", "e-²", "e-" + "9" * 30])
def test_a_number_that_is_not_known_is_a_gap(stream: Stream, after: str) -> None:
    async def scenario() -> None:
        stream.add(figures(0, 10))
        reader = stream.reader(EVENTS, after)
        assert reader.gap and read(reader) == ([], 0)

    run(scenario())


def test_a_number_that_is_no_longer_kept_is_a_gap(stream: Stream) -> None:
    async def scenario() -> None:
        stream.add(figures(0, 10))
        early = stream.latest
        stream.add(figures(10, 3 * KEPT))
        assert stream.reader(EVENTS, early).gap

    run(scenario())


def test_long_postings_count_as_several(stream: Stream) -> None:
    long = figure(0)
    long["value"]["job"] = {"description": "x" * 200_000}
    for _ in range(1_000):
        stream.add([long])
    assert len(list(stream.between(0, stream.following))) < 500


def test_what_never_came_to_the_stream_is_told_as_lost(stream: Stream) -> None:
    async def scenario() -> None:
        reader = stream.reader(EVENTS)
        written: list[bytes] = []
        stream.reader(EVENTS).step_in(written.append)
        stream.lose(7)
        stream.add([figure(1)])
        assert texts(written)[0]["dropped"] == 7
        assert read(reader) == ([1], 7)

    run(scenario())


def test_who_wants_something_else_misses_nothing_of_it(stream: Stream) -> None:
    async def scenario() -> None:
        reader = stream.reader(OF_S1)
        stream.add(figures(0, 3))
        assert read(reader) == ([0, 1, 2], 0)
        reader.want(EVENTS)
        stream.add([figure(3, session="another")])
        assert read(reader) == ([3], 0)
        reader.want(interest())
        stream.add([figure(4)])
        assert read(reader) == ([], 0)
        reader.close()
        assert not stream.wanted("events")

    run(scenario())


def test_of_what_stands_for_itself_the_latest_is_told(stream: Stream) -> None:
    async def scenario() -> None:
        lagging = stream.reader(interest(Want("system")))
        written: list[bytes] = []
        stream.reader(interest(Want("system"))).step_in(written.append)
        stream.tell_system(b'{"n":1}')
        stream.tell_system(b'{"n":2}')
        assert [told.text for told in lagging.take()] == [b'{"n":2}'] and lagging.take() == []
        assert [frame[2:] for frame in written] == [b'{"n":1}', b'{"n":2}']

    run(scenario())


def test_the_system_is_told_less_often_while_the_machine_is_busy() -> None:
    interval = Interval(5.0)
    interval.look(cpu_percent=20, late=0.0)
    assert interval.seconds == 5
    for _ in range(10):
        interval.look(cpu_percent=97, late=0.0)
    assert interval.seconds == 5 * MOST_TIMES
    interval.look(cpu_percent=20, late=1.0)
    assert interval.seconds == 5 * MOST_TIMES
    for _ in range(10):
        interval.look(cpu_percent=20, late=0.0)
    assert interval.seconds == 5
