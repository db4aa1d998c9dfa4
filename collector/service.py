"""The collector as one thing: accepts events, and runs what brings them to the stores."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, overload

import msgspec
import structlog

from collector import external
from collector.aside import Command, ForwardingAside
from collector.cardinality import TagValues
from collector.contributions import Announced
from collector.decode import IN_ONE_GO, as_message
from collector.forwarding import Forwarding, ForwardingHere, Plan
from collector.ingest import Rejection, Sifted, sift, sift_items
from collector.observed import Observed
from collector.outbox import Outbox
from collector.periodic import Periodic
from collector.reporting import EVERY, Reporter
from collector.sampler import Sampler
from collector.spool import Append, Kept, Spool
from collector.spool_view import SpoolStatus
from collector.wishes import EVERY as WISHES_EVERY
from collector.wishes import Wishes
from scrapewatch.live import Hub, Message
from scrapewatch.measurements import Tier, retention
from scrapewatch.ports import DEFAULT_TENANT, RecordStore, SeriesStore
from scrapewatch.problems import InvalidInput, SpoolFull, StoreUnavailable, Unsupported
from scrapewatch.settings import Settings
from scrapewatch.time import now_ns

log = structlog.get_logger(__name__)

_WATCH_EVERY: Final = 5.0
_HOUSE_EVERY: Final = 600.0

_COME_BACK: Final = 30.0
"""Seconds in which a scraper that was told to try again later has done so."""


class Receipt(msgspec.Struct, frozen=True):
    """What became of a body: how many of its events are durable now, how many were known, and which items are no events.

    ``wishes`` (session → pause, resume or cancel) are for the sessions of its events.
    """

    accepted: int
    duplicates: int
    rejected: Sequence[Rejection]
    wishes: Mapping[str, str] = {}


class LinesReceipt(msgspec.Struct, frozen=True):
    """What became of a body of line protocol: how many of its lines are durable now, and which were not accepted."""

    accepted: int
    rejected: Sequence[external.BadLine]


class _Waiting(msgspec.Struct, frozen=True):
    """A request that waits for its events to be durable: whom to ``tell``, and whether they are live."""

    tell: Callable[[Kept | Exception], None]
    tenant: str
    live: bool


class Published(Sequence[Message]):
    """The events of one commit as the hub takes them: a message is made when somebody comes to it."""

    def __init__(self, kept: Sequence[tuple[str, Kept]]) -> None:
        self._kept = kept

    def __len__(self) -> int:
        return sum(len(kept.events) for _, kept in self._kept)

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | Sequence[Message]:
        return list(self)[index]

    def __iter__(self) -> Iterator[Message]:
        for tenant, kept in self._kept:
            for at, event in zip(kept.times, kept.events, strict=True):
                yield as_message(tenant, event, at)


class Collector:
    """Accepts events and brings them to ``series`` and ``records``; publishes them to ``hub`` once durable.

    With ``aside`` a process of its own brings them there, started by that command.

    Raises:
        ConfigurationError: another process holds the spool, or no collector number is free.
        StoreUnavailable: the records do not answer.
    """

    def __init__(
        self,
        settings: Settings,
        series: SeriesStore,
        records: RecordStore,
        hub: Hub,
        *,
        aside: Command | None = None,
    ) -> None:
        self._settings = settings
        self._series = series
        self._records = records
        self._hub = hub
        self._loop: asyncio.AbstractEventLoop | None = None
        self.observed = Observed()
        self._handing_in: list[tuple[Append, _Waiting]] = []
        self._values: dict[str, TagValues] = {}
        self._names: dict[str, external.Names] = {}
        self._own_values = TagValues(most_values=settings.max_tag_values, most_sessions=settings.max_sessions)
        self.spool = Spool(
            settings.data_dir / "spool",
            max_bytes=settings.spool_max_bytes,
            min_free_bytes=settings.spool_min_free_bytes,
            commit=self.observed.commit,
        )
        self.spool.deliver = self._deliver
        try:
            self.number = records.lease_collector(self.spool.id)
        except BaseException:
            self.spool.close()
            raise
        plan = Plan(
            str(self.spool.folder),
            self.spool.id,
            self.number,
            settings.flush_interval,
            settings.metrics_retention_days,
        )
        self.forwarding: Forwarding = (
            ForwardingHere(
                Outbox(self.spool.folder, self.spool),
                series,
                records,
                plan,
                observed=self.observed,
                announced=self._announced,
            )
            if aside is None
            else ForwardingAside(aside, plan, self.spool, observed=self.observed, announced=self._announced)
        )
        self.spool.arrived = self.forwarding.arrived
        self._watching = Periodic("watch", _WATCH_EVERY, self._watch)
        self.wishes = Wishes(records.wishes)
        self._periodic = [
            self._watching,
            Periodic("house", _HOUSE_EVERY, self._keep_house),
            Periodic("wishes", WISHES_EVERY, self.wishes.refresh),
        ]
        self._started = time.monotonic()
        self.sampler: Sampler | None = None
        if settings.sampler:
            self.sampler = Sampler(
                longest=settings.sample_interval,
                keep=settings.data_dir / "watched.json",
                observed=self.observed,
            )
            self._reporter = Reporter(
                self.observed,
                collector_no=self.number,
                host=self.sampler.host,
                status=self.status,
                dropped=lambda: self.live_dropped,
                send=self.report,
            )
            self._periodic += [
                Periodic("sample", self.sampler.wait, self._sample),
                Periodic("report", EVERY, self._reporter.report),
            ]

    def start(self) -> None:
        """Begin; called on the event loop's thread, where the hub lives."""
        self._loop = asyncio.get_running_loop()
        self._started = time.monotonic()
        self.forwarding.start()
        for periodic in self._periodic:
            periodic.start()

    def stop(self, *, drain_for: float = 5.0) -> None:
        """End: what is spooled is brought to the stores for up to ``drain_for`` seconds, the rest waits in the spool."""
        stopping = [threading.Thread(target=periodic.stop) for periodic in self._periodic]
        for thread in stopping:
            thread.start()
        self.forwarding.stop(drain_for=drain_for)
        for thread in stopping:
            thread.join()
        self.spool.close()

    # --- accepting

    async def accept(
        self, tenant: str, body: bytes, *, lines: bool = False, key: str | None = None, backfill: bool = False
    ) -> Receipt:
        """Make the valid events of ``body`` durable, and say why its other items are none.

        ``body`` is plain (unpacked) JSON: one event or a list; with ``lines`` NDJSON: one event a line.

        Raises:
            MalformedBody: it is not JSON.
            TooManyEvents: it has more events than a request may have.
            Conflict: ``key`` was used with another body.
            SpoolFull: there is no room.
        """
        began = time.perf_counter()
        received_at = now_ns()
        look = partial(
            self._look, tenant, body, received_at=received_at, lines=lines, key=key, backfill=backfill
        )
        sifted, digest = await asyncio.to_thread(look) if len(body) > IN_ONE_GO else look()
        self._count(sifted.rejected)
        if not sifted.events:
            return Receipt(0, 0, sifted.rejected)
        self._need_room(tenant)
        source = key if backfill else None
        if source is not None and (
            # The spool first: it can tell another body under the same key.
            await asyncio.wrap_future(self.spool.knows(tenant, source, digest))
            or await self._source_known(tenant, source)
        ):
            return Receipt(0, len(sifted.events), sifted.rejected)
        kept = await self._durable(
            Append(tenant, sifted.times, sifted.events, key, digest, source, received_at), live=not backfill
        )
        return self._receipt(tenant, kept, sifted, began)

    def accept_soon(
        self,
        tenant: str,
        body: bytes,
        tell: Callable[[Receipt | Exception], None],
        *,
        lines: bool = False,
        key: str | None = None,
    ) -> None:
        """The same without a task, for a live body of up to :data:`~collector.decode.IN_ONE_GO` bytes.

        ``tell`` hears what became of it on the loop's thread: a receipt, or what :meth:`accept` raises once it waits.

        Raises:
            MalformedBody, TooManyEvents, SpoolFull: as :meth:`accept`.
        """
        began = time.perf_counter()
        received_at = now_ns()
        sifted, digest = self._look(tenant, body, received_at=received_at, lines=lines, key=key)
        self._count(sifted.rejected)
        if not sifted.events:
            tell(Receipt(0, 0, sifted.rejected))
            return
        self._need_room(tenant)

        def durable(outcome: Kept | Exception) -> None:
            tell(outcome if isinstance(outcome, Exception) else self._receipt(tenant, outcome, sifted, began))

        self._hand_in(
            Append(tenant, sifted.times, sifted.events, key, digest, None, received_at),
            _Waiting(durable, tenant, live=True),
        )

    async def accept_lines(self, tenant: str, body: bytes, *, factor: int = 1) -> LinesReceipt:
        """Make the lines of ``body``, plain line protocol, durable, and say why others cannot be taken.

        ``factor`` is the nanoseconds of the unit that their times are in.

        Raises:
            Unsupported: the store of points takes none.
            MalformedBody: it is not UTF-8.
            TooManyEvents: it has more lines than a request may have events.
            SpoolFull: there is no room.
        """
        if not self._series.takes_lines:
            raise Unsupported(
                "the embedded store keeps scrapewatch's own measurements only: set SCRAPEWATCH_INFLUX_URL to have line protocol kept, "
                "or let Telegraf write elsewhere"
            )
        began = time.perf_counter()
        received_at = now_ns()
        names = self._names.get(tenant)
        if names is None:
            names = self._names[tenant] = external.Names(
                most_series=self._settings.max_external_series, most_fields=self._settings.max_tag_values
            )
        look = partial(
            external.read,
            body,
            names,
            received_at=received_at,
            oldest=received_at - retention(Tier.EXTERNAL, self._settings.metrics_retention_days),
            factor=factor,
            most=self._settings.max_events,
        )
        lines = await asyncio.to_thread(look) if len(body) > IN_ONE_GO else look()
        self.observed.rejected["line"] += len(lines.rejected)
        if lines.accepted:
            self._need_room(tenant)
            await self._durable(
                Append(tenant, (), lines.accepted, None, b"", None, received_at, lines=True), live=False
            )
            self.observed.ack.add(time.perf_counter() - began)
        return LinesReceipt(len(lines.accepted), lines.rejected)

    async def _durable(self, request: Append, *, live: bool) -> Kept:
        """What became of ``request``, once it is durable."""
        durable: asyncio.Future[Kept] = asyncio.get_running_loop().create_future()

        def tell(outcome: Kept | Exception) -> None:
            if durable.done():
                return
            if isinstance(outcome, Exception):
                durable.set_exception(outcome)
            else:
                durable.set_result(outcome)

        self._hand_in(request, _Waiting(tell, request.tenant, live=live))
        return await durable

    def _look(
        self,
        tenant: str,
        body: bytes,
        *,
        received_at: int,
        lines: bool,
        key: str | None,
        backfill: bool = False,
    ) -> tuple[Sifted, bytes]:
        """What is in ``body``, and its digest where there is a ``key``."""
        sifted = sift(
            body,
            self._values_of(tenant),
            received_at=received_at,
            backfill=backfill,
            lines=lines,
            most=self._settings.max_events,
        )
        return sifted, b"" if key is None else _digest(body, backfill=backfill)

    def _count(self, rejected: Sequence[Rejection]) -> None:
        for rejection in rejected:
            self.observed.rejected[rejection.field.removeprefix("value.").split(".")[0] or "body"] += 1

    def _need_room(self, tenant: str) -> None:
        full = self.spool.room(tenant)
        if full is not None:
            raise SpoolFull(f"{full}; send it again later")

    def _hand_in(self, request: Append, waiting: _Waiting) -> None:
        """Hand ``request`` to the spool with all others of this turn of the loop: they share a commit."""
        if not self._handing_in:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._handing_in.append((request, waiting))

    def _hand_over(self) -> None:
        handed, self._handing_in = self._handing_in, []
        self.spool.hand_in(handed)

    def _receipt(self, tenant: str, kept: Kept, sifted: Sifted, began: float) -> Receipt:
        self.observed.duplicates += kept.duplicates
        self.observed.ack.add(time.perf_counter() - began)
        wishes = self.wishes.heed(tenant, sifted.events)
        return Receipt(kept.accepted, kept.duplicates, sifted.rejected, wishes)

    def report(self, items: Sequence[Mapping[str, Any]], *, tenant: str = DEFAULT_TENANT) -> bool:
        """Take events of scrapewatch's own (samples, checks), from any thread; waits until they are durable.

        What does not fit in a full spool is left out, and False returned: these can be measured again.
        """
        received_at = now_ns()
        sifted = sift_items(items, self._own_values, received_at=received_at)
        if sifted.rejected:
            raise InvalidInput(f"{sifted.rejected[0].field} {sifted.rejected[0].reason}")
        if self.spool.room() is not None:
            return False
        try:
            kept = self.spool.append(
                tenant,
                sifted.times,
                sifted.events,
                key=None,
                body=b"",
                source=None,
                received_at=received_at,
            ).result()
        except SpoolFull:
            return False
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._hub.publish, Published([(tenant, kept)]))
        return True

    def _values_of(self, tenant: str) -> TagValues:
        values = self._values.get(tenant)
        if values is None:
            values = self._values[tenant] = TagValues(
                most_values=self._settings.max_tag_values, most_sessions=self._settings.max_sessions
            )
        return values

    def _deliver(self, outcomes: list[tuple[_Waiting, Kept | Exception]]) -> None:
        """On the spool's thread: what one commit made durable goes to the loop's thread in one step."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        with contextlib.suppress(RuntimeError):  # closed in this very moment: nobody waits any more
            loop.call_soon_threadsafe(self._tell, outcomes)

    def _tell(self, outcomes: list[tuple[_Waiting, Kept | Exception]]) -> None:
        live: list[tuple[str, Kept]] = []
        for waiting, outcome in outcomes:
            if waiting.live and not isinstance(outcome, Exception) and outcome.events:
                live.append((waiting.tenant, outcome))
            waiting.tell(outcome)
        if live:
            self._hub.publish(Published(live))

    async def _source_known(self, tenant: str, source: str) -> bool:
        try:
            return await asyncio.to_thread(self._records.source_applied, tenant, source)
        except StoreUnavailable:
            # The spool knows its own keys, and the records skip what they have: accepting it is safe.
            return False

    # --- at work

    @property
    def live_dropped(self) -> int:
        """Live messages dropped before they reached a subscriber's queue."""
        return self._hub.dropped

    def _sample(self) -> None:
        if self.sampler is not None:
            for tenant, items in self.sampler.events().items():
                self.report(items, tenant=tenant)

    def _announced(self, found: Sequence[Announced]) -> None:
        """On the folding thread: sessions said which process they are, or finished."""
        if self.sampler is not None:
            for each in found:
                if each.pid is None:
                    self.sampler.forget(each.tenant, each.session_id)
                else:
                    self.sampler.watch(each.tenant, each.session_id, each.pid, each.host, since=each.time)

    def _watch(self) -> None:
        # Who cannot be heard is not silent: after a start scrapers come back first, and what waits here is brought to the records.
        patience = min(self._settings.stall_after, _COME_BACK)
        if time.monotonic() - self._started < patience or self.spool.status().unrecorded_age > patience:
            return
        changed = self._records.watch_sessions(
            now_ns(), stall_after=self._settings.stall_after, abandon_after=self._settings.abandon_after
        )
        for session_id in changed:
            log.warning("a session fell silent", session_id=session_id)

    def _keep_house(self) -> None:
        self.spool.forget_keys(now_ns())

    @property
    def held(self) -> Mapping[str, str]:
        """Whose points wait because the store refuses that tenant's token or bucket, and what it says; others go on."""
        return self.forwarding.state().held

    def status(self) -> tuple[SpoolStatus, list[str]]:
        """Figures of the spool, and what is wrong (nothing: ready)."""
        problems: list[str] = []
        full = self.spool.room()
        if full is not None:
            problems.append(full)
        problems += self.forwarding.state().problems
        if self._watching.problem is not None:
            problems.append(f"watch of sessions: {self._watching.problem}")
        return self.spool.status(), problems


def _digest(body: bytes, *, backfill: bool) -> bytes:
    digest = hashlib.sha256(body)
    digest.update(b"\1" if backfill else b"\0")
    return digest.digest()
