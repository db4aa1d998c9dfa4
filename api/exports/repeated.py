"""Exports that are repeated: written on time into the data folder, by one process at a time.

Each file covers a range that ends at a multiple of the cadence (UTC; a week begins on Monday), and is written :data:`SETTLE` later, when
what happened in it is stored and rolled up. When the next one is due stands in the records, so that a restart neither forgets nor
repeats one: what came due meanwhile is written afterwards, as far back as files are kept.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote
from uuid import uuid4

import structlog

from api.exports.formats import FORMATS
from api.exports.making import ExportMaker, file_name
from api.exports.tables import TIMEFRAMES, Selection, tables_of, window_of
from api.patience import Patience
from records.exports import ExportSchedules, Schedule
from scrapewatch.problems import InvalidInput, StoreUnavailable
from scrapewatch.time import DAY, MINUTE, SECOND, now_ns, parse_interval, to_datetime, to_ns

LEASE: Final = "exports"
LEASE_SECONDS: Final = 60.0
LOOK_EVERY: Final = 5.0
"""Seconds between looks for what is due."""

RETRY_EVERY: Final = 60 * SECOND
"""How long (ns) a schedule that failed waits for its next try."""

SETTLE: Final = MINUTE
"""How long (ns) after its range a file is written: events of that range are stored and rolled up by then."""

_log = structlog.get_logger("api.exports")


class Repeated:
    """Runs the schedules of ``schedules``; ``clock`` tells the time (ns)."""

    def __init__(
        self,
        schedules: ExportSchedules,
        maker: ExportMaker,
        patience: Patience,
        take_lease: Callable[[str, float], bool],
        *,
        clock: Callable[[], int] = now_ns,
    ) -> None:
        self._schedules = schedules
        self._maker = maker
        self._patience = patience
        self._take_lease = take_lease
        self._clock = clock
        self._holder = uuid4().hex
        self._not_before: dict[tuple[str, str], int] = {}

    async def run(self) -> None:
        """Write what is due, until cancelled."""
        while True:
            try:
                await self.run_due()
            except StoreUnavailable as error:
                _log.warning("waits for the records", reason=str(error))
            await asyncio.sleep(LOOK_EVERY)

    async def run_due(self) -> int:
        """Write the files that are due now; how many were written.

        Raises:
            StoreUnavailable: the records do not answer.
        """
        written = 0
        while due := [schedule for schedule in await self._due() if self._may_try(schedule)]:
            if not await self._hold():
                return written
            renewing = asyncio.create_task(self._renew())
            try:
                for schedule in due:
                    written += await self._run_one(schedule)
            finally:
                renewing.cancel()
                with suppress(asyncio.CancelledError):
                    await renewing
                await self._hold(0)
        return written

    async def _due(self) -> list[Schedule]:
        return await self._patience.call(self._schedules.due, to_datetime(self._clock() - SETTLE))

    def _may_try(self, schedule: Schedule) -> bool:
        return self._clock() >= self._not_before.get((schedule.tenant, schedule.name), 0)

    async def _hold(self, seconds: float = LEASE_SECONDS) -> bool:
        return await self._patience.call(self._take_lease, self._holder, seconds)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 4)
            # A lease that cannot be kept may be another's soon: both would then write the same file, each whole.
            with suppress(StoreUnavailable):
                await self._hold()

    async def _run_one(self, schedule: Schedule) -> int:
        """Write the next file of ``schedule``; 1 where it was written."""
        assert schedule.next_run_at is not None, "it is due"  # noqa: S101
        stop = to_ns(schedule.next_run_at)
        every = parse_interval(schedule.cadence)
        following = stop + every
        if stop < (oldest := self._clock() - schedule.keep * every):
            # It was down for so long that these files would be deleted again at once.
            following = first_after(oldest, every)
        try:
            if following == stop + every:
                path = await self._write(schedule, stop)
                await self._patience.call(
                    self._schedules.ran,
                    schedule,
                    to_datetime(self._clock()),
                    file=str(path.relative_to(self._maker.folder)),
                    next_run_at=to_datetime(following),
                )
                await self._patience.call(_delete_old, path.parent, schedule)
                return 1
            await self._patience.call(
                self._schedules.failed,
                schedule,
                "files were not written while nothing ran here",
                next_run_at=to_datetime(following),
            )
        except InvalidInput as error:  # an earlier version made it; another try would not go better
            await self._fail(schedule, error, following)
        except Exception as error:  # whatever it was, it must be told, and the other schedules go on
            if not isinstance(error, StoreUnavailable | OSError):
                _log.exception("an export failed", schedule=schedule.name)
            self._not_before[schedule.tenant, schedule.name] = self._clock() + RETRY_EVERY
            await self._fail(schedule, error, stop)
        return 0

    async def _fail(self, schedule: Schedule, error: Exception, next_run: int) -> None:
        _log.warning("an export was not written", schedule=schedule.name, reason=str(error))
        # Of an error of the disk without the path: where data lies is not the business of those who ask.
        said = (isinstance(error, OSError) and error.strerror) or str(error)
        await self._patience.call(self._schedules.failed, schedule, said, next_run_at=to_datetime(next_run))

    async def _write(self, schedule: Schedule, stop: int) -> Path:
        made = FORMATS[schedule.format]
        length = TIMEFRAMES[schedule.timeframe]
        selection = Selection(
            schedule.tenant, tables_of(schedule.metrics), stop - length, stop, window_of(length)
        )
        path = folder_of(self._maker.folder, schedule) / file_name(schedule.name, made, selection)
        size = await self._maker.write(made, selection, path)
        _log.info("an export was written", schedule=schedule.name, file=path.name, bytes=size)
        return path


_MONDAY: Final = 4 * DAY
"""The first Monday of 1970: all cadences of up to a day divide it, and weeks begin with it."""


def first_after(moment: int, every: int) -> int:
    """When a schedule with the cadence ``every`` is due next after ``moment`` (ns)."""
    return moment - (moment - _MONDAY) % every + every


def folder_of(folder: Path, schedule: Schedule) -> Path:
    """Where its files are; names that are no names of folders everywhere are written otherwise."""
    return folder / quote(schedule.tenant, safe="").replace(".", "%2E") / schedule.name


def _delete_old(folder: Path, schedule: Schedule) -> None:
    """Delete what is more than ``keep`` files of this schedule, the oldest first."""
    ours = re.compile(rf"{re.escape(schedule.name)}-\d{{8}}T\d{{6}}Z-(\d{{8}}T\d{{6}}Z)\.\w+")
    files = [(match[1], path) for path in folder.iterdir() if (match := ours.fullmatch(path.name))]
    for _, path in sorted(files, reverse=True)[schedule.keep :]:
        path.unlink(missing_ok=True)
