"""What samples of the machines say of the hours to come, and what uses them: worked out in the background, so that nobody waits for it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from api.patience import Patience
from scrapewatch.answers import ask
from scrapewatch.forecasts import Forecast, until
from scrapewatch.ports import DEFAULT_TENANT, SeriesStore, Table, TimeRange
from scrapewatch.problems import ScrapewatchError
from scrapewatch.time import DAY, HOUR, MINUTE, now_ns

REFRESH_EVERY = 120.0
"""Seconds between refreshes: trends of hours do not change within minutes."""
SPANS = ((7 * DAY, HOUR), (6 * HOUR, 5 * MINUTE))
"""A week shows what fills slowly, a few hours what began to."""
LATELY = 10 * MINUTE
FULL_PERCENT = 100.0
RESIZED = 0.05
"""A file system whose size changed by such a share is another one."""


@dataclass(frozen=True, slots=True)
class Filling:
    """What will be full: a file system of a ``host`` by its mount, or its memory (``mount`` None), by the samples of ``basis`` ns."""

    host: str
    mount: str | None
    forecast: Forecast
    basis: int


@dataclass(frozen=True, slots=True)
class Busy:
    """The processes of one name on a ``host``: use of one core in percent, resident memory in bytes, over the last minutes."""

    host: str
    process: str
    cpu_percent: float
    memory: float


class Outlook:
    """Forecasts and the busiest processes, as of the last refresh. The machines are scrapewatch's own, so of the tenant ``default``."""

    def __init__(self, series: SeriesStore, patience: Patience) -> None:
        self._series = series
        self._patience = patience
        self.fillings: list[Filling] = []
        self.busy: list[Busy] = []
        self.known = False

    async def run(self) -> None:
        """Refresh again and again until cancelled."""
        while True:
            await self.refresh(now_ns())
            await asyncio.sleep(REFRESH_EVERY)

    async def refresh(self, now: int) -> None:
        """Work it out anew; with the store down what was known stays, and :attr:`known` is False."""
        try:
            found: dict[tuple[str, str | None], Filling] = {}
            for span, every in SPANS:
                time_range = TimeRange.widened(now - span, now, every)
                disks = await self._ask("disks", time_range)
                memory = await self._ask("resources", time_range)
                for filling in await asyncio.to_thread(_fillings, disks, memory, span, now):
                    known = found.get((filling.host, filling.mount))
                    if known is None or filling.forecast.seconds < known.forecast.seconds:
                        found[filling.host, filling.mount] = filling
            self.busy = _busiest(await self._ask("processes", TimeRange.widened(now - LATELY, now, LATELY)))
        except ScrapewatchError as error:
            self.known = False
            _log.warning("the outlook is not known", reason=str(error))
            return
        self.fillings = sorted(found.values(), key=lambda each: each.forecast.seconds)
        self.known = True

    async def _ask(self, question: str, time_range: TimeRange) -> Table:
        return await self._patience.call(ask, self._series, question, {}, time_range, tenant=DEFAULT_TENANT)


_log = structlog.get_logger("api.health")


def _fillings(disks: Table, memory: Table, span: int, now: int) -> list[Filling]:
    used: defaultdict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
    total: dict[tuple[str, str], float] = {}
    for row in disks.dicts():
        if row["percent"] is None or row["total"] is None:
            continue
        key = (row["host"], row["mount"])
        if abs(row["total"] - total.get(key, row["total"])) > RESIZED * row["total"]:
            used[key].clear()  # what was before says nothing of when it is full
        used[key].append((row["time"], row["percent"]))
        total[key] = row["total"]
    percent: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for row in memory.dicts():
        if row["memory_percent"] is not None:
            percent[row["host"]].append((row["time"], row["memory_percent"]))
    found = []
    for (host, mount), samples in used.items():
        forecast = until(samples, FULL_PERCENT, now)
        if forecast is not None:
            found.append(Filling(host, mount, forecast, span))
    for host, samples in percent.items():
        forecast = until(samples, FULL_PERCENT, now)
        if forecast is not None:
            found.append(Filling(host, None, forecast, span))
    return found


def _busiest(processes: Table) -> list[Busy]:
    latest: dict[tuple[str, str], Mapping[str, float | None]] = {}
    for row in processes.dicts():
        latest[row["host"], row["process"]] = row
    found = [
        Busy(host, process, row["cpu_percent"] or 0.0, row["memory"] or 0.0)
        for (host, process), row in latest.items()
    ]
    return sorted(found, key=lambda each: (-each.cpu_percent, -each.memory))
