"""The figures of one session by interval, made of the rows of the question ``session_metrics``."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated

from pydantic import BaseModel, Field

from scrapewatch.answers import Counts, per_minute
from scrapewatch.ports import Table, TimeRange
from scrapewatch.problems import InvalidInput
from scrapewatch.time import DAY, HOUR, MINUTE, to_rfc3339

INTERVALS = MappingProxyType({"1m": MINUTE, "5m": 5 * MINUTE, "1h": HOUR, "1d": DAY})
MOST_WINDOWS = 2_000


class SessionWindow(BaseModel):
    """One window of a session. Rates are 0 and gauges null in a window without an event."""

    time: str = Field(description="Start of the window, RFC 3339 in UTC.")
    jobs_per_minute: float = Field(
        description="Postings found per minute.", json_schema_extra={"unit": "1/min"}
    )
    active_scrapers: float | None = Field(
        description="Scrapers at work, the highest of the window.", json_schema_extra={"unit": "1"}
    )
    queue_depth: float | None = Field(
        description="Requests that wait, the highest of the window.", json_schema_extra={"unit": "1"}
    )
    memory_usage_mb: float | None = Field(
        description="Memory of the scraper's process, the highest of the window, MiB.",
        json_schema_extra={"unit": "MiBy"},
    )
    cpu_usage_percent: float | None = Field(
        description="Use of one core by the scraper's process, mean, 0–100.",
        json_schema_extra={"unit": "percent"},
    )
    site_response_times: dict[str, Annotated[float, Field(json_schema_extra={"unit": "s"})]] = Field(
        description="Mean time of a page in seconds, by site."
    )
    site_success_rates: dict[str, Annotated[float, Field(json_schema_extra={"unit": "share"})]] = Field(
        description="Share (0–1) of attempts that brought a good page, by site."
    )
    error_counts: dict[str, int] = Field(description="Errors, by type.")


def range_of(start: int, stop: int, interval: str) -> TimeRange:
    """The windows of ``interval`` from ``start`` to ``stop`` (ns).

    Raises:
        InvalidInput: they are more than :data:`MOST_WINDOWS`; says which interval to ask for.
    """
    time_range = TimeRange.widened(start, max(stop, start + 1), INTERVALS[interval])
    windows = (time_range.stop - time_range.start) // time_range.every
    if windows > MOST_WINDOWS:
        fitting = [name for name, every in INTERVALS.items() if (stop - start) // every + 2 <= MOST_WINDOWS]
        advice = f"ask for interval={fitting[0]}" if fitting else "no interval is long enough for it"
        raise InvalidInput(
            f"this session has {windows:,} windows of {interval}, at most {MOST_WINDOWS:,} are answered: {advice}",
            "query.interval",
        )
    return time_range


@dataclass(slots=True)
class _Window:
    scraped: int = 0
    sites: defaultdict[str, Counts] = field(default_factory=lambda: defaultdict(Counts))
    errors: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    depth: dict[str, float] = field(default_factory=dict)
    active: dict[str, float] = field(default_factory=dict)
    memory: float | None = None
    cpu: float | None = None


def windows_of(table: Table, every: int) -> list[SessionWindow]:
    """``table`` as one item a window, from the first with an event to the last, those between without one included."""
    found: dict[int, _Window] = {}
    for row in table.dicts():
        window = found.setdefault(row["time"], _Window())
        site = row["site"]
        window.scraped += row["scraped"] or 0
        if row["pages"] or row["errors"]:
            counts = window.sites[site]
            counts.pages += row["pages"] or 0
            counts.ok += row["ok"] or 0
            counts.errors += row["errors"] or 0
            counts.timed += row["duration_count"] or 0
            counts.duration += row["duration_sum"] or 0.0
        if row["errors"]:
            window.errors[row["type"]] += row["errors"]
        if row["depth"] is not None:
            window.depth[site] = row["depth"]
        if row["active_scrapers"] is not None:
            window.active[site] = row["active_scrapers"]
        if row["memory_mb"] is not None:
            window.memory = row["memory_mb"]
        if row["cpu_percent"] is not None:
            window.cpu = row["cpu_percent"]
    if not found:
        return []
    empty = _Window()
    return [
        _item(start, found.get(start, empty), every) for start in range(min(found), max(found) + 1, every)
    ]


def _item(start: int, window: _Window, every: int) -> SessionWindow:
    return SessionWindow(
        time=to_rfc3339(start),
        jobs_per_minute=per_minute(window.scraped, every),
        active_scrapers=_whole(window.active),
        queue_depth=_whole(window.depth),
        memory_usage_mb=window.memory,
        cpu_usage_percent=window.cpu,
        site_response_times={
            site: mean for site, counts in window.sites.items() if (mean := counts.response_time) is not None
        },
        site_success_rates={
            site: share for site, counts in window.sites.items() if (share := counts.success_rate) is not None
        },
        error_counts=dict(window.errors),
    )


def _whole(by_site: dict[str, float]) -> float | None:
    """The session's own figure where it reports one, or else that of its sites added up."""
    if not by_site:
        return None
    return by_site[""] if "" in by_site else sum(by_site.values())
