"""What the API asks of its stores: timed, counted where it fails, and told to the tracer, by the name of what is asked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from prometheus_client import Counter, Histogram

from scrapewatch.line_protocol import Point
from scrapewatch.measurements import Tier
from scrapewatch.ports import Flush, SeriesStore, Table, TimeRange, WriteResult
from scrapewatch.problems import StoreUnavailable
from scrapewatch.tracing import span

RECORDS: Final = "records"
SERIES: Final = "series"

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Upper edges of the histograms of this process' answers, in seconds."""


class Asked:
    """Metrics of what is asked of the stores. The names of what is asked are those of questions and of functions: few, and ours."""

    def __init__(self) -> None:
        self.seconds = Histogram(
            "scrapewatch_store_seconds",
            "Time until a store answered the API, in seconds, waits for a thread included.",
            ("store", "call"),
            buckets=BUCKETS,
            registry=None,
        )
        self.failures = Counter(
            "scrapewatch_store_failures",
            "Calls of the API that a store did not answer.",
            ("store", "call"),
            registry=None,
        )

    @contextmanager
    def asking(self, store: str, call: str) -> Iterator[None]:
        """Time the block, in which ``store`` is asked for ``call``."""
        began = time.perf_counter()
        try:
            with span(f"{store} {call}", {"scrapewatch.store": store, "scrapewatch.call": call}):
                yield
        except StoreUnavailable:
            self.failures.labels(store, call).inc()
            raise
        finally:
            self.seconds.labels(store, call).observe(time.perf_counter() - began)


class AskedSeries:
    """A store of points that tells ``asked`` of each question; the rest is as ``store`` does it."""

    def __init__(self, store: SeriesStore, asked: Asked) -> None:
        self._store = store
        self._asked = asked
        self.takes_lines = store.takes_lines

    def ask(
        self, question: str, parameters: Mapping[str, str], time_range: TimeRange, *, tier: Tier, tenant: str
    ) -> Table:
        """The rows of a question, whose name was looked up before: see :func:`scrapewatch.answers.ask`."""
        with self._asked.asking(SERIES, question):
            return self._store.ask(question, parameters, time_range, tier=tier, tenant=tenant)

    def write(self, flush: Flush) -> WriteResult:
        """Store the points of ``flush``."""
        return self._store.write(flush)

    def windows(self, measurement: str, time_range: TimeRange, *, tier: Tier, tenant: str) -> list[Point]:
        """The points of ``measurement`` aggregated over windows."""
        return self._store.windows(measurement, time_range, tier=tier, tenant=tenant)

    def ready(self) -> str | None:
        """None when the store can be written to, or else what is wrong."""
        return self._store.ready()

    def close(self) -> None:
        """Let go of files and connections."""
        self._store.close()
