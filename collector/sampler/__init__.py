"""The sampler: what the machine and the scrapers' processes use, as events that take the way of all others.

It looks often while the machine is busy or its figures move (each second), seldom while it is idle (up to every 30 s), and notices in
between, at a glance, that idleness is over. What is dear is looked at less often, and nothing more often than its share of a core
allows: whatever it costs on this machine is measured each time, and the next look waits accordingly.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from collector.observed import Observed
from collector.sampler.machine import Machine
from collector.sampler.processes import (
    Busiest,
    Process,
    boot,
    open_files,
    read,
    scan,
    started_at,
    trees,
)
from scrapewatch.ports import DEFAULT_TENANT
from scrapewatch.time import SECOND, now_ns, to_rfc3339

log = structlog.get_logger(__name__)

SHORTEST: Final = 1.0
LONGEST: Final = 30.0
"""Seconds between samples of a busy machine, and of an idle one."""

MOST_WATCHED: Final = 250
"""Sessions whose processes are sampled at once."""

BUSY: Final = 60.0
"""Use of all cores in percent from which a machine is busy."""

_FULL: Final = 90.0
_CPU_MOVES: Final = 15.0
_MEMORY_MOVES: Final = 2.0

_GLANCE_EVERY: Final = 2.0
_SESSIONS_EVERY: Final = 5.0
_PROCESSES_EVERY: Final = 10.0
_DISKS_EVERY: Final = 30.0

# Samples of a busy second wait this long for each other: a flush of five costs hardly more than one of one.
_TOGETHER: Final = 5.0

# Shares of a core: together they stay well below the 0.5 % that all may cost.
_MACHINE_SHARE: Final = 0.0015
_PROCESSES_SHARE: Final = 0.0005
_DISKS_SHARE: Final = 0.0005
_SESSIONS_SHARE: Final = 0.0015

# A process that an event names had begun by then; clocks and boot times are right to a second or so.
_CLOCKS_APART: Final = 5 * SECOND


def pace(
    before: Mapping[str, Any] | None, now: Mapping[str, Any], interval: float, *, longest: float
) -> float:
    """Seconds to the next sample, after two samples ``interval`` apart: 1 s while busy or moving, else half as long again."""
    shortest = min(SHORTEST, longest)
    moved = before is not None and (
        abs(now["cpu_percent"] - before["cpu_percent"]) >= _CPU_MOVES
        or abs(now["memory_percent"] - before["memory_percent"]) >= _MEMORY_MOVES
    )
    if moved or now["cpu_percent"] >= BUSY or now["memory_percent"] >= _FULL:
        return shortest
    return min(max(interval, shortest) * 1.5, longest)


class _Turn:
    """When something is due again: after ``every`` seconds, later where that would cost more than ``share`` of a core."""

    def __init__(self, every: float, share: float) -> None:
        self.every = every
        self.at = 0.0
        self._share = share

    def took(self, cost: float, now: float) -> None:
        self.at = now + max(self.every, cost / self._share)


@dataclass(slots=True)
class _Watched:
    """A session's process; ``spent`` is the processor time of its tree at ``at``, None before the first look."""

    pid: int
    started: int
    spent: float | None = None
    at: float = 0.0


class Sampler:
    """Samples the machine and, for sessions that it is told of, their processes.

    Call :meth:`events` again after :meth:`wait` seconds, from one thread; :meth:`watch` and :meth:`forget` may come from any.

    Args:
        longest: seconds between samples of an idle machine; below a second it is the fixed interval.
        keep: a file in which the watched processes outlive this one; None: they do not.
        observed: told what sampling costs.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        *,
        longest: float = LONGEST,
        keep: Path | None = None,
        observed: Observed | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._longest = longest
        self._clock = clock
        self._observed = observed
        self._machine = Machine()
        self._busiest = Busiest(clock)
        self._before: dict[str, Any] | None = None
        self._interval = min(SHORTEST, longest)
        self._sample_at = clock()
        self._glance_at = clock() + _GLANCE_EVERY
        self._disks = _Turn(_DISKS_EVERY, _DISKS_SHARE)
        self._processes = _Turn(_PROCESSES_EVERY, _PROCESSES_SHARE)
        self._sessions = _Turn(_SESSIONS_EVERY, _SESSIONS_SHARE)
        self._waiting: list[dict[str, Any]] = []
        self._hand_over_at = 0.0
        self._lock = threading.Lock()
        self._keep = keep
        self._watched: dict[tuple[str, str], _Watched] = {}
        self._changed = False
        self._told_full = False
        if keep is not None:
            self._recall(keep)

    @property
    def host(self) -> str:
        """The name of this machine, as its events bear it."""
        return self._machine.host

    # --- sessions

    def watch(self, tenant: str, session_id: str, pid: int, host: str, *, since: int) -> bool:
        """Sample the process ``pid`` and what it started for a session; whether it is this machine's and will be.

        Call it only for a ``session_started`` that came over loopback and names this ``host``: elsewhere the same number is another
        process. ``since`` is the event's time (ns); a process that began after it only has the number of the one that was meant.
        """
        if host.casefold() != self.host.casefold() or pid in (1, os.getpid()):
            return False
        found = read(pid)
        if found is None or found.ended or started_at(found) * SECOND > since + _CLOCKS_APART:
            return False
        with self._lock:
            if len(self._watched) >= MOST_WATCHED and (tenant, session_id) not in self._watched:
                if not self._told_full:
                    log.warning("more sessions name their process than are sampled", most=MOST_WATCHED)
                self._told_full = True
                return False
            self._watched[tenant, session_id] = _Watched(pid, found.started)
            self._changed = True
        return True

    def forget(self, tenant: str, session_id: str) -> None:
        """Sample the session's process no more, if it was watched: it finished."""
        with self._lock:
            if self._watched.pop((tenant, session_id), None) is not None:
                self._changed = True
                self._told_full = False

    @property
    def watched(self) -> int:
        """How many sessions are watched."""
        return len(self._watched)

    # --- sampling

    def wait(self) -> float:
        """Seconds until there is something to do again."""
        due = min(self._sample_at, self._glance_at)
        if self._watched:
            due = min(due, self._sessions.at)
        if self._waiting:
            due = min(due, self._hand_over_at)
        return max(due - self._clock(), 0.0)

    def events(self) -> dict[str, list[dict[str, Any]]]:
        """What is due now, by tenant: samples of the machine belong to the default one; often nothing."""
        began = time.thread_time()
        now = self._clock()
        found: dict[str, list[dict[str, Any]]] = {}
        if now >= self._glance_at:
            self._glance(now)
        if now >= self._sample_at:
            self._take(now)
        if self._waiting and (now >= self._hand_over_at or self._interval >= _TOGETHER):
            found[DEFAULT_TENANT], self._waiting = self._waiting, []
        if self._watched and now >= self._sessions.at:
            looked = time.thread_time()
            for tenant, event in self._look_at_sessions(now):
                found.setdefault(tenant, []).append(event)
            self._sessions.took(time.thread_time() - looked, now)
        if self._changed:
            self._remember()
        if self._observed is not None:
            self._observed.sampler_seconds += time.thread_time() - began
        return found

    def sample(self) -> dict[str, Any]:
        """A ``host`` event of this moment, with all that is to be had."""
        return self._event({**self._machine.sample(), "processes": self._busiest.of(scan())})

    def _glance(self, now: float) -> None:
        self._glance_at = now + _GLANCE_EVERY
        use = self._machine.glance()
        before = self._before["cpu_percent"] if self._before is not None else use
        if self._interval > _GLANCE_EVERY and (abs(use - before) >= _CPU_MOVES or use >= BUSY > before):
            self._interval = min(SHORTEST, self._longest)
            self._sample_at = now

    def _take(self, now: float) -> None:
        began = time.thread_time()
        with_disks = now >= self._disks.at
        value = self._machine.sample(disks=with_disks)
        if with_disks:
            # Disks are a part of the sample that can hardly be told apart: its cost stands for theirs.
            self._disks.took(time.thread_time() - began, now)
        if not self._waiting:
            self._hand_over_at = now if self._before is None else now + _TOGETHER
        self._interval = pace(self._before, value, self._interval, longest=self._longest)
        self._before = value
        sampled = time.thread_time()
        self._sample_at = now + max(self._interval, (sampled - began) / _MACHINE_SHARE)
        if now >= self._processes.at:
            value["processes"] = self._busiest.of(scan())
            self._processes.took(time.thread_time() - sampled, now)
        self._waiting.append(self._event(value))

    def _event(self, value: Mapping[str, Any]) -> dict[str, Any]:
        return {"metric": "host", "value": value, "timestamp": to_rfc3339(now_ns())}

    def _look_at_sessions(self, now: float) -> list[tuple[str, dict[str, Any]]]:
        processes = scan()
        with self._lock:
            watched = dict(self._watched)
        found = trees(processes, {known.pid for known in watched.values()})
        timestamp = to_rfc3339(now_ns())
        events: list[tuple[str, dict[str, Any]]] = []
        for (tenant, session_id), known in watched.items():
            of_it = found.get(known.pid)
            if of_it is None or of_it[0].ended or of_it[0].started != known.started:
                self.forget(tenant, session_id)
                continue
            value = _resources(of_it, known, now)
            events.append(
                (
                    tenant,
                    {"session_id": session_id, "metric": "resources", "value": value, "timestamp": timestamp},
                )
            )
        return events

    # --- across restarts

    def _remember(self) -> None:
        with self._lock:
            self._changed = False
            watched = [[*of, known.pid, known.started] for of, known in self._watched.items()]
        if self._keep is not None:
            beside = self._keep.with_suffix(".new")
            beside.write_text(json.dumps({"boot": boot(), "watched": watched}), encoding="utf-8")
            beside.replace(self._keep)

    def _recall(self, keep: Path) -> None:
        try:
            kept = json.loads(keep.read_text(encoding="utf-8"))
            if kept["boot"] == boot():
                for tenant, session_id, pid, started in kept["watched"][:MOST_WATCHED]:
                    self._watched[tenant, session_id] = _Watched(pid, started)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("forgot which processes were watched", reason=f"{type(error).__name__}: {error}")


def _resources(of_it: list[Process], known: _Watched, now: float) -> dict[str, Any]:
    """The value of a ``resources`` event for a session's processes."""
    # With what its ended children used, which their parent takes over: a browser that came and went counts, too.
    spent = sum(process.seconds + process.reaped for process in of_it)
    value: dict[str, Any] = {
        "memory_mb": round(sum(process.memory for process in of_it) / 2**20, 3),
        "threads": sum(process.threads for process in of_it),
        "open_files": open_files(of_it),
        "sampled": True,
    }
    if known.spent is not None and now > known.at:
        # No more than there is: a child with a session of its own leaves its parent the time of a whole life when it ends.
        most = 100.0 * (os.cpu_count() or 1)
        value["cpu_percent"] = round(min(max(100.0 * (spent - known.spent) / (now - known.at), 0.0), most), 2)
    known.spent, known.at = spent, now
    return value
