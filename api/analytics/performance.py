"""How scraping went: the summary, trends, and the sites beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from api.analytics.asking import Span, Totals
from api.units import unit
from records.queries import SessionNumbers
from scrapewatch.answers import (
    Figures,
    change_percent,
    figures_by_site,
    figures_of_all,
)
from scrapewatch.ports import Table
from scrapewatch.time import HOUR, to_datetime

STEADY_PERCENT = 5.0
"""Changes up to this many percent are called steady."""

_SHARE, _SECONDS, _PERCENT, _AN_HOUR = map(unit, ("share", "s", "percent", "1/h"))

_FIGURES: JsonDict = {
    "jobs": 12_480,
    "jobs_saved": 9_950,
    "jobs_per_hour": 74.3,
    "pages": 6_240,
    "success_rate": 0.962,
    "block_rate": 0.021,
    "response_time": 0.84,
    "response_time_p50": 0.71,
    "response_time_p95": 2.05,
    "errors": 241,
    "errors_by_type": {"403": 131, "timeout": 110},
}


class PerformanceFigures(BaseModel):
    """What came of scraping in some time. Rates and times are null where nothing was tried."""

    jobs: int = Field(description="Postings found.")
    jobs_saved: int = Field(description="Of these, stored: valid and new.")
    jobs_per_hour: float = Field(description="Postings found per hour.", json_schema_extra=_AN_HOUR)
    pages: int = Field(description="Pages processed.")
    success_rate: float | None = Field(
        description="Share (0–1) of attempts that brought a good page.", json_schema_extra=_SHARE
    )
    block_rate: float | None = Field(
        description="Share (0–1) of pages that were blocks, captchas or consent walls.",
        json_schema_extra=_SHARE,
    )
    response_time: float | None = Field(description="Mean time of a page, s.", json_schema_extra=_SECONDS)
    response_time_p50: float | None = Field(
        description="Time that half of the pages did not exceed, s; off by a factor of √2 at most.",
        json_schema_extra=_SECONDS,
    )
    response_time_p95: float | None = Field(
        description="Time that 95 % of the pages did not exceed, s; off by a factor of √2 at most.",
        json_schema_extra=_SECONDS,
    )
    errors: int = Field(description="Errors reported.")
    errors_by_type: dict[str, int] = Field(description="Errors by their type, the most frequent first.")

    @classmethod
    def of(cls, figures: Figures, hours: float) -> PerformanceFigures:
        """Those of ``figures``, which came in ``hours``."""
        return cls(**_values(figures, hours))


def _values(figures: Figures, hours: float) -> dict[str, object]:
    return {
        "jobs": figures.jobs,
        "jobs_saved": figures.saved,
        "jobs_per_hour": figures.jobs / hours,
        "pages": figures.pages,
        "success_rate": figures.success_rate,
        "block_rate": figures.block_rate,
        "response_time": figures.response_time,
        "response_time_p50": figures.response_time_at(0.5),
        "response_time_p95": figures.response_time_at(0.95),
        "errors": figures.errors,
        "errors_by_type": dict(sorted(figures.errors_by_type.items(), key=lambda item: (-item[1], item[0]))),
    }


class PerformanceChange(BaseModel):
    """How much it changed against the time of the same length before, in percent of what it was; null where there is nothing to compare."""

    jobs_per_hour: float | None = Field(
        description="Change of the postings per hour, %.", json_schema_extra=_PERCENT
    )
    success_rate: float | None = Field(
        description="Change of the success rate, %.", json_schema_extra=_PERCENT
    )
    response_time: float | None = Field(
        description="Change of the mean time of a page, %; below 0 is faster.", json_schema_extra=_PERCENT
    )

    @classmethod
    def of(cls, now: PerformanceFigures, before: PerformanceFigures) -> PerformanceChange:
        """From ``before`` to ``now``."""
        return cls(
            jobs_per_hour=change_percent(now.jobs_per_hour, before.jobs_per_hour),
            success_rate=change_percent(now.success_rate, before.success_rate),
            response_time=change_percent(now.response_time, before.response_time),
        )


class SessionFigures(BaseModel):
    """The sessions that began in that time."""

    total: int = Field(description="Sessions that began.")
    by_status: dict[str, int] = Field(description="Of these, by what they do now.")
    by_verdict: dict[str, int] = Field(
        description="Of those that ended or are stalled, by what they really were."
    )

    @classmethod
    def of(cls, numbers: SessionNumbers) -> SessionFigures:
        """Those that the records counted."""
        return cls(
            total=sum(numbers.by_status.values()),
            by_status=numbers.by_status,
            by_verdict=numbers.by_verdict,
        )


class SiteSummary(PerformanceFigures):
    """The figures of one site."""

    site: str = Field(description="The site.")


class PerformanceSummary(BaseModel):
    """How the last days went."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "days": 7,
                "start": "2026-01-05T10:00:00Z",
                "stop": "2026-01-12T10:12:31Z",
                "sessions": {
                    "total": 84,
                    "by_status": {"completed": 80, "failed": 3, "running": 1},
                    "by_verdict": {"healthy": 75, "blocked": 5, "empty": 3},
                },
                "figures": _FIGURES,
                "change_percent": {"jobs_per_hour": 4.2, "success_rate": -0.7, "response_time": 12.5},
                "sites": [{**_FIGURES, "site": "indeed"}],
                "degraded": [],
            }
        }
    )

    days: int = Field(description="Days asked for.", json_schema_extra=unit("d"))
    start: datetime = Field(
        description="From when: that many days ago, or the start of the hour that holds it."
    )
    stop: datetime = Field(description="Until when: now.")
    sessions: SessionFigures | None = Field(
        description="The sessions; null where the records cannot be read."
    )
    figures: PerformanceFigures | None = Field(
        description="All sites together; null where the points cannot be read."
    )
    change_percent: PerformanceChange | None = Field(
        description="Against the time of the same length before; null where the points cannot be read."
    )
    sites: list[SiteSummary] = Field(description="Each site, the one with most postings first.")
    degraded: list[str] = Field(description="What could not be asked now: `series`, `records`.")

    @classmethod
    def of(
        cls,
        days: int,
        span: Span,
        totals: Totals | None,
        numbers: SessionNumbers | None,
        degraded: list[str],
    ) -> PerformanceSummary:
        """The summary of what the stores answered; None where one did not."""
        figures = change = None
        sites: list[SiteSummary] = []
        if totals is not None:
            by_site = figures_by_site(totals.now)
            before = figures_of_all(figures_by_site(totals.before).values())
            figures = PerformanceFigures.of(figures_of_all(by_site.values()), span.hours)
            change = PerformanceChange.of(figures, PerformanceFigures.of(before, span.hours_before))
            sites = sites_of(by_site, span.hours)
        return cls(
            days=days,
            start=to_datetime(span.start),
            stop=to_datetime(span.now),
            sessions=None if numbers is None else SessionFigures.of(numbers),
            figures=figures,
            change_percent=change,
            sites=sites,
            degraded=degraded,
        )


def sites_of(by_site: Mapping[str, Figures], hours: float) -> list[SiteSummary]:
    """The sites that anything was tried at, the one with most postings first."""
    sites = [
        SiteSummary.model_validate({"site": site, **_values(figures, hours)})
        for site, figures in by_site.items()
        if figures
    ]
    return sorted(sites, key=lambda site: (-site.jobs, site.site))


Metric = Literal["jobs_per_hour", "success_rate", "response_time"]
UNITS: Mapping[str, str] = {"jobs_per_hour": "1/h", "success_rate": "share", "response_time": "s"}
QUESTION_OF: Mapping[str, str] = {
    "jobs_per_hour": "throughput",
    "success_rate": "success_rate",
    "response_time": "page_times",
}


class TrendPoint(BaseModel):
    """One window."""

    time: datetime = Field(description="Its start.")
    value: float | None = Field(
        description="The metric in it, in the answer's `unit`; null where nothing was tried (postings per hour: 0)."
    )
    sites: dict[str, float] = Field(description="The metric at each site where anything was tried.")


class PerformanceTrend(BaseModel):
    """One metric over time."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "metric": "success_rate",
                "unit": "share",
                "period": "24h",
                "interval_seconds": 900.0,
                "start": "2026-01-11T10:00:00Z",
                "stop": "2026-01-12T10:12:31Z",
                "value": 0.962,
                "previous_value": 0.971,
                "change_percent": -0.93,
                "direction": "steady",
                "least": 0.8,
                "most": 1.0,
                "items": [{"time": "2026-01-11T10:00:00Z", "value": 0.95, "sites": {"indeed": 0.95}}],
                "next_cursor": None,
            }
        }
    )

    metric: str = Field(description="The metric.")
    unit: str = Field(description="Its unit: `1/h`, `share` (0–1) or `s`.")
    period: str = Field(description="The period asked for.")
    interval_seconds: float = Field(description="Length of a window, s.", json_schema_extra=_SECONDS)
    start: datetime = Field(description="Start of the first window.")
    stop: datetime = Field(description="Until when: now.")
    value: float | None = Field(description="The metric over the whole period; null where nothing was tried.")
    previous_value: float | None = Field(description="The metric over the period of the same length before.")
    change_percent: float | None = Field(
        description="Change against the period before, %.", json_schema_extra=_PERCENT
    )
    direction: Literal["up", "down", "steady"] | None = Field(
        description=f"Where it goes against the period before; steady is within {STEADY_PERCENT:g} %."
    )
    least: float | None = Field(description="The lowest window that is over.")
    most: float | None = Field(description="The highest window that is over.")
    items: list[TrendPoint] = Field(description="Every window, the oldest first; the last is still open.")
    next_cursor: str | None = Field(None, description="Always null: all windows are answered at once.")

    @classmethod
    def of(cls, metric: Metric, period: str, span: Span, table: Table) -> PerformanceTrend:
        """The trend of ``metric`` in the rows of its question over ``span`` and the one before."""
        tables = {QUESTION_OF[metric]: table}
        windows = Table(table.columns, [])
        by_time: dict[int, Table] = {}
        for row in table.rows:
            by_time.setdefault(row[0], Table(table.columns, [])).rows.append(row)
        items = []
        for start in range(span.this.start, span.this.stop, span.every):
            length = min(start + span.every, span.now) - start
            by_site = figures_by_site({QUESTION_OF[metric]: by_time.get(start, windows)})
            sites = {site: _of(metric, figures, length) for site, figures in by_site.items()}
            whole = figures_of_all(by_site.values())
            items.append(
                TrendPoint(
                    time=to_datetime(start),
                    value=_of(metric, whole, length),
                    sites={site: value for site, value in sites.items() if value is not None},
                )
            )
        now = figures_of_all(figures_by_site(tables, span.start).values())
        before = figures_of_all(figures_by_site(tables, None, span.start).values())
        value = _of(metric, now, span.now - span.start)
        previous = _of(metric, before, span.this.stop - span.this.start)
        change = change_percent(value, previous)
        over = [item.value for item in items[:-1] if item.value is not None]
        return cls(
            metric=metric,
            unit=UNITS[metric],
            period=period,
            interval_seconds=span.every / 1e9,
            start=to_datetime(span.start),
            stop=to_datetime(span.now),
            value=value,
            previous_value=previous,
            change_percent=change,
            direction=_direction(change),
            least=min(over, default=None),
            most=max(over, default=None),
            items=items,
        )


def _of(metric: Metric, figures: Figures, length: int) -> float | None:
    """``metric`` of what came in ``length`` ns."""
    if metric == "jobs_per_hour":
        return figures.jobs * HOUR / max(length, 1)
    return figures.success_rate if metric == "success_rate" else figures.response_time


def _direction(change: float | None) -> Literal["up", "down", "steady"] | None:
    if change is None:
        return None
    if abs(change) <= STEADY_PERCENT:
        return "steady"
    return "up" if change > 0 else "down"


class ComparedSite(SiteSummary):
    """A site beside the others."""

    share_of_jobs: float | None = Field(
        description="Share (0–1) of all postings found that came from it.", json_schema_extra=_SHARE
    )
    change_percent: PerformanceChange = Field(description="Against the time of the same length before.")


class BestSites(BaseModel):
    """The best site by each measure; null where no site has one. Of equals, the first by name."""

    jobs_per_hour: str | None = Field(description="The site with most postings per hour.")
    success_rate: str | None = Field(description="The site with the highest success rate.")
    response_time: str | None = Field(description="The site whose pages came fastest.")


class SitesComparison(BaseModel):
    """The sites beside each other."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "days": 7,
                "start": "2026-01-05T10:00:00Z",
                "stop": "2026-01-12T10:12:31Z",
                "items": [
                    {
                        **_FIGURES,
                        "site": "indeed",
                        "share_of_jobs": 0.8,
                        "change_percent": {
                            "jobs_per_hour": 4.2,
                            "success_rate": -0.7,
                            "response_time": None,
                        },
                    }
                ],
                "best": {"jobs_per_hour": "indeed", "success_rate": "indeed", "response_time": "indeed"},
                "next_cursor": None,
            }
        }
    )

    days: int = Field(description="Days asked for.", json_schema_extra=unit("d"))
    start: datetime = Field(
        description="From when: that many days ago, or the start of the hour that holds it."
    )
    stop: datetime = Field(description="Until when: now.")
    items: list[ComparedSite] = Field(
        description="The sites that anything was tried at, the one with most postings first."
    )
    best: BestSites = Field(description="The best by each measure.")
    next_cursor: str | None = Field(None, description="Always null: all sites are answered at once.")

    @classmethod
    def of(cls, days: int, span: Span, totals: Totals) -> SitesComparison:
        """The comparison of the sites in ``totals``."""
        now = figures_by_site(totals.now)
        before = figures_by_site(totals.before)
        jobs = sum(figures.jobs for figures in now.values())
        items = [
            ComparedSite(
                **site.model_dump(),
                share_of_jobs=site.jobs / jobs if jobs else None,
                change_percent=PerformanceChange.of(
                    site, PerformanceFigures.of(before.get(site.site, Figures()), span.hours_before)
                ),
            )
            for site in sites_of(now, span.hours)
        ]
        return cls(
            days=days,
            start=to_datetime(span.start),
            stop=to_datetime(span.now),
            items=items,
            best=BestSites(
                jobs_per_hour=_best({site.site: site.jobs_per_hour or None for site in items}),
                success_rate=_best({site.site: site.success_rate for site in items}),
                response_time=_best(
                    {site.site: None if (t := site.response_time) is None else -t for site in items}
                ),
            ),
        )


def _best(values: Mapping[str, float | None]) -> str | None:
    known = [(-value, site) for site, value in values.items() if value is not None]
    return min(known)[1] if known else None
