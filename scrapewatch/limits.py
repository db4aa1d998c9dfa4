"""How often who may ask the API: requests a minute by key, by tenant and by address.

Counted in this process' memory, or in Redis where there is one, so that several processes count together; while Redis does not answer,
each counts by itself. Events are not counted here: how many of them a tenant may send is the collector's business.

Needs the extra ``server``.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage, Storage

from scrapewatch.access import LOCAL, Identity
from scrapewatch.addresses import network_of
from scrapewatch.problems import RateLimited
from scrapewatch.settings import Settings

REDIS_PATIENCE: Final = 0.25
"""Seconds that a request waits for Redis; then it is counted in memory, and Redis is left alone for :data:`REDIS_PAUSE`."""

REDIS_PAUSE: Final = 10.0

_log = structlog.get_logger("scrapewatch.access")


@dataclass(frozen=True, slots=True)
class Window:
    """A minute of requests: how many there may be, how many are left, and the seconds until the next minute begins."""

    limit: int
    left: int
    reset: int
    open: bool

    def headers(self) -> dict[str, str]:
        """The same as headers, of https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.left),
            "RateLimit-Reset": str(self.reset),
            "RateLimit-Policy": f"{self.limit};w=60",
        }

    def refusal(self) -> RateLimited:
        """What who asked too often is told."""
        return RateLimited(
            f"more than {self.limit} requests came within a minute; ask again after Retry-After", self.reset
        )


class Limits:
    """The limits of the settings; each of them may be 0, which is none."""

    def __init__(self, settings: Settings) -> None:
        self._of_key = _item(settings.key_requests_per_minute)
        self._of_tenant = _item(settings.tenant_requests_per_minute)
        self._of_address = _item(settings.address_requests_per_minute)
        self._memory: Storage = MemoryStorage()
        self._redis: Storage | None = None
        self._connections: Any = None
        self._redis_url = None if settings.redis_url is None else settings.redis_url.get_secret_value()
        self._redis_again = float("-inf")

    async def of(self, identity: Identity | None, scope: Mapping[str, Any]) -> Window | None:
        """Count a request of ``identity`` (None: nobody that is known); the window that it leaves least room in, None without a limit.

        The local administrator is not counted.
        """
        if identity is LOCAL:
            return None
        counted: list[tuple[RateLimitItemPerMinute, str]] = []
        if self._of_address is not None and scope.get("client") is not None:
            counted.append((self._of_address, f"address/{network_of(scope['client'][0])}"))
        if identity is not None:
            if self._of_key is not None:
                counted.append((self._of_key, f"key/{identity.tenant}/{identity.name}"))
            if self._of_tenant is not None:
                counted.append((self._of_tenant, f"tenant/{identity.tenant}"))
        if not counted:
            return None
        windows = await self._count(counted)
        return min(windows, key=lambda window: (window.open, window.left))

    async def _count(self, counted: list[tuple[RateLimitItemPerMinute, str]]) -> list[Window]:
        now = time.monotonic()
        if self._redis_url is not None and now >= self._redis_again:
            try:
                if self._redis is None:
                    self._redis = self._in_redis(self._redis_url)
                async with asyncio.timeout(REDIS_PATIENCE):
                    return await _hit(self._redis, counted)
            except Exception as error:
                # Whatever is wrong with Redis: that nobody can ask any more would be worse than a limit counted by process.
                self._redis_again = now + REDIS_PAUSE
                _log.warning("requests are counted by this process alone", error=type(error).__name__)
        return await _hit(self._memory, counted)

    def _in_redis(self, url: str) -> Storage:
        # Of our own, because the storage closes none.
        from redis.asyncio import ConnectionPool

        self._connections = ConnectionPool.from_url(url)
        return RedisStorage(
            f"async+{url}",
            implementation="redispy",
            key_prefix="scrapewatch-limits",
            connection_pool=self._connections,
        )

    async def close(self) -> None:
        """Close the connections to Redis; whoever asks after that gets new ones."""
        connections, self._connections, self._redis = self._connections, None, None
        if connections is not None:
            await connections.aclose()


async def _hit(storage: Storage, counted: list[tuple[RateLimitItemPerMinute, str]]) -> list[Window]:
    async def one(item: RateLimitItemPerMinute, name: str) -> Window:
        key = item.key_for(name)
        count = await storage.incr(key, item.get_expiry())
        ends = await storage.get_expiry(key)
        left = max(item.amount - count, 0)
        return Window(item.amount, left, max(math.ceil(ends - time.time()), 1), count <= item.amount)

    if len(counted) == 1:
        return [await one(*counted[0])]
    return list(await asyncio.gather(*(one(item, name) for item, name in counted)))


def _item(per_minute: int) -> RateLimitItemPerMinute | None:
    return RateLimitItemPerMinute(per_minute) if per_minute else None
