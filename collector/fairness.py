"""Admission: how much of the collector's memory and time a request may take, so that one tenant's flood is not another's outage.

Two limits. Bodies under way (from before the first byte is read until the events are durable) never hold more bytes than were set; a
tenant never holds more than its share of them. Who does not fit waits a short while before the body is read, those of the tenant that
holds least first. And each tenant may have a rate of events, kept by a bucket that may go into debt: what a request holds is known only
once it was read, so it is charged afterwards, and the next one waits until the debt is paid.

All of it belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from scrapewatch.http import RETRY_AFTER
from scrapewatch.problems import Busy, ConfigurationError, TooMuch
from scrapewatch.settings import Settings

WAIT_SECONDS: Final = 5.0
"""How long a request waits for room."""

BURST_SECONDS: Final = 10.0
"""For how long a tenant that was quiet may send at any rate: so many seconds' worth of events."""

_SMALL: Final = 65_536
"""Bytes up to which a body passes those that wait, where it fits: many of them take no room worth a wait."""


@dataclass(eq=False, slots=True)
class _Place:
    """Who waits for ``size`` bytes."""

    size: int
    granted: asyncio.Future[None]


class Rates:
    """The rate of events of each tenant: ``per_second`` on average over :data:`BURST_SECONDS`."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        # For each tenant the moment at which all it has sent is paid for.
        self._paid_at: dict[str, float] = {}

    def over(self, tenant: str) -> float:
        """Seconds until ``tenant`` may send again; 0 when it may now."""
        return max(self._paid_at.get(tenant, 0.0) - self._clock() - BURST_SECONDS, 0.0)

    def charge(self, tenant: str, events: int) -> None:
        """``tenant`` has sent ``events``."""
        self._paid_at[tenant] = max(self._paid_at.get(tenant, 0.0), self._clock()) + events / self._per_second


class Admission:
    """Room for bodies, and rates, by tenant; counts in ``refused`` whom it turns away, by reason.

    The fast way is :meth:`take`, and :meth:`wait` where that says no; what was taken is given back by :meth:`leave`.

    Raises:
        ConfigurationError: a tenant's share does not hold one body of the largest size.
    """

    def __init__(self, settings: Settings, refused: Counter[str]) -> None:
        self._refused = refused
        self.under_way = 0
        self._most = settings.bodies_max_bytes
        self._most_each = int(settings.bodies_max_bytes * settings.tenant_bodies_share)
        if self._most_each < settings.max_body_bytes:
            raise ConfigurationError(
                f"a body may have {settings.max_body_bytes} bytes, but a tenant's bodies together only {self._most_each}: "
                "set SCRAPEWATCH_BODIES_MAX_BYTES higher, or SCRAPEWATCH_MAX_BODY_BYTES lower"
            )
        self._held: dict[str, int] = {}
        self._waiting: dict[str, deque[_Place]] = {}
        self._rates = Rates(settings.tenant_events_per_second) if settings.tenant_events_per_second else None

    def is_over_rate(self, tenant: str) -> bool:
        """Whether :meth:`check_rate` would not let ``tenant`` send now."""
        return self._rates is not None and self._rates.over(tenant) > 0

    def check_rate(self, tenant: str) -> None:
        """Let ``tenant`` send events now.

        Raises:
            TooMuch: it has sent more than its rate allows.
        """
        if self._rates is not None and (seconds := self._rates.over(tenant)):
            self._refused["tenant-rate"] += 1
            raise TooMuch(
                "this tenant has sent more events than it may in a second; send these again after Retry-After, and fewer a "
                "second from all its scrapers together",
                seconds + random.uniform(*RETRY_AFTER),
            )

    def charge(self, tenant: str, events: int) -> None:
        """``tenant`` has sent ``events``."""
        if self._rates is not None:
            self._rates.charge(tenant, events)

    def needed(self, size: int) -> int:
        """``size`` bytes as they are counted: no more than a tenant may hold at all, or it would wait in vain."""
        return min(size, self._most_each)

    def take(self, tenant: str, size: int) -> bool:
        """Take room for ``size`` bytes; False where there is none now, or others have waited longer."""
        if self._waiting and size > _SMALL:
            return False
        return self._fits(tenant, size)

    async def wait(self, tenant: str, size: int) -> None:
        """Wait until there is room for ``size`` bytes, and take it.

        Raises:
            TooMuch: the tenant itself holds its share, and there are others.
            Busy: there was no room for :data:`WAIT_SECONDS`.
        """
        place = _Place(size, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(tenant, deque()).append(place)
        try:
            await asyncio.wait((place.granted,), timeout=WAIT_SECONDS)
        except asyncio.CancelledError:
            if place.granted.done():
                self.leave(tenant, size)
            else:
                self._give_up(tenant, place)
            raise
        if place.granted.done():
            return
        self._give_up(tenant, place)
        others = self.under_way > self._held.get(tenant, 0) or self._waiting.keys() - {tenant}
        if others and self._held.get(tenant, 0) + size > self._most_each:
            self._refused["tenant-share"] += 1
            raise TooMuch(
                "too many large bodies of this tenant are under way at once; send them one after another, or smaller ones"
            )
        self._refused["busy"] += 1
        raise Busy("too many large bodies are under way at once; send it again after Retry-After")

    def leave(self, tenant: str, size: int) -> None:
        """Give back room for ``size`` bytes."""
        self.under_way -= size
        held = self._held[tenant] - size
        if held:
            self._held[tenant] = held
        else:
            del self._held[tenant]
        if self._waiting:
            self._admit()

    def _fits(self, tenant: str, size: int) -> bool:
        held = self._held.get(tenant, 0) + size
        if held > self._most_each or self.under_way + size > self._most:
            return False
        self._held[tenant] = held
        self.under_way += size
        return True

    def _admit(self) -> None:
        """Let in who fits now: of those who stand first in their tenant's line, the one whose tenant holds least."""
        admitted = True
        while admitted:
            admitted = False
            for tenant in sorted(self._waiting, key=lambda name: self._held.get(name, 0)):
                first = self._waiting[tenant][0]
                if self._fits(tenant, first.size):
                    first.granted.set_result(None)
                    self._drop(tenant, first)
                    admitted = True
                    break

    def _give_up(self, tenant: str, place: _Place) -> None:
        self._drop(tenant, place)
        self._admit()  # who stood behind may be smaller

    def _drop(self, tenant: str, place: _Place) -> None:
        waiting = self._waiting[tenant]
        waiting.remove(place)
        if not waiting:
            del self._waiting[tenant]
