"""Bodies of requests: admitted before their first byte is read, unpacked, never more than fits in memory; and how they are refused."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive

from collector.body import BodyTooLarge, UnsupportedBody, encoding_of, most_unpacked, unpack
from collector.fairness import Admission
from collector.ingest import MalformedBody, TooManyEvents
from collector.observed import Observed
from scrapewatch.http import kind_of, problem, problem_of
from scrapewatch.problems import Busy, InvalidInput, ScrapewatchError, TooMuch
from scrapewatch.settings import Settings

_UNKNOWN: Final = 65_536  # room taken at a time for a body that does not say its size
_LARGE: Final = 8_192  # bytes from which an encoded body is unpacked in a thread


_REFUSALS: Final[Mapping[type[ScrapewatchError], tuple[int, str, str]]] = {
    UnsupportedBody: (415, "unsupported-body", "This body is not taken"),
    BodyTooLarge: (413, "too-large", "The body is too large"),
    TooManyEvents: (413, "too-many-events", "Too many events"),
    MalformedBody: (400, "not-json", "The body is not JSON"),
}
"""What is wrong with a body → status, last part of the problem's type, title."""


def refusal_of(error: ScrapewatchError, refused: Counter[str]) -> Response:
    """The answer to a request that ``error`` turns away; counted in ``refused``, unless who raised it has done so."""
    if type(error) in _REFUSALS:
        status, kind, title = _REFUSALS[type(error)]
        refused[kind] += 1
        return problem(status, title, str(error), kind=kind)
    response = problem_of(error)
    if not isinstance(error, (Busy, TooMuch)):  # counted by who refused them
        refused[kind_of(error)] += 1
    return response


class Bodies:
    """Reads the bodies of requests with the room that ``admission`` gives; what is turned away is counted in ``observed``."""

    def __init__(self, settings: Settings, observed: Observed, admission: Admission) -> None:
        self._most = settings.max_body_bytes
        self._observed = observed
        self._admission = admission

    @asynccontextmanager
    async def read(
        self, headers: Mapping[bytes, bytes], receive: Receive, tenant: str
    ) -> AsyncIterator[bytes]:
        """The body of a request of ``tenant``, unpacked; its room is kept as long as the block lasts.

        Raises:
            UnsupportedBody: its encoding is not taken.
            BodyTooLarge: it is larger than allowed.
            MalformedBody: it is not in the encoding that it says.
            TooMuch, Busy: there is no room for it.
            ClientDisconnect: the client left before it was there.
        """
        encoding = encoding_of(headers.get(b"content-encoding", b""))
        declared = headers.get(b"content-length", b"")
        size = int(declared) if declared.isdigit() else min(_UNKNOWN, self._most)
        if size > self._most:
            raise self._too_large()
        admission = self._admission
        admission.check_rate(tenant)
        room = admission.needed(size + most_unpacked(size, encoding, self._most) if encoding else size)
        # Before the first byte is read: what waits here is with the client, not in memory, and its time does not run.
        if not admission.take(tenant, room):
            await admission.wait(tenant, room)
        try:
            message = await receive()
            body: bytes = message.get("body", b"")
            if message.get("more_body", False) or len(body) > room or message["type"] != "http.request":
                parts: list[bytes] = []
                size = 0
                while True:
                    if message["type"] != "http.request":
                        self._observed.refused["gone"] += 1
                        raise ClientDisconnect
                    part = message.get("body", b"")
                    size += len(part)
                    if size > self._most:
                        raise self._too_large()
                    if size > room:
                        more = min(max(size - room, _UNKNOWN), self._most - room)
                        if not admission.take(tenant, more):
                            await admission.wait(tenant, more)
                        room += more
                    parts.append(part)
                    if not message.get("more_body", False):
                        break
                    message = await receive()
                body = b"".join(parts)
                parts.clear()
            if encoding:
                needed = admission.needed(len(body) + most_unpacked(len(body), encoding, self._most))
                if needed > room:
                    if not admission.take(tenant, needed - room):
                        await admission.wait(tenant, needed - room)
                    room = needed
                if len(body) < _LARGE:
                    body = unpack(body, encoding, self._most)
                else:
                    body = await asyncio.to_thread(unpack, body, encoding, self._most)
                if len(body) < room:
                    admission.leave(tenant, room - len(body))
                    room = len(body)
            yield body
        except InvalidInput:
            admission.charge(tenant, 1)  # it took our time, too
            raise
        finally:
            admission.leave(tenant, room)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"a body may have {self._most:,} bytes; send fewer events at once")
