"""Grafana Live: what came in during the last second, pushed to Grafana as a few lines, without touching a store.

Panels read it from the data source ``-- Grafana --``, channel ``stream/scrapewatch/<measurement>``; ``docs/live.md`` says how. Names of
measurements, tags and fields are those of the registry, so that a live panel stands beside a stored one. Each line of a measurement has
all its fields: Grafana begins its panels anew when they change.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

import httpx2
import structlog

from collector.fingerprints import error_tag
from scrapewatch.line_protocol import Point, encode, tag_value
from scrapewatch.live import Hub, MemoryHub, Message, Subscription
from scrapewatch.ports import DEFAULT_TENANT
from scrapewatch.settings import Settings
from scrapewatch.time import MINUTE, now_ns

log = structlog.get_logger(__name__)

STREAM: Final = "scrapewatch"

INTERVAL: Final = 1.0
"""Seconds between pushes, and so what the counts in a line span."""

MOST_SESSION_LINES: Final = 300
"""Lines of single sessions in a push; the busiest sessions come first."""

LATE: Final = MINUTE
"""Events older than this (ns) are not what happens now: the stored panels show them at their own time."""

_MOST_WAITING: Final = 20_000
_PORTIONS: Final = 20
_ANSWER_SECONDS: Final = 5.0
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0

_JOBS: Final = ("scraped", "saved", "duplicate", "dropped", "invalid")
_PAGES: Final = ("count", "ok", "blocked", "bytes", "duration_sum", "duration_count", "duration_max")
_ERRORS: Final = ("count",)

# Measurement, name of the tag beside the site ("" for none) and its fields.
_OF_METRIC: Final = {
    "job_scraped": ("jobs", "", _JOBS),
    "page_processed": ("pages", "status_class", _PAGES),
    "error_occurred": ("errors", "type", _ERRORS),
}
_STATUS_CLASSES: Final = {status: f"{status // 100}xx" for status in range(200, 600)}
_FLOATS: Final = frozenset({"duration_sum", "duration_max"})
_DURATION_MAX: Final = _PAGES.index("duration_max")

_error_tag = lru_cache(maxsize=1_000)(error_tag)

_Series = tuple[str, str, str, str]
"""Metric, session ("" for all of them), site, and the value of the tag beside it."""


class Second:
    """What came in since the last push."""

    def __init__(self) -> None:
        self.events = 0
        self._sums: dict[_Series, list[float]] = {}

    def add(self, messages: Iterable[Message], now: int) -> None:
        """Add ``messages``, but for those that are late at ``now`` (ns)."""
        sums, oldest = self._sums, now - LATE
        for message in messages:
            metric = message["metric"]
            if metric not in _OF_METRIC or message["time"] < oldest:
                continue
            value = message["value"]
            get = value.get
            count = get("count", 1)
            if metric == "page_processed":
                beside = _STATUS_CLASSES.get(get("status"), "none")
            elif metric == "job_scraped":
                beside = ""
            else:
                beside = _error_tag(str(get("type", "other")))
            series = (metric, message["session_id"] or "", value["site"], beside)
            total = sums.get(series)
            if total is None:
                total = sums[series] = [0] * len(_OF_METRIC[metric][2])
            total[0] += count
            if metric == "page_processed":
                if get("blocked"):
                    total[2] += count
                elif (get("status") or 0) < 400:
                    total[1] += count
                total[3] += get("bytes") or 0
                duration = get("duration")
                if duration is not None:
                    total[4] += duration
                    total[5] += count
                    if duration > total[6] * count:
                        total[6] = duration / count
            elif metric == "job_scraped":
                duplicate, dropped, invalid = get("duplicate") or 0, get("dropped") or 0, get("invalid") or 0
                saved = get("saved")
                total[1] += max(count - duplicate - dropped - invalid, 0) if saved is None else saved
                total[2] += duplicate
                total[3] += dropped
                total[4] += invalid
            self.events += 1

    def lines(self, time: int, before: Iterable[_Series] = ()) -> tuple[list[str], set[_Series]]:
        """The lines of a push at ``time`` (ns), and their series.

        A series of the push ``before`` that fell silent gets one more line, of zeros, so that a panel does not go on showing its last.
        """
        fleet: dict[_Series, list[float]] = {}
        activity: dict[str, float] = {}
        for (metric, session_id, site, beside), found in self._sums.items():
            series = (metric, "", site, beside)
            known = fleet.get(series)
            fleet[series] = list(found) if known is None else _sum(metric, known, found)
            activity[session_id] = activity.get(session_id, 0) + found[0]
        sessions = [series for series in self._sums if series[1]]
        sessions.sort(key=lambda series: (-activity[series[1]], series))
        told = fleet | {series: self._sums[series] for series in sessions[:MOST_SESSION_LINES]}
        lines = [_line(series, found, time) for series, found in sorted(told.items())]
        silent = set(before) - fleet.keys() - self._sums.keys()
        lines += [_line(series, [0] * len(_OF_METRIC[series[0]][2]), time) for series in sorted(silent)]
        lines += _response_times(fleet, time)
        return lines, set(told)


def _sum(metric: str, known: Sequence[float], found: Sequence[float]) -> list[float]:
    total = [a + b for a, b in zip(known, found, strict=True)]
    if metric == "page_processed":
        total[_DURATION_MAX] = max(known[_DURATION_MAX], found[_DURATION_MAX])
    return total


def _line(series: _Series, found: Iterable[float], time: int) -> str:
    metric, session_id, site, beside = series
    measurement, tag, names = _OF_METRIC[metric]
    tags = {"site": tag_value(site)}
    if beside:
        tags[tag] = beside
    if session_id:
        measurement = f"session_{measurement}"
        tags["session_id"] = tag_value(session_id)
    fields = {name: float(n) if name in _FLOATS else int(n) for name, n in zip(names, found, strict=True)}
    return encode(Point(measurement, tags, fields, time))


def _response_times(fleet: Mapping[_Series, list[float]], time: int) -> list[str]:
    """Mean and maximum of each site whose pages' time is known: a line cannot say that there is none."""
    sites: dict[str, list[float]] = {}
    for (metric, _, site, _), found in fleet.items():
        if metric == "page_processed":
            known = sites.get(site)
            sites[site] = list(found) if known is None else _sum(metric, known, found)
    lines = []
    for site, found in sorted(sites.items()):
        pages = dict(zip(_PAGES, found, strict=True))
        if pages["duration_count"]:
            fields = {
                "response_time": pages["duration_sum"] / pages["duration_count"],
                "duration_max": float(pages["duration_max"]),
            }
            lines.append(encode(Point("response_times", {"site": tag_value(site)}, fields, time)))
    return lines


class GrafanaLive:
    """Pushes what ``hub`` is told of one tenant to the Grafana at ``url``, whose organisation the ``token`` belongs to.

    It runs in a task of its own and reads from a bounded queue, so ingest never waits for it; while Grafana is away nothing is read.
    ``pushed`` counts the pushes that Grafana took, ``failed`` those that it did not; ``problem`` says what is wrong now (None: nothing).
    All belongs to the event loop's thread.
    """

    def __init__(
        self,
        url: str,
        token: str,
        hub: MemoryHub,
        *,
        tenant: str = DEFAULT_TENANT,
        interval: float = INTERVAL,
    ) -> None:
        self.pushed = 0
        self.failed = 0
        self.problem: str | None = None
        self._lost = 0
        self._reading: Subscription | None = None
        self._url = f"{url.rstrip('/')}/api/live/push/{STREAM}"
        self._token = token
        self._hub = hub
        self._tenant = tenant
        self._interval = interval

    @property
    def dropped(self) -> int:
        """Events that reached this pusher and not Grafana."""
        return self._lost + (0 if self._reading is None else self._reading.dropped)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Push while the block lasts."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        failures = 0
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "text/plain; charset=utf-8"}
        async with httpx2.AsyncClient(timeout=_ANSWER_SECONDS, headers=headers, trust_env=False) as http:
            while True:
                pushed = self.pushed
                reading = self._reading = self._hub.subscribe(self._tenant, limit=_MOST_WAITING)
                try:
                    after = await self._push_while_taken(http, reading)
                except Exception:
                    # Nobody waits for this task: what ended it must be told, and it must go on.
                    log.error("the push to Grafana Live failed", exc_info=True)
                    after = 0.0
                finally:
                    reading.close()
                    self._lost += reading.dropped
                    self._reading = None
                failures = 1 if self.pushed > pushed else min(failures + 1, 10)
                most = min(_FIRST_PAUSE * 2**failures, _LONGEST_PAUSE)
                # Jitter, so that collectors do not come back together; never before Grafana said.
                await asyncio.sleep(max(random.uniform(0.5, 1) * most, after))

    async def _push_while_taken(self, http: httpx2.AsyncClient, reading: Subscription) -> float:
        """Push each interval until Grafana takes it no more; the seconds that it asked to be left alone."""
        before: set[_Series] = set()
        clock = asyncio.get_running_loop().time
        due = clock() + self._interval
        while True:
            second = Second()
            while (left := due - clock()) > 0:
                # In portions, so that a second's worth of events neither fills the queue nor holds up the loop.
                await asyncio.sleep(min(left, self._interval / _PORTIONS))
                while slices := reading.take(1_000):
                    for found in slices:
                        second.add(found.messages, now_ns())
                    await asyncio.sleep(0)
            due = max(due + self._interval, clock())
            lines, before = second.lines(now_ns(), before)
            if not lines:
                continue
            problem, after = await self._push(http, "\n".join(lines).encode())
            self._tell(problem)
            if problem is None:
                self.pushed += 1
            else:
                self.failed += 1
                self._lost += second.events
                return after

    def _tell(self, problem: str | None) -> None:
        """Keep in mind what is wrong, and log it when it begins and ends."""
        if problem is not None and self.problem is None:
            log.warning("Grafana Live does not take what happens now", reason=problem)
        elif problem is None and self.problem is not None:
            log.info("Grafana Live takes what happens now again")
        self.problem = problem

    async def _push(self, http: httpx2.AsyncClient, body: bytes) -> tuple[str | None, float]:
        """What is wrong (None: nothing), and the seconds after which to come back, where Grafana says."""
        try:
            answer = await http.post(self._url, content=body)
        except httpx2.TransportError as error:
            return type(error).__name__, 0.0
        if answer.is_success:
            return None, 0.0
        after = answer.headers.get("retry-after", "")
        return _reason(answer.status_code), min(float(after), _LONGEST_PAUSE) if after.isdigit() else 0.0


def build(settings: Settings, hub: Hub) -> GrafanaLive | None:
    """The pusher of the settings; None where they name no Grafana or no token for it."""
    if settings.grafana_url is None or settings.grafana_token is None:
        return None
    return GrafanaLive(settings.grafana_url, settings.grafana_token.get_secret_value(), hub.here)


def _reason(status: int) -> str:
    hints: dict[int, str] = {
        401: "GRAFANA_TOKEN is no token of its service accounts",
        403: "the service account of GRAFANA_TOKEN may not push",
        404: "GRAFANA_URL has no Grafana Live",
    }
    hint = hints.get(status)
    return f"it answered {status}" + (f": {hint}" if hint else "")
