"""The events that every path is measured with: pages and postings of a crawl, on average about 258 bytes of JSON each.

Defined once, and told in two languages: as the JSON that scrapers send, and as the line protocol that a client of InfluxDB would write
for the same event (a point an event). Sessions take turns within a request, which is harder to fold than a request of one session.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

SITES: Final = ("indeed", "linkedin", "glassdoor")

STAMP: Final = b"0000-00-00T00:00:00.000000Z"
"""Stands in templates where the time of sending comes."""


class Event(NamedTuple):
    """One event. ``time`` in microseconds since 1970, unlike that of any other event of a run; a posting has no ``status``."""

    session: int
    site: str
    time: int
    status: int
    number: int


def make(count: int, sessions: int, *, start: int, spread: float) -> Iterator[Event]:
    """``count`` events of ``sessions`` in turn, from ``start`` (µs since 1970) on over ``spread`` seconds."""
    step = step_of(count, spread)
    for k in range(count):
        turn = k // sessions
        page = (k + turn // 3) % 2
        status = 0 if not page else 200 if k % 37 else 404
        yield Event(k % sessions, SITES[(k + turn) % 3], start + k * step, status, k)


def step_of(count: int, spread: float) -> int:
    """Microseconds between two of ``count`` events over ``spread`` seconds."""
    return max(int(spread * 1e6 / count), 1)


def _moments() -> Callable[[int], str]:
    """RFC 3339 of microseconds since 1970: the text of a second is made once."""
    second, text = -1, ""

    def moment(us: int) -> str:
        nonlocal second, text
        whole, rest = divmod(us, 1_000_000)
        if whole != second:
            second, text = whole, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        return f"{text}.{rest:06d}Z"

    return moment


def as_json(events: Iterator[Event]) -> Iterator[str]:
    """Each event as scrapers send it."""
    moment = _moments()
    for session, site, at, status, k in events:
        yield _json(session, site, moment(at), status, k)


def _json(session: int, site: str, moment: str, status: int, k: int) -> str:
    if status:
        return (
            f'{{"session_id":"bench-{session:04d}","metric":"page_processed","value":{{"site":"{site}",'
            f'"url":"https://www.{site}.example/jobs/search?q=senior+python+developer&l=Berlin%2C+Germany'
            f'&fromage=7&sort=date&radius=25&lang=en&start={k % 1000}",'
            f'"duration":0.{100 + k % 900},"status":{status},"bytes":{40_000 + k % 50_000},"blocked":false}},'
            f'"timestamp":"{moment}"}}'
        )
    return (
        f'{{"session_id":"bench-{session:04d}","metric":"job_scraped","value":{{"site":"{site}","count":1,"saved":1,'
        f'"duplicate":0,"dropped":0,"invalid":0,"attempt":1}},"timestamp":"{moment}"}}'
    )


def as_lines(events: Iterator[Event]) -> Iterator[str]:
    """Each event as a line of its own, with the tags and numbers that a dashboard asks for."""
    for session, site, at, status, k in events:
        if status:
            yield (
                f"page_processed,session_id=bench-{session:04d},site={site} "
                f"duration=0.{100 + k % 900},status={status}i,bytes={40_000 + k % 50_000}i {at}000"
            )
        else:
            yield f"job_scraped,session_id=bench-{session:04d},site={site} count=1i,saved=1i {at}000"


def json_bodies(events: Iterator[Event], batch: int) -> Iterator[bytes]:
    """Bodies of ``batch`` events: JSON lists."""
    for part in _parts(as_json(events), batch):
        yield f"[{','.join(part)}]".encode()


def line_bodies(events: Iterator[Event], batch: int) -> Iterator[bytes]:
    """Bodies of ``batch`` lines."""
    for part in _parts(as_lines(events), batch):
        yield "\n".join(part).encode()


def templates(batch: int, sessions: int, requests: int) -> list[bytes]:
    """Bodies with :data:`STAMP` for the time, for loads that are too long to be prepared whole."""
    stamp = STAMP.decode()
    texts = (
        _json(e.session, e.site, stamp, e.status, e.number)
        for e in make(batch * requests, sessions, start=0, spread=0)
    )
    return [f"[{','.join(part)}]".encode() for part in _parts(texts, batch)]


def _parts(texts: Iterator[str], size: int) -> Iterator[list[str]]:
    part: list[str] = []
    for text in texts:
        part.append(text)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
