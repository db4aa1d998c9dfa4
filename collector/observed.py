"""What the collector observes of itself while it works: counts and timings that its parts add to, and readers take snapshots of.

Every figure has one writer at a time (the loop's thread, the spool's, the folding one, one for each store), so plain additions do; a
reader on another thread may miss what is being added at that moment, never what was added before.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from scrapewatch import histogram


@dataclass(frozen=True, slots=True)
class Timed:
    """A timing as it was at one moment: ``total`` and ``highest`` in seconds, ``buckets`` counts as in :mod:`scrapewatch.histogram`."""

    count: int
    total: float
    highest: float
    buckets: tuple[int, ...]

    def quantile(self, q: float) -> float | None:
        """The ``q`` quantile (0–1) in seconds, off by at most a bucket's width; None before the first."""
        return histogram.quantile(self.buckets, q)

    def since(self, before: Timed, *, highest: float) -> Timed:
        """What was added since ``before``, of which ``highest`` was the longest."""
        buckets = tuple(now - then for now, then in zip(self.buckets, before.buckets, strict=True))
        return Timed(self.count - before.count, self.total - before.total, highest, buckets)


class Timing:
    """How long something took, each time: a sum, a maximum and a histogram."""

    __slots__ = ("_buckets", "_highest", "_recent", "_total")

    def __init__(self) -> None:
        self._total = 0.0
        self._highest = 0.0
        self._recent = 0.0
        self._buckets = [0] * histogram.BUCKETS

    def add(self, seconds: float) -> None:
        """It took ``seconds`` this time."""
        self._total += seconds
        self._buckets[histogram.bucket_of(seconds)] += 1
        if seconds > self._recent:
            self._recent = seconds
            if seconds > self._highest:
                self._highest = seconds

    def add_all(self, more: Timed) -> None:
        """Add what another process timed."""
        self._total += more.total
        self._recent = max(self._recent, more.highest)
        self._highest = max(self._highest, more.highest)
        for place, count in enumerate(more.buckets):
            self._buckets[place] += count

    def snapshot(self) -> Timed:
        """All times since the start; the count is that of the buckets, so that the two agree."""
        buckets = tuple(self._buckets)
        return Timed(sum(buckets), self._total, self._highest, buckets)

    def take_recent(self) -> float:
        """The longest (s) since this was last asked; for one reader only."""
        recent, self._recent = self._recent, 0.0
        return recent


TIMINGS = ("ack", "commit", "fold", "write_series", "apply_records")
"""The timings of :class:`Observed`, in the order that an event passes them."""


@dataclass(slots=True)
class Observed:
    """The figures of one collector since its process began."""

    ack: Timing = field(default_factory=Timing)
    """From the whole body to its events being durable."""
    commit: Timing = field(default_factory=Timing)
    """One commit of the spool, fsync included, for however many requests."""
    fold: Timing = field(default_factory=Timing)
    """Cutting, folding and persisting one flush."""
    write_series: Timing = field(default_factory=Timing)
    """One write of a flush to the store of points, whatever became of it."""
    apply_records: Timing = field(default_factory=Timing)
    """One application of a flush to the records, whatever became of it."""

    requests: int = 0
    """Requests answered, whatever the answer."""
    duplicates: int = 0
    """Events that were known."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Items that were no events, by the field at fault."""
    refused: Counter[str] = field(default_factory=Counter)
    """Requests turned away as a whole, by reason in few words with hyphens, such as ``spool-full`` or ``tenant-rate``."""
    sampler_seconds: float = 0.0
    """Processor time of the sampler."""

    def timings(self) -> dict[str, Timing]:
        """The timings by name."""
        return {name: getattr(self, name) for name in TIMINGS}
