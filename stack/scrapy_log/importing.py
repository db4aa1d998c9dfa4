"""Importing Scrapy logs: each run is one session with one site execution, sent to a collector by HTTP.

Idempotent by the run's fingerprint, whatever file it is in: the fingerprint is the request's Idempotency-Key, under which both the
spool and the records know it for good.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from scrapewatch.client import Client, Receipt, SendError
from scrapewatch.problems import InvalidInput
from stack.scrapy_log.events import run_events
from stack.scrapy_log.parse import Run, parse_runs
from stack.scrapy_log.sites import site_names

SENDERS: Final = 4
"""Requests under way at once: while one waits for its fsync, the next is on its way."""

MOST_EVENTS: Final = 5_000
"""Events in a request; a longer run is cut at the same places every time."""


_PACKED: Final = frozenset({".gz", ".bz2", ".xz", ".zst", ".zip"})


@dataclass(slots=True)
class Imported:
    """What an import did: counts of runs and of events."""

    runs: int = 0
    new_runs: int = 0
    known_runs: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Plan:
    """The runs of the logs with the name of the site of each, and where each begins (``first.log line 7``).

    ``shift`` is added to all times, ``cut_off`` runs were left out.
    """

    runs: Sequence[Run]
    sites: Sequence[str]
    places: Sequence[str]
    shift: timedelta
    cut_off: int


def read(
    files: Sequence[Path],
    *,
    sites: Sequence[str] = (),
    shift_to: datetime | None = None,
    with_cut_off: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Plan:
    """Read the runs of ``files``, one log in so many files: a run may go on in the next.

    A run without its stats dump is left out unless ``with_cut_off``: it may go on still, or its dump may come in a file that is
    imported later, and would then be counted again.

    Args:
        files: in the order of their times.
        sites: names of the sites in the order in which the spiders run.
        shift_to: moves all times so that the last run ends then.
        with_cut_off: take runs without their stats dump, too.
        progress: told now and then how many bytes were read since the last time.

    Raises:
        InvalidInput: a file cannot be read, or there is no log at all.
    """
    found: dict[str, Run] = {}
    cut_off = 0
    begins: list[int] = []

    def lines() -> Iterator[str]:
        number = 1
        for path in files:
            begins.append(number)
            for line in _lines(path, progress):
                number += 1
                yield line

    try:
        for run in parse_runs(lines()):
            if run.complete or with_cut_off:
                found.setdefault(run.fingerprint, run)
            else:
                cut_off += 1
    except OSError as error:
        raise InvalidInput(f"{error.filename} cannot be read: {error.strerror}") from error
    runs = list(found.values())
    ends = [end for run in runs if (end := run.finished_at or run.started_at) is not None]
    shift = shift_to - max(ends) if shift_to is not None and ends else timedelta(0)
    places = []
    for run in runs:
        file = bisect.bisect_right(begins, run.line) - 1
        places.append(f"{files[file].name} line {run.line - begins[file] + 1}")
    return Plan(runs, site_names(runs, sites), places, shift, cut_off)


def logs_in(paths: Sequence[Path]) -> list[Path]:
    """The log files that ``paths`` name: files as they are, of folders the files ``*.log``, in the order of their names.

    Raises:
        InvalidInput: a path does not exist, or no log is there.
    """
    found: list[Path] = []
    packed: list[str] = []
    for path in paths:
        if path.is_dir():
            found += sorted(path.glob("*.log"))
            packed += [inside.name for inside in sorted(path.iterdir()) if inside.suffix in _PACKED]
        elif path.suffix in _PACKED:
            raise InvalidInput(f"{path} is compressed: unpack it first")
        elif path.is_file():
            found.append(path)
        elif path.exists():
            raise InvalidInput(f"{path} is neither a file nor a folder of files")
        else:
            raise InvalidInput(f"there is no file {path}")
    if not found:
        hint = f", but {packed[0]} and the like: unpack them first" if packed else ""
        raise InvalidInput(f"there is no *.log in {', '.join(map(str, paths))}{hint}")
    return found


def session_id(run: Run) -> str:
    """The session of a run: the same for the same run."""
    return f"scrapy-{run.fingerprint[:20]}"


def send(plan: Plan, client: Client, *, progress: Callable[[Imported], None] = lambda _: None) -> Imported:
    """Send every run of ``plan``; ``progress`` is told after each.

    Raises:
        ConnectionError: the collector took nothing for a minute.
        SendError: the collector refused a run for good.
    """
    done = Imported()

    def send_run(run: Run, site: str, place: str) -> tuple[Run, str, Receipt | None]:
        events = run_events(run, site=site, session_id=session_id(run), shift=plan.shift)
        total: Receipt | None = None
        for number, part in enumerate(_parts(events)):
            # A session under another key: names and times may differ from the first import, the run does not.
            key = hashlib.sha256(f"scrapy-log {run.fingerprint} {number}".encode()).hexdigest()
            try:
                receipt = client.send(part, idempotency_key=key, backfill=True)
            except SendError as error:
                if error.status == 409:
                    receipt = Receipt(0, len(part))
                elif error.status == 422:
                    # None of it is taken, such as a run whose clock was ahead: told like the items of others, and the rest goes on.
                    receipt = Receipt(0, 0, _rejected(error.detail))
                else:
                    raise
            total = receipt if total is None else _sum(total, receipt)
        return run, place, total

    with ThreadPoolExecutor(SENDERS, thread_name_prefix="import") as senders:
        try:
            for run, place, receipt in senders.map(send_run, plan.runs, plan.sites, plan.places):
                done.runs += 1
                done.warnings += [f"{place}: {warning}" for warning in run.warnings]
                if receipt is not None:
                    done.accepted += receipt.accepted
                    done.duplicates += receipt.duplicates
                    done.new_runs += receipt.accepted > 0
                    done.known_runs += receipt.accepted == 0 < receipt.duplicates
                    done.rejected += [
                        f"{place}: {item['field']} {item['reason']}" for item in receipt.rejected
                    ]
                progress(done)
        except BaseException:
            senders.shutdown(wait=False, cancel_futures=True)
            raise
    return done


def now() -> datetime:
    """The time to which ``--shift-to-now`` moves the end of history."""
    return datetime.now(UTC)


def _lines(path: Path, progress: Callable[[int], None]) -> Iterator[str]:
    read_bytes = 0
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for count, line in enumerate(file):
            read_bytes += len(line)
            if count % 1_000 == 999:
                progress(read_bytes)
                read_bytes = 0
            yield line
    progress(read_bytes)


def _parts(events: Sequence[dict[str, Any]]) -> Iterator[Sequence[dict[str, Any]]]:
    for start in itertools.count(0, MOST_EVENTS):
        part = events[start : start + MOST_EVENTS]
        if not part:
            return
        yield part


def _rejected(detail: str) -> Sequence[dict[str, Any]]:
    try:
        problem = json.loads(detail)
    except ValueError:
        problem = {}
    return problem.get("rejected") or [{"field": "", "reason": problem.get("detail", "was refused")}]


def _sum(one: Receipt, other: Receipt) -> Receipt:
    return Receipt(
        one.accepted + other.accepted, one.duplicates + other.duplicates, [*one.rejected, *other.rejected]
    )
