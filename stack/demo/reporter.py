"""Sends events to scrapewatch so that each counts exactly once, whatever happens on the way.

Events are collected for about a second, or until there are a hundred. A batch is encoded once and gets an `Idempotency-Key` of
its own; it is sent until it is answered, always the same bytes under the same key. An answer that got lost therefore costs a
repetition, never an event and never a second count. Batches go one after the other: events arrive in their order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import uuid
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import httpx2

log = logging.getLogger(__name__)

ROUTE = "/api/v1/monitoring/metrics"

# What time, or whoever runs the collector, can mend. Any other refusal says that this batch will never be taken.
PASSING = frozenset({401, 403, 404, 408, 425, 429})


def now() -> str:
    """The time in RFC 3339, UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _showing(api_key: str | Callable[[], str]) -> Callable[[httpx2.Request], httpx2.Request]:
    def show(request: httpx2.Request) -> httpx2.Request:
        request.headers["Authorization"] = f"Bearer {api_key if isinstance(api_key, str) else api_key()}"
        return request

    return show


class Reporter:
    """An async context manager: sends while it is open; at its end it waits up to `patience` seconds for the rest to arrive.

    Args:
        report_url: where scrapewatch is, such as `http://127.0.0.1:8000`.
        api_key: sent as a bearer token, or what makes one for each request; none is needed on loopback until a key was made.
        every: seconds for which events are collected.
        batch_size: events that make a batch full.
        backlog: events that may wait before `room` holds up whoever makes them.
        backoff: seconds that the first retry waits at most; doubled each time up to 10 s.
        patience: seconds that the end waits for.
    """

    def __init__(
        self,
        report_url: str,
        *,
        api_key: str | Callable[[], str] | None = None,
        every: float = 1.0,
        batch_size: int = 100,
        backlog: int = 10_000,
        backoff: float = 0.5,
        patience: float = 30.0,
    ) -> None:
        self.accepted = 0
        """Events that scrapewatch took, repetitions among them."""
        self.rejected = 0
        """Events that it will never take; the reasons are logged."""
        self._url = report_url.rstrip("/") + ROUTE
        self._every, self._batch_size, self._backlog = every, batch_size, backlog
        self._backoff, self._patience = backoff, patience
        self._events: deque[dict[str, Any]] = deque()
        self._in_flight = 0
        self._full = asyncio.Event()
        self._ending = asyncio.Event()
        # The environment's proxy has no business between two programs of one machine.
        self._http = httpx2.AsyncClient(
            trust_env=False,
            timeout=10.0,
            auth=None if api_key is None else _showing(api_key),
        )

    @property
    def waiting(self) -> int:
        """Events not answered for yet."""
        return len(self._events) + self._in_flight

    def emit(self, session_id: str, metric: str, value: dict[str, Any]) -> None:
        """Takes an event, stamped with this moment, to be sent soon."""
        self._events.append({"session_id": session_id, "metric": metric, "value": value, "timestamp": now()})
        if len(self._events) >= self._batch_size:
            self._full.set()

    async def room(self) -> None:
        """Waits while too many events wait: better a crawl that pauses than events that are dropped."""
        while len(self._events) >= self._backlog:  # noqa: ASYNC110 (rare, and a tenth of a second is soon enough)
            await asyncio.sleep(0.1)

    async def __aenter__(self) -> Self:
        self._sending = asyncio.create_task(self._send())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._full.set()
        try:
            await asyncio.wait_for(self._sending, self._patience)
        except TimeoutError:
            log.error("%d events did not reach %s", self.waiting, self._url)
        finally:
            await self._http.aclose()

    async def _send(self) -> None:
        while not (self._ending.is_set() and not self._events):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), self._every)
            batch = [self._events.popleft() for _ in range(min(len(self._events), self._batch_size))]
            if batch:
                self._in_flight = len(batch)
                await self._deliver(batch)
                self._in_flight = 0
            if len(self._events) < self._batch_size and not self._ending.is_set():
                self._full.clear()

    async def _deliver(self, batch: list[dict[str, Any]]) -> None:
        body = json.dumps(batch).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": uuid.uuid4().hex}
        limit = self._backoff
        while True:
            at_least = 0.0
            try:
                response = await self._http.post(self._url, content=body, headers=headers)
            except httpx2.TransportError as error:
                log.warning("%s does not answer (%r); %d events wait", self._url, error, self.waiting)
            else:
                if response.is_success:
                    self._count(len(batch), response)
                    return
                if response.status_code < 500 and response.status_code not in PASSING:
                    self.rejected += len(batch)
                    log.error(
                        "%d events refused with %d: %s", len(batch), response.status_code, response.text
                    )
                    return
                log.warning("%s answers %d; %d events wait", self._url, response.status_code, self.waiting)
                with contextlib.suppress(
                    ValueError
                ):  # Retry-After may also be a date, which is not worth reading here
                    at_least = float(response.headers.get("Retry-After", "0"))
            await asyncio.sleep(at_least + random.uniform(0, limit))
            limit = min(limit * 2, 10.0)

    def _count(self, sent: int, response: httpx2.Response) -> None:
        try:
            rejected = response.json().get("rejected", [])
        except (ValueError, AttributeError):
            rejected = []
        for item in rejected:
            log.error("event refused: %s", item)
        self.rejected += len(rejected)
        self.accepted += sent - len(rejected)
