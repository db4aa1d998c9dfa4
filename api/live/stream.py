"""What is told to those who listen: one stream a tenant, whose messages are numbered and of which the newest are kept.

Readers that want the same are a :class:`Party`: what they get is found and encoded once. A reader that takes what it gets is *in step*:
the same bytes are written to all of these in one loop, without a task of theirs. One that does not take it falls out of step, reads
from what the stream keeps at its own pace and in larger pieces, and comes back into step once it has caught up. So there is no
queue for each reader: what all of them may still want is kept once, and who is too slow for that is told how much it lost.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, NamedTuple

import orjson

from api.live.connections import Connections
from api.live.protocol import text_frame
from scrapewatch.events import OWN
from scrapewatch.live import Hub, Message, Slice, weight_of
from scrapewatch.time import to_rfc3339

KEPT: Final = 5_000
"""Messages that a stream keeps for those who lag or come back, long postings counting as several."""

MOST_EVENTS: Final = 500
"""Events in a message."""

MOST_HELD: Final = 2_000
"""Events that wait for their turn to be told to those in step; of more the oldest are dropped."""

MESSAGES_PER_SECOND: Final = 12_500
"""To all readers together: a party waits its share between two messages, and gets more events in the next."""

Numbered = tuple[int, Message]


CHANNELS: Final = ("sessions", "system", "alerts", "events")
"""What may be asked for by name."""

_CHANNEL_OF: Final = {"alert": "alerts", "session": "sessions", "summary": "summary"}


def channel_of(message: Message) -> str:
    """The channel that carries ``message``: what is no event bears a metric that no event has."""
    return _CHANNEL_OF.get(message["metric"], "events")


class Told(NamedTuple):
    """A message as it is told: its ``type``, the number of what it ends with (None: it stands for itself), and all of it as JSON."""

    type: str
    id: str | None
    text: bytes


@dataclass(frozen=True, slots=True)
class Want:
    """What of a ``channel`` is wanted: what is of a session, of a site, and of a metric; None: of any."""

    channel: str
    session_id: str | None = None
    site: str | None = None
    metric: str | None = None

    def takes(self, channel: str, message: Message) -> bool:
        """Whether ``message``, which ``channel`` carries, is wanted."""
        if channel != self.channel:
            return False
        metric = message["metric"]
        return (
            (self.session_id is None or message.get("session_id") == self.session_id)
            and (self.site is None or message["value"].get("site") == self.site)
            # What scrapewatch reports of itself is told to who asks for it by name.
            and (channel != "events" or (metric not in OWN if self.metric is None else metric == self.metric))
        )


@dataclass(frozen=True, slots=True)
class Interest:
    """All that a reader wants."""

    wants: frozenset[Want]

    def takes(self, message: Message) -> bool:
        """Whether ``message`` is wanted."""
        channel = channel_of(message)
        return any(want.takes(channel, message) for want in self.wants)

    def has(self, channel: str) -> bool:
        """Whether anything of ``channel`` is wanted."""
        return any(want.channel == channel for want in self.wants)

    @property
    def sessions(self) -> frozenset[str] | None:
        """The sessions that all messages are of; None where others are wanted, too."""
        found = {want.session_id for want in self.wants if want.channel != "system"}
        return None if None in found else frozenset(session_id for session_id in found if session_id)

    @property
    def session_id(self) -> str | None:
        """The session that all the events are of, where nothing but its events is wanted."""
        if len(self.wants) == 1:
            (want,) = self.wants
            return want.session_id if want.channel == "events" else None
        return None


class Reader:
    """One who listens; :meth:`Stream.reader` makes it, and it is to be closed. Times and tasks are its own: it is told, or woken.

    ``gap`` says that what came right after the number it asked for is not kept any more.
    """

    def __init__(self, party: Party, following: int, *, gap: bool = False) -> None:
        self.gap = gap
        self._news = asyncio.Event()
        self._join(party, following)

    def _join(self, party: Party, following: int) -> None:
        self._party = party
        # What the party holds comes to it, too, even if it knows some of it.
        self._following = min(following, party.told)
        self._counted = party.counted - len(party.wanted(self._following))
        self._system = party.stream.system
        party.readers.add(self)

    @property
    def interest(self) -> Interest:
        """What it wants."""
        return self._party.interest

    def want(self, interest: Interest) -> None:
        """Want something else from now on."""
        self.step_out()
        self._party.leave(self)
        self._join(self._party.stream.party(interest), self._following)

    def take(self) -> list[Told]:
        """What it has not got yet, of up to :data:`MOST_EVENTS` events; none when it has got all."""
        party = self._party
        found: list[Told] = []
        if self._following < party.told:
            found, self._following, self._counted = party.read(self._following, self._counted)
        system = party.stream.system
        if party.wants_system and system is not None and self._system is not system:
            self._system = system
            found = [*found, system]
        return found

    async def news(self) -> None:
        """Wait until there may be something to take, or it fell out of step."""
        await self._news.wait()
        self._news.clear()

    def step_in(self, write: Callable[[bytes], object]) -> bool:
        """Be told by ``write``, which sends a frame, from now on; False where there is something to take before."""
        if self._following < self._party.told:
            return False
        self._news.clear()
        self._party.in_step[self] = write
        return True

    def step_out(self) -> None:
        """Be told no more: ``write`` takes no more for now. What it was given counts as got."""
        party = self._party
        if party.in_step.pop(self, None) is not None:
            self._following, self._counted = party.told, party.counted
            self._system = party.stream.system
        self._news.set()

    def wake(self) -> None:
        """There may be something to take."""
        self._news.set()

    def close(self) -> None:
        """Be told no more for good."""
        self._party.in_step.pop(self, None)
        self._party.leave(self)


class Party:
    """All readers of a stream who want the same.

    They were told all that they want up to the number ``told`` (exclusive): ``counted`` messages of the ``_count`` that there were.
    """

    def __init__(self, stream: Stream, interest: Interest) -> None:
        self.stream = stream
        self.interest = interest
        self.wants_system = interest.has("system")
        self.told = stream.following
        self.counted = 0
        self.readers: set[Reader] = set()
        self.in_step: dict[Reader, Callable[[bytes], object]] = {}
        self._count = 0
        self._held: list[Numbered] = []
        self._lost = 0
        self._due = self._share = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._read: tuple[tuple[int, int, int], tuple[list[Told], int, int]] | None = None

    def wanted(self, following: int) -> list[Numbered]:
        """What its readers want of what the stream keeps from the number ``following`` on and they were told."""
        takes = self.interest.takes
        return [numbered for numbered in self.stream.between(following, self.told) if takes(numbered[1])]

    def offer(self, found: Sequence[Numbered]) -> None:
        """Tell ``found``, now or with what follows soon."""
        self._count += len(found)
        self._held += found
        excess = len(self._held) - MOST_HELD
        if excess > 0:
            self._lost += excess
            del self._held[:excess]
        self._go_on()

    def lose(self, count: int) -> None:
        """Up to ``count`` messages that were wanted never came to the stream."""
        self._count += count
        self._lost += count

    def read(self, following: int, counted: int) -> tuple[list[Told], int, int]:
        """What is told from the number ``following`` on for one who has got ``counted`` messages before, and both as they are then."""
        missing = self.counted - counted
        key = (following, self.told, missing)
        if self._read is None or self._read[0] != key:
            found = self.wanted(following)
            lost = missing - len(found)
            now, later = found[:MOST_EVENTS], found[MOST_EVENTS:]
            until = later[0][0] if later else self.told
            self._read = key, (self._made(now, lost), until, missing - len(later))
            self.stream.count_lost(lost)
        told, until, got = self._read[1]
        return told, until, counted + got

    def tell_system(self, told: Told) -> None:
        """Tell what stands for itself, and takes the place of what was told before."""
        self._write(told)
        self._wake()

    def leave(self, reader: Reader) -> None:
        """Forget ``reader``, and end with the last."""
        self.readers.discard(reader)
        if not self.readers:
            if self._timer is not None:
                self._timer.cancel()
            self.stream.forget(self)

    def _go_on(self) -> None:
        if self._timer is not None or not self._held:
            return
        loop = asyncio.get_running_loop()
        # One message may come before its time: what comes at an even pace is not held up by a little unevenness.
        early = self._due - self._share - loop.time()
        if early > 0:
            self._timer = loop.call_later(early, self._send_later)
        else:
            self._send()

    def _send_later(self) -> None:
        self._timer = None
        self._send()

    def _send(self) -> None:
        self._share = self.stream.share()
        self._due = max(self._due, asyncio.get_running_loop().time()) + self._share
        found, self._held = self._held[:MOST_EVENTS], self._held[MOST_EVENTS:]
        lost, self._lost = self._lost, 0
        # Before it is written: who falls out of step by it has it on the way.
        self.told = self._held[0][0] if self._held else self.stream.following
        self.counted = self._count - len(self._held)
        if self.in_step:
            self.stream.count_lost(lost * len(self.in_step))
            for told in self._made(found, lost):
                self._write(told)
        self._wake()
        self._go_on()

    def _write(self, told: Told) -> None:
        if not self.in_step:
            return
        frame = text_frame(told.text)
        for reader, write in list(self.in_step.items()):
            try:
                write(frame)
            except (RuntimeError, OSError):  # it is gone, as its own task is about to learn
                reader.step_out()

    def _wake(self) -> None:
        if len(self.in_step) < len(self.readers):
            for reader in self.readers:
                if reader not in self.in_step:
                    reader.wake()

    def _made(self, found: Sequence[Numbered], lost: int) -> list[Told]:
        """``found`` as it is told: neighbours of a channel together, with the number of the last of them."""
        made: list[Told] = []
        for channel, group in groupby(found, lambda numbered: channel_of(numbered[1])):
            numbered = list(group)
            number = self.stream.name_of(numbered[-1][0])
            messages = [message for _, message in numbered]
            if channel == "summary":
                made += [Told("events", None, orjson.dumps(message["value"])) for message in messages]
                continue
            told: dict[str, Any] = {"type": channel, "id": number}
            if channel == "events":
                session_id = self.interest.session_id
                if session_id is not None:
                    told["session_id"] = session_id
                told["events"] = [_as_json(message, named=session_id is None) for message in messages]
                told["dropped"] = lost
                lost = 0
            else:
                told[channel] = [message["value"] for message in messages]
            made.append(Told(channel, number, orjson.dumps(told)))
        if lost:
            made.append(Told("dropped", None, orjson.dumps({"type": "dropped", "messages": lost})))
        return made


def _as_json(message: Message, *, named: bool) -> dict[str, Any]:
    """An event as it is told, ``named`` with its session."""
    told = {"metric": message["metric"], "value": message["value"], "time": to_rfc3339(message["time"])}
    if named:
        told["session_id"] = message.get("session_id")
    return told


class Stream:
    """The messages of a tenant, numbered from 1 in each process. Belongs to the event loop's thread.

    ``system`` is the latest message that stands for itself.
    """

    def __init__(self, epoch: str, connections: Connections) -> None:
        self.system: Told | None = None
        self._epoch = epoch
        self._connections = connections
        self._kept: list[Message] = []
        self._first = 1
        self._weight = 0
        self._parties: dict[Interest, Party] = {}
        self._sessions: dict[str, set[Party]] = {}
        self._others: set[Party] = set()

    @property
    def following(self) -> int:
        """The number of the next message."""
        return self._first + len(self._kept)

    def add(self, messages: Sequence[Message]) -> None:
        """Keep ``messages`` and tell them."""
        start = self.following
        self._kept += messages
        self._weight += sum(map(weight_of, messages))
        if self._weight > 2 * KEPT:  # not each time: what is left is moved
            self._forget_oldest()
        offers: dict[Party, list[Numbered]] = {}
        all_of_it = list(enumerate(messages, start))
        if self._sessions:
            for numbered in all_of_it:
                for party in self._sessions.get(numbered[1].get("session_id") or "", ()):
                    offers.setdefault(party, []).append(numbered)
        offers.update(dict.fromkeys(self._others, all_of_it))
        for party, offered in offers.items():
            takes = party.interest.takes
            if found := [numbered for numbered in offered if takes(numbered[1])]:
                party.offer(found)

    def tell_system(self, text: bytes) -> None:
        """Tell the system message ``text``, which takes the place of what was told before."""
        self.system = Told("system", None, text)
        for party in list(self._parties.values()):
            if party.wants_system:
                party.tell_system(self.system)

    def lose(self, count: int) -> None:
        """``count`` messages, nobody knows whose, never came here."""
        for party in self._parties.values():
            party.lose(count)

    def reader(self, interest: Interest, after: str | None = None) -> Reader:
        """A new reader, of what comes now or of what came after the number ``after`` that it was told last."""
        following, gap = self.following, False
        if after is not None:
            epoch, _, number = after.rpartition("-")
            asked = int(number) + 1 if number.isdecimal() and len(number) < 19 else -1
            gap = epoch != self._epoch or not self._first <= asked <= following
            following = following if gap else asked
        return Reader(self.party(interest), following, gap=gap)

    def party(self, interest: Interest) -> Party:
        """Those who want ``interest``."""
        party = self._parties.get(interest)
        if party is None:
            party = self._parties[interest] = Party(self, interest)
            for among in self._homes(party):
                among.add(party)
        return party

    def forget(self, party: Party) -> None:
        """Tell ``party`` no more: nobody is left of it."""
        self._parties.pop(party.interest, None)
        for among in self._homes(party):
            among.discard(party)
        for session_id in party.interest.sessions or ():
            if not self._sessions[session_id]:
                del self._sessions[session_id]

    def _homes(self, party: Party) -> list[set[Party]]:
        """Where ``party`` is found by the messages that it may want."""
        sessions = party.interest.sessions
        if sessions is None:
            return [self._others]
        return [self._sessions.setdefault(session_id, set()) for session_id in sessions]

    def between(self, start: int, stop: int) -> Iterable[Numbered]:
        """What is kept from the number ``start`` (inclusive) to ``stop`` (exclusive)."""
        start = max(start, self._first)
        return enumerate(self._kept[start - self._first : max(stop - self._first, 0)], start)

    def wanted(self, channel: str) -> bool:
        """Whether anybody listens to ``channel``."""
        return any(interest.has(channel) for interest in self._parties)

    @property
    def latest(self) -> str:
        """The number of the latest message, as it is told."""
        return self.name_of(self.following - 1)

    def name_of(self, number: int) -> str:
        """The number as it is told; a number of another process is never taken for one of this."""
        return f"{self._epoch}-{number}"

    def share(self) -> float:
        """Seconds that a party waits between two messages."""
        return self._connections.open / MESSAGES_PER_SECOND

    def count_lost(self, count: int) -> None:
        """Count messages that readers lost."""
        self._connections.dropped_messages += count

    def _forget_oldest(self) -> None:
        gone = 0
        while self._weight > KEPT and gone < len(self._kept):
            self._weight -= weight_of(self._kept[gone])
            gone += 1
        del self._kept[:gone]
        self._first += gone


class Streams:
    """The streams of all tenants, fed by ``hub``."""

    def __init__(self, hub: Hub, connections: Connections) -> None:
        self._hub = hub
        self._connections = connections
        self._epoch = secrets.token_hex(4)
        self._streams: dict[str, Stream] = {}

    def of(self, tenant: str) -> Stream:
        """The stream of ``tenant``."""
        stream = self._streams.get(tenant)
        if stream is None:
            stream = self._streams[tenant] = Stream(self._epoch, self._connections)
        return stream

    def items(self) -> list[tuple[str, Stream]]:
        """The tenants that have a stream, with it."""
        return list(self._streams.items())

    async def run(self) -> None:
        """Tell what the hub publishes until cancelled."""
        subscription = self._hub.subscribe(limit=20_000)
        lost = 0

        def take(found: Slice) -> bool:
            nonlocal lost
            if subscription.dropped != lost:
                for stream in self._streams.values():
                    stream.lose(subscription.dropped - lost)
                lost = subscription.dropped
            messages = found.messages
            tenants = {message["tenant"] for message in messages}
            for tenant in tenants:
                own = [message for message in messages if message["tenant"] == tenant]
                self.of(tenant).add(own if len(tenants) > 1 else messages)
            return True

        subscription.at_once = take
        try:
            while await subscription.wait():
                for found in subscription.take(1_000):
                    take(found)
                await asyncio.sleep(0)
        finally:
            subscription.close()
