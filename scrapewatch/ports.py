"""The ports: what the collector and the API ask of the stores, whichever they are.

Two stores of points implement :class:`SeriesStore` (``influx`` and ``embedded``); one of records implements :class:`RecordStore`
(``records``). One suite of tests holds for every implementation: ``tests/contract``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from scrapewatch.line_protocol import Point
from scrapewatch.measurements import Tier
from scrapewatch.wishes import Wish

DEFAULT_TENANT = "default"


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From ``start`` (inclusive) to ``stop`` (exclusive), in windows of ``every``; all nanoseconds.

    The stores only see ranges of whole windows: both ends are multiples of ``every``.
    """

    start: int
    stop: int
    every: int

    @classmethod
    def widened(cls, start: int, stop: int, every: int) -> TimeRange:
        """The smallest range of whole windows that holds ``start`` to ``stop``."""
        return cls(start - start % every, stop + -stop % every, every)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a question's answer: ``type`` is ``time`` (int ns), ``string``, ``int`` or ``float``."""

    name: str
    type: str
    unit: str
    description: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows in the order of ``columns``, sorted by their time and tags; None where a store has no value."""

    columns: tuple[Column, ...]
    rows: list[tuple[Any, ...]]

    def dicts(self) -> Iterator[dict[str, Any]]:
        """Each row as column → value."""
        names = [column.name for column in self.columns]
        for row in self.rows:
            yield dict(zip(names, row, strict=True))


@dataclass(frozen=True, slots=True)
class Batch:
    """The encoded lines of one tenant and tier in a flush.

    ``events[k]`` is how many events line ``k`` stands for; each event is counted at exactly one line of a flush.
    """

    tenant: str
    tier: Tier
    lines: Sequence[str]
    events: Sequence[int]


@dataclass(frozen=True, slots=True)
class Flush:
    """A numbered flush of one collector: written once or many times, it leaves the same points."""

    collector_no: int
    number: int
    batches: Sequence[Batch]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that a store will never take, with its reason."""

    tenant: str
    tier: Tier
    line: str
    events: int
    reason: str


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What became of a flush: lines ``accepted``, lines ``rejected`` for good; ``kept`` says why the rest must be sent again.

    With ``kept`` set nothing may be forgotten: the whole flush is written again later. ``retry_after`` is in seconds. ``held`` are the
    batches (tenant, tier) that cannot be stored now for a reason of the tenant's own, its token or bucket: those alone must be sent again,
    and nothing of them is among the ``rejected``.
    """

    accepted: int
    rejected: Sequence[Rejected] = ()
    kept: str | None = None
    retry_after: float | None = None
    held: Mapping[tuple[str, Tier], str] = field(default_factory=dict)


class SeriesStore(Protocol):
    """A store of points. Its methods block and may be called from any thread."""

    takes_lines: bool
    """Whether it stores what others write as line protocol (the tier ``external``), whose measurements the registry does not know."""

    def write(self, flush: Flush) -> WriteResult:
        """Store the points of ``flush``: durable when it returns, overwriting any of the same series and time. Never raises."""
        ...

    def ask(
        self, question: str, parameters: Mapping[str, str], time_range: TimeRange, *, tier: Tier, tenant: str
    ) -> Table:
        """The rows of a question of :mod:`scrapewatch.questions`.

        Raises:
            StoreUnavailable: the store does not answer.

        """
        ...

    def windows(self, measurement: str, time_range: TimeRange, *, tier: Tier, tenant: str) -> list[Point]:
        """The points of ``measurement`` in ``tier`` aggregated over each window of ``time_range``, as the roller wants them.

        One point a window and series (with ``session_id`` dropped: sums over the sessions), at the window's start. Sums are added up
        and maxima kept under the field's name; a gauge ``g`` gives its mean as ``g`` and its maximum as ``g_max`` (for the tier
        ``sessions``: the sum over the sessions of each one's), unless ``g_max`` is a field of its own; a state gives its last as
        ``s`` and its worst as ``s_max``.

        Raises:
            StoreUnavailable: the store does not answer.

        """
        ...

    def ready(self) -> str | None:
        """None when the store can be written to, or else what is wrong and what to do."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


@dataclass(frozen=True, slots=True)
class RowChange:
    """What a flush does to one row of records, by merge rule; JSON through and through.

    ``add``: column → number added. ``least``/``most``: column → the minimum or maximum is kept. ``once``: column → set where the
    row has none. ``latest``: column → [time ns, value], the latest event's value wins, ties by order. ``union``: column → names added
    to a list. ``states``: [time ns, rank, status, reason] of each change of status, the greatest of (time, rank) wins.
    """

    table: str
    key: Mapping[str, Any]
    add: Mapping[str, float] = field(default_factory=dict)
    least: Mapping[str, int] = field(default_factory=dict)
    most: Mapping[str, float] = field(default_factory=dict)
    once: Mapping[str, Any] = field(default_factory=dict)
    latest: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    union: Mapping[str, Sequence[str]] = field(default_factory=dict)
    states: Sequence[Sequence[Any]] = ()


@dataclass(frozen=True, slots=True)
class RecordChanges:
    """The record changes of one flush for one tenant and, for history sent under a key, one source.

    A ``source`` that was applied once is never applied again, by whichever flush or collector it comes.
    ``windows`` are the starts (ns) of the windows that the flush made dirty, by tier; ``apply`` leaves them alone, since the points may
    not be stored yet: :meth:`RecordStore.mark_windows` takes them afterwards.
    """

    tenant: str
    source: str | None
    rows: Sequence[RowChange]
    windows: Mapping[Tier, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DirtyWindow:
    """A window whose rollup must be computed again. ``mark`` changes whenever a flush touches it anew."""

    tenant: str
    tier: Tier
    start: int
    mark: int


class RecordStore(Protocol):
    """The half of the records that the collector writes. Its methods block and may be called from any thread.

    All raise :class:`~scrapewatch.problems.StoreUnavailable` when the database does not answer.
    """

    def lease_collector(self, spool_id: str) -> int:
        """The number (0–99) of the collector that owns the spool ``spool_id``: the same one at every call.

        Raises:
            ConfigurationError: every number was used within retention.

        """
        ...

    def apply(self, collector_no: int, number: int, changes: Sequence[RecordChanges]) -> bool:
        """Apply flush ``number`` in one transaction with its number; False when it was applied before and nothing changed."""
        ...

    def source_applied(self, tenant: str, source: str) -> bool:
        """Whether history under the key ``source`` was applied."""
        ...

    def mark_windows(self, changes: Sequence[RecordChanges]) -> None:
        """Mark the ``windows`` of ``changes`` dirty: once the points of their flush are stored, and as often as need be."""
        ...

    def dirty_windows(
        self, limit: int, *, settled_before: Mapping[Tier, int], without: Collection[str] = ()
    ) -> list[DirtyWindow]:
        """Up to ``limit`` dirty windows, oldest first, but for those of the tenants ``without``.

        A window whose tier is in ``settled_before`` is left out while it starts at or after that time (ns) – to be taken later.
        """
        ...

    def clear_window(self, window: DirtyWindow) -> None:
        """Forget a dirty window unless it was marked anew since."""
        ...

    def hold_lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take or keep the lease ``name`` for ``holder``; False while another holds it."""
        ...

    def watch_sessions(self, now: int, *, stall_after: float, abandon_after: float) -> list[str]:
        """Mark sessions silent for ``stall_after`` seconds as stalled, close those silent for ``abandon_after`` as failed.

        Returns the ids of the sessions that changed.
        """
        ...

    def wishes(self) -> Sequence[Wish]:
        """The wishes for sessions that are not fulfilled, of all tenants."""
        ...

    def ready(self) -> str | None:
        """None when the records can be written to, or else what is wrong and what to do."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
