"""What clients sent and what was acknowledged, to be compared with what the stores hold.

Each count is random and large, so that sums agree only where every event counts exactly once: one lost and one counted twice do not
make up for each other.
"""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

Counts = Counter[tuple[str, str, str]]
"""(``jobs``, ``pages`` or ``errors``; session; site) → how many."""

SITES = ("indeed", "linkedin", "glassdoor")
MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class Request:
    """A request to be sent until it is acknowledged: the same ``body`` under the same ``key`` each time.

    ``events`` of its items are good, ``bad`` are none; ``fresh`` of the good ones are no duplicates, and ``counts`` is what those count.
    """

    key: str
    body: bytes
    events: int
    bad: int
    fresh: int
    counts: Counts


def event(
    metric: str, session: str, site: str, count: int, *, age: float | None = None, event_id: str | None = None
) -> dict[str, Any]:
    """An event that counts ``count``; ``age`` (s) is how long ago it says it happened."""
    found: dict[str, Any] = {
        "session_id": session,
        "metric": metric,
        "value": {"site": site, "count": count},
    }
    if age is not None:
        found["timestamp"] = (datetime.now(UTC) - timedelta(seconds=age)).isoformat()
    if event_id is not None:
        found["event_id"] = event_id
    return found


_METRICS = {"job_scraped": "jobs", "page_processed": "pages", "error_occurred": "errors"}

BAD: tuple[Any, ...] = (
    {"session_id": "bad", "metric": "job_scraped", "value": {"site": "indeed", "count": -1}},
    {"session_id": "bad", "metric": "no_such_metric", "value": {}},
    {"session_id": "bad", "metric": "job_scraped", "value": {"count": 1}},
    17,
)
"""Items that are no events."""


def counted(events: Iterable[dict[str, Any]]) -> Counts:
    """What ``events`` count."""
    found: Counts = Counter()
    for item in events:
        value = item["value"]
        found[(_METRICS[item["metric"]], item["session_id"], value["site"])] += value["count"]
    return found


def request(events: Sequence[dict[str, Any]], *, bad: Sequence[Any] = (), key: str | None = None) -> Request:
    """A request of ``events`` and of ``bad`` items behind them; a key is made where none is given."""
    body = json.dumps([*events, *bad]).encode()
    return Request(key or uuid.uuid4().hex, body, len(events), len(bad), len(events), counted(events))


class Writer:
    """Makes requests as a fleet of scrapers does: fresh and late events, a few items that are none."""

    def __init__(self, chance: random.Random, name: str = "", *, sessions: int = 5) -> None:
        self._chance = chance
        self._sessions = [f"s{name}-{k}" for k in range(sessions)]

    def events(self, count: int) -> list[dict[str, Any]]:
        """So many events."""
        chance = self._chance
        return [
            event(
                chance.choice(tuple(_METRICS)),
                chance.choice(self._sessions),
                chance.choice(SITES),
                chance.randint(1, MOST),
                age=chance.choice((None, None, 3.0, 90.0, 6 * 86_400.0)),
                event_id=chance.choice((None, uuid.UUID(int=chance.getrandbits(128)).hex)),
            )
            for _ in range(count)
        ]

    def request(self, most: int = 30) -> Request:
        """A request of up to ``most`` events."""
        chance = self._chance
        bad = chance.choices(BAD, k=chance.choice((0, 0, 0, 1, 2)))
        key = uuid.UUID(int=chance.getrandbits(128)).hex
        return request(self.events(chance.randint(1, most)), bad=bad, key=key)


class Ledger:
    """What was sent and what was acknowledged; may be used from any thread.

    ``events`` were acknowledged that were no duplicates. With ``history`` it keeps every request, and not only those that are open.
    """

    def __init__(self, *, history: bool = False) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, Request] = {}
        self._acked: set[str] = set()
        self._counts: Counts = Counter()
        self._sent: dict[str, tuple[float, Request]] | None = {} if history else None
        self.events = 0

    def send(self, sent: Request) -> None:
        """It is about to be sent."""
        with self._lock:
            if sent.key not in self._acked:
                self._open[sent.key] = sent
            if self._sent is not None:
                self._sent.setdefault(sent.key, (time.time(), sent))

    def ack(self, sent: Request) -> None:
        """It was acknowledged."""
        with self._lock:
            if sent.key not in self._acked:
                self._acked.add(sent.key)
                self._open.pop(sent.key, None)
                self._counts.update(sent.counts)
                self.events += sent.fresh

    def open(self) -> list[Request]:
        """What was sent and not acknowledged: it may be durable or not."""
        with self._lock:
            return list(self._open.values())

    def forget_open(self) -> None:
        """What was sent and not acknowledged will not be sent again: none of it may count."""
        with self._lock:
            self._open.clear()

    def history(self) -> dict[str, tuple[float, Request]]:
        """When each request was first sent (seconds since 1970), by its key."""
        assert self._sent is not None
        return self._sent

    def acked(self) -> Counts:
        """What was acknowledged, added up."""
        with self._lock:
            return self._counts.copy()


def by_site(counts: Counts) -> Counts:
    """The same of all sessions together."""
    total: Counts = Counter()
    for (kind, _, site), count in counts.items():
        total[(kind, "", site)] += count
    return total


def difference(expected: Counts, found: Counts) -> list[str]:
    """Where the two differ, in words; the first few."""
    differing = (key for key in sorted({*expected, *found}) if expected[key] != found[key])
    return [
        f"{key}: {expected[key]} acknowledged, {found[key]} stored" for key in itertools.islice(differing, 10)
    ]
