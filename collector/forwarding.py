"""All that happens behind the spool: flushes to the stores, rollups, and dead letters that are sent again.

Here it happens in threads of this process. Where there is a processor for it and the stores allow it, :mod:`collector.aside` has it
happen in a process of its own, so that it never holds up an ack.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from collector.contributions import Announced
from collector.forward import Forwarder, SinkState
from collector.observed import Observed
from collector.outbox import Outbox
from collector.periodic import Periodic
from collector.roller import Roller
from scrapewatch.ports import DEFAULT_TENANT, RecordStore, SeriesStore
from scrapewatch.problems import StoreUnavailable

_ROLL_EVERY: Final = 2.0
_REPLAY_EVERY: Final = 2.0

Announce = Callable[[Sequence[Announced]], None]


class Plan(msgspec.Struct, frozen=True):
    """What forwarding must know: the ``folder`` of the spool and its id, the number leased to it, and settings in seconds and days."""

    folder: str
    spool_id: str
    collector_no: int
    interval: float
    retention_days: int


class State(msgspec.Struct, frozen=True):
    """How forwarding fares: each sink (``series``, ``records``, ``windows``), what is wrong (nothing: well), and windows rolled up.

    ``cpu_seconds`` is the processor time of its process, where that is its own. ``held`` says whose points, of tenants other than
    ``default``, wait because the store refuses what is theirs, and why: that is no fault of the collector's, and nobody else waits.
    """

    sinks: dict[str, SinkState]
    problems: list[str]
    rolled: int
    cpu_seconds: float | None = None
    held: dict[str, str] = {}


class Forwarding(Protocol):
    """What brings the spool to the stores."""

    def start(self) -> None:
        """Begin; what an earlier process persisted is sent first, byte for byte."""
        ...

    def stop(self, *, drain_for: float = 0.0) -> None:
        """End, after trying for up to ``drain_for`` seconds to bring everything to the stores."""
        ...

    def arrived(self) -> None:
        """There is something new in the spool."""
        ...

    def state(self) -> State:
        """How it fares."""
        ...


class ForwardingHere:
    """Forwarding in threads of this process: brings ``outbox`` to ``series`` and ``records``."""

    def __init__(
        self,
        outbox: Outbox,
        series: SeriesStore,
        records: RecordStore,
        plan: Plan,
        *,
        observed: Observed,
        announced: Announce,
    ) -> None:
        self._outbox = outbox
        self.arrived: Callable[[], None] = outbox.arrived.set
        self.forwarder = Forwarder(
            outbox,
            series,
            records,
            collector_no=plan.collector_no,
            interval=plan.interval,
            retention_days=plan.retention_days,
            observed=observed,
            announced=announced,
        )
        self.roller = Roller(series, records, holder=plan.spool_id)
        self.rolling = Periodic("roll", _ROLL_EVERY, self.roller.roll)
        self._periodic = [self.rolling, Periodic("replay", _REPLAY_EVERY, self.forwarder.replay)]

    def start(self) -> None:
        """Begin; what an earlier process persisted is sent first, byte for byte."""
        self.forwarder.start()
        for periodic in self._periodic:
            periodic.start()

    def stop(self, *, drain_for: float = 0.0) -> None:
        """End, after trying for up to ``drain_for`` seconds to bring everything to the stores."""
        stopping = [threading.Thread(target=periodic.stop) for periodic in self._periodic]
        for thread in stopping:
            thread.start()
        self.forwarder.stop(drain_for=drain_for)
        for thread in stopping:
            thread.join()
        with contextlib.suppress(StoreUnavailable):
            self.roller.release()
        self._outbox.close()

    def state(self) -> State:
        """How it fares."""
        forwarder = self.forwarder
        sinks = {
            "series": forwarder.series_state,
            "records": forwarder.records_state,
            "windows": forwarder.windows_state,
        }
        problems = [f"{name}: {sink.problem}" for name, sink in sinks.items() if sink.problem is not None]
        held = dict(self.roller.refused)
        held |= {tenant: reason for (tenant, _), reason in forwarder.held.items() if reason is not None}
        if DEFAULT_TENANT in held:
            problems.append(f"series: {held.pop(DEFAULT_TENANT)}")
        if forwarder.fault is not None:
            problems.append(f"forwarding: {forwarder.fault}")
        if self.rolling.problem is not None:
            problems.append(f"rollups: {self.rolling.problem}")
        return State(sinks, problems, self.roller.rolled, held=held)
