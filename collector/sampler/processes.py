"""The processes of this machine: one look at all of them, which use most, and what a tree of them uses.

On Linux ``/proc/<pid>/stat`` is read directly, a tenth of what ``psutil`` costs (10 µs a process against 150): it asks several files
of each and checks them more than once. Command lines are never read, since they may hold secrets; a name is what the system calls
the program.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

OWN: Final = "scrapewatch"
"""The name that the sampler's own process goes by, whatever runs it."""

OTHER: Final = "other"
KERNEL: Final = "kernel"

STACK: Final = frozenset(
    {OWN, "influxd", "postgres", "redis-server", "valkey-server", "grafana", "grafana-server", "telegraf"}
)
"""Names that are told of even when they use little: scrapewatch and what it leans on."""

MOST_NAMES: Final = 200
"""Names that a sampler tells apart in its life, so that the values of the tag stay few; the rest are ``other``."""

_TOP: Final = 8
_MOST_FOR_FILES: Final = 20


@dataclass(frozen=True, slots=True)
class Process:
    """A process at one moment. ``pid`` and ``started`` together are never used again until the machine starts anew.

    ``seconds`` is processor time of its own, ``reaped`` that of its children that ended; ``memory`` is resident, in bytes.
    ``ended`` is one of which only this entry is left, until its parent has taken notice.
    """

    pid: int
    parent: int
    name: str
    started: int
    seconds: float
    reaped: float
    memory: int
    threads: int
    ended: bool


if sys.platform == "linux":
    _TICKS = os.sysconf("SC_CLK_TCK")
    _PAGE = os.sysconf("SC_PAGE_SIZE")

    def _read(pid: int) -> Process | None:
        try:
            file = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
            try:
                text = os.read(file, 4096)
            finally:
                os.close(file)
        except OSError:  # it ended
            return None
        # The name stands in brackets and may hold some itself: https://docs.kernel.org/filesystems/proc.html, table 1-4
        opened, closed = text.index(b"("), text.rindex(b")")
        found = text[closed + 2 :].split()
        parent = int(found[1])
        name = text[opened + 1 : closed].decode("utf-8", "replace").strip() or "unnamed"
        return Process(
            pid,
            parent,
            KERNEL if parent == 2 or pid == 2 else name,
            int(found[19]),
            (int(found[11]) + int(found[12])) / _TICKS,
            (int(found[13]) + int(found[14])) / _TICKS,
            int(found[21]) * _PAGE,
            int(found[17]),
            found[0] in (b"Z", b"X"),
        )

    def _pids() -> Iterator[int]:
        return (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - a path for each costs more than its stat

    def _open_files(pid: int) -> int | None:
        try:
            return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - counted only
        except OSError:  # another user's, or gone
            return None

    def boot() -> str:
        """What tells one run of the machine from another."""
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()

    def started_at(process: Process) -> float:
        """When ``process`` started, in seconds since 1970; right to a second or so."""
        return psutil.boot_time() + process.started / _TICKS

else:

    def _read(pid: int) -> Process | None:
        return read_with_psutil(pid)

    def _pids() -> Iterator[int]:
        return iter(psutil.pids())

    def _open_files(pid: int) -> int | None:
        try:
            return psutil.Process(pid).num_fds()
        except (psutil.Error, AttributeError):
            return None

    def boot() -> str:
        """What tells one run of the machine from another."""
        return str(round(psutil.boot_time() / 60))

    def started_at(process: Process) -> float:
        """When ``process`` started, in seconds since 1970."""
        return process.started / 1000


def read(pid: int) -> Process | None:
    """The process ``pid`` now; None when there is none."""
    return _read(pid)


def read_with_psutil(pid: int) -> Process | None:
    """As :func:`read`, on any system; ``started`` is in milliseconds since 1970 then."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            return Process(
                pid,
                process.ppid(),
                process.name()[:100].strip() or "unnamed",
                round(process.create_time() * 1000),
                times.user + times.system,
                getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0),
                process.memory_info().rss,
                process.num_threads(),
                process.status() == psutil.STATUS_ZOMBIE,
            )
    except psutil.Error:
        return None


def scan() -> dict[int, Process]:
    """All processes now, by pid."""
    return {pid: found for pid in _pids() if (found := _read(pid)) is not None}


def trees(processes: Mapping[int, Process], roots: Collection[int]) -> dict[int, list[Process]]:
    """For each of ``roots`` that lives its tree; a process in two of them belongs to the nearest root above it."""
    stops = {*roots, os.getpid()}
    children: dict[int, list[Process]] = {}
    for process in processes.values():
        if process.pid not in stops:
            children.setdefault(process.parent, []).append(process)
    return {root: _tree(processes, children, root) for root in roots if root in processes}


def _tree(
    processes: Mapping[int, Process], children: Mapping[int, Iterable[Process]], root: int
) -> list[Process]:
    found = [processes[root]]
    for process in found:  # grows while it is walked
        found.extend(child for child in children.get(process.pid, ()) if child.pid != root)
    return found


def open_files(processes: Collection[Process]) -> int | None:
    """How many files and sockets they have open; None where they are too many to ask, or may not be asked."""
    if len(processes) > _MOST_FOR_FILES:
        return None
    total = 0
    for process in processes:
        files = _open_files(process.pid)
        if files is None:
            return None
        total += files
    return total


class Busiest:
    """Which processes use most of the processor or of memory, by name, between one call and the next."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._names: set[str] = set(STACK)
        self._before: dict[tuple[int, int], float] = {}
        self._at: float | None = None

    def of(self, processes: Mapping[int, Process]) -> list[dict[str, Any]]:
        """The ``processes`` of a ``host`` event; none at the first call, since use is that between two looks."""
        now = self._clock()
        seconds = {(process.pid, process.started): process.seconds for process in processes.values()}
        before, since = self._before, self._at
        self._before, self._at = seconds, now
        if since is None or now <= since:
            return []
        named: dict[str, list[Process]] = {}
        for process in processes.values():
            named.setdefault(OWN if process.pid == os.getpid() else process.name, []).append(process)
        used = {
            name: sum(p.seconds - before.get((p.pid, p.started), 0.0) for p in those)
            for name, those in named.items()
        }
        memory = {name: sum(p.memory for p in those) for name, those in named.items()}
        chosen = {
            *sorted((name for name in used if used[name] > 0), key=lambda name: -used[name])[:_TOP],
            *sorted((name for name in memory if memory[name]), key=lambda name: -memory[name])[:_TOP],
            *(STACK & named.keys()),
        }
        told: dict[str, list[Process]] = {}
        spent: dict[str, float] = {}
        for name in sorted(chosen):
            known = self._known(name)
            told.setdefault(known, []).extend(named[name])
            spent[known] = spent.get(known, 0.0) + used[name]
        return [
            {
                "process": name,
                "count": len(those),
                "cpu_percent": round(max(100.0 * spent[name] / (now - since), 0.0), 2),
                "memory": sum(p.memory for p in those),
                "threads": sum(p.threads for p in those),
                "open_files": None if name == KERNEL else open_files(those),
            }
            for name, those in told.items()
        ]

    def _known(self, name: str) -> str:
        if name not in self._names:
            if len(self._names) >= MOST_NAMES:
                return OTHER
            self._names.add(name)
        return name
