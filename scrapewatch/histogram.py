"""The histogram of durations: edges √2 apart and frozen, so that counts of any two flushes, windows or collectors add up.

Bucket ``k`` counts durations ``d`` (seconds) with ``EDGES[k-1] < d <= EDGES[k]``; the first holds all up to 1 ms, the last all
above the last edge (about 1,049 s). A quantile read from it is off by at most one bucket's width, a factor of √2.
Changing the edges means new field names: the old counts cannot be converted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

EDGES: tuple[float, ...] = tuple(0.001 * 2 ** (k / 2) for k in range(41))
"""Upper edges in seconds, inclusive; the bucket after the last has none."""

BUCKETS = len(EDGES) + 1
FIELDS: tuple[str, ...] = tuple(f"h{k:02d}" for k in range(BUCKETS))
"""Field name of each bucket's count."""


def bucket_of(duration: float) -> int:
    """Index of the bucket that counts ``duration`` (seconds)."""
    return bisect_left(EDGES, duration)


def quantile(counts: Sequence[int], q: float, *, maximum: float | None = None) -> float | None:
    """The ``q`` quantile (0–1) in seconds of ``counts``, or None when all are zero.

    Linear within its bucket, as Prometheus' ``histogram_quantile`` does; ``maximum``, when known, bounds the last buckets.
    """
    total = sum(counts)
    if total == 0:
        return None
    rank = q * total
    seen = 0
    for k, n in enumerate(counts):
        if n and seen + n >= rank:
            low = 0.0 if k == 0 else EDGES[k - 1]
            high = EDGES[k] if k < len(EDGES) else (maximum if maximum is not None else EDGES[-1])
            value = low + (high - low) * max(rank - seen, 0.0) / n
            return value if maximum is None else min(value, maximum)
        seen += n
    raise AssertionError("unreachable: the ranks of all buckets cover every quantile")
