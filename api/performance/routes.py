"""The route of performance."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from api.access import tenant_of
from api.performance.advice import advice
from api.performance.figures import Compared, Performance, Point, Sums
from api.services import ApiServices
from api.timeframes import Timeframe, lately
from scrapewatch.answers import ask
from scrapewatch.http import problem_responses
from scrapewatch.time import now_ns, to_datetime


def _figure(unit: str, now: float, before: float, change: float) -> JsonDict:
    return {
        "unit": unit,
        "current": now,
        "previous": before,
        "change_percent": change,
        "series": [{"time": "2026-01-05T10:00:00Z", "value": now}],
    }


class SeriesPoint(BaseModel):
    """The value of a window."""

    time: datetime = Field(description="Start of the window.")
    value: float | None = Field(description="The figure in it; null where nothing is known.")


class Change(BaseModel):
    """A figure now and in the period before."""

    current: float | None = Field(description="Over the period; null where nothing is known.")
    previous: float | None = Field(description="Over the period before.")
    change_percent: float | None = Field(
        description="By how many percent of the previous one it is more.",
        json_schema_extra={"unit": "percent"},
    )

    @classmethod
    def of(cls, found: Compared) -> Change:
        """``found`` as the API shows it."""
        return cls(current=found.current, previous=found.previous, change_percent=found.change_percent)


class Figure(Change):
    """A figure now, in the period before, and by window."""

    unit: str = Field(description="Its unit.")
    series: list[SeriesPoint] = Field(description="By window, without a gap; the last window is open.")


class Totals(BaseModel):
    """What was counted."""

    model_config = ConfigDict(from_attributes=True)

    jobs: int = Field(description="Postings found.")
    pages: int = Field(description="Pages processed.")
    ok: int = Field(description="Of these, good.")
    blocked: int = Field(description="Of these, block pages.")
    errors: int = Field(description="Errors reported.")
    items: int = Field(description="Items looked at for their quality.")
    valid: int = Field(description="Of these, valid.")
    duplicates: int = Field(description="Of these, duplicates.")


class SitePerformance(BaseModel):
    """The figures of a site."""

    site: str = Field(description="The site.")
    totals: Totals = Field(description="What was counted in the period.")
    throughput: Change = Field(description="Postings per hour.", json_schema_extra={"unit": "1/h"})
    success_rate: Change = Field(
        description="Share of attempts that brought a good page, 0–1.", json_schema_extra={"unit": "share"}
    )
    response_time: Change = Field(description="Mean time of a page, s.", json_schema_extra={"unit": "s"})
    data_quality: Change = Field(
        description="Share of items that are valid, 0–1.", json_schema_extra={"unit": "share"}
    )


class PerformanceAdvice(BaseModel):
    """What was seen, and what to do."""

    model_config = ConfigDict(from_attributes=True)

    severity: str = Field(description="warning or critical.")
    metric: str = Field(description="Which figure it is about.")
    site: str = Field(description="Which site.")
    text: str = Field(description="What was seen, in a sentence.")
    action: str = Field(description="What to do about it.")


class PerformanceReport(BaseModel):
    """How fast, how well and how cleanly was scraped."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "timeframe": "24h",
                "interval_seconds": 900.0,
                "start": "2026-01-04T12:00:00Z",
                "stop": "2026-01-05T10:02:00Z",
                "previous_start": "2026-01-03T12:00:00Z",
                "throughput": _figure("1/h", 420.0, 400.0, 5.0),
                "success_rate": _figure("share", 0.95, 0.97, -2.1),
                "response_time": _figure("s", 0.8, 0.75, 6.7),
                "data_quality": _figure("share", 0.98, 0.98, 0.0),
                "duplicates": _figure("share", 0.06, 0.05, 20.0),
                "totals": {
                    "jobs": 10080,
                    "pages": 2400,
                    "ok": 2280,
                    "blocked": 80,
                    "errors": 110,
                    "items": 10080,
                    "valid": 9878,
                    "duplicates": 605,
                },
                "sites": [],
                "recommendations": [
                    {
                        "severity": "warning",
                        "metric": "response_time",
                        "site": "indeed",
                        "text": "pages of indeed take 1.90 s, 72 % longer than before",
                        "action": "see whether the site, the proxies or the machine is slow",
                    }
                ],
            }
        }
    )

    timeframe: str = Field(description="The length of the period.")
    interval_seconds: float = Field(description="The length of a window, s.", json_schema_extra={"unit": "s"})
    start: datetime = Field(
        description="From when it is counted: the start of a whole window, so that up to a twelfth of the timeframe is still to come."
    )
    stop: datetime = Field(description="Until when: now.")
    previous_start: datetime = Field(description="Where the period before begins, which ends at `start`.")
    throughput: Figure = Field(description="Postings per hour.")
    success_rate: Figure = Field(description="Share of attempts that brought a good page, 0–1.")
    response_time: Figure = Field(description="Mean time of a page, s.")
    data_quality: Figure = Field(description="Share of items that are valid, 0–1.")
    duplicates: Figure = Field(description="Share of items that are duplicates, 0–1.")
    totals: Totals = Field(description="What was counted in the period.")
    sites: list[SitePerformance] = Field(description="The same by site, those with most postings first.")
    recommendations: list[PerformanceAdvice] = Field(
        description="What to do about sites that do badly, or much worse than before; the critical first."
    )


def report(performance: Performance, timeframe: str) -> PerformanceReport:
    """The report of ``performance``."""
    now, before = performance.total, performance.before
    by_jobs = sorted(performance.sites.items(), key=lambda item: (-item[1][1].jobs, item[0]))

    def figure(unit: str, found: Compared, series: list[Point]) -> Figure:
        return Figure(
            unit=unit,
            current=found.current,
            previous=found.previous,
            change_percent=found.change_percent,
            series=[SeriesPoint(time=to_datetime(point.time), value=point.value) for point in series],
        )

    return PerformanceReport(
        timeframe=timeframe,
        interval_seconds=performance.time_range.every / 1e9,
        start=to_datetime(performance.time_range.start),
        stop=to_datetime(performance.now),
        previous_start=to_datetime(performance.start_before),
        throughput=figure("1/h", performance.jobs_per_hour(now, before), performance.throughput()),
        success_rate=figure(
            "share",
            Compared(now.success_rate, before.success_rate),
            performance.series(lambda found: found.success_rate),
        ),
        response_time=figure(
            "s",
            Compared(now.response_time, before.response_time),
            performance.series(lambda found: found.response_time),
        ),
        data_quality=figure(
            "share",
            Compared(now.valid_share, before.valid_share),
            performance.series(lambda found: found.valid_share),
        ),
        duplicates=figure(
            "share",
            Compared(now.duplicate_share, before.duplicate_share),
            performance.series(lambda found: found.duplicate_share),
        ),
        totals=Totals.model_validate(now),
        sites=[_site(performance, site, found, known) for site, (known, found) in by_jobs],
        recommendations=[PerformanceAdvice.model_validate(each) for each in advice(performance)],
    )


def _site(performance: Performance, site: str, now: Sums, before: Sums) -> SitePerformance:
    return SitePerformance(
        site=site,
        totals=Totals.model_validate(now),
        throughput=Change.of(performance.jobs_per_hour(now, before)),
        success_rate=Change.of(Compared(now.success_rate, before.success_rate)),
        response_time=Change.of(Compared(now.response_time, before.response_time)),
        data_quality=Change.of(Compared(now.valid_share, before.valid_share)),
    )


def build_router(services: ApiServices) -> APIRouter:
    """The route ``/monitoring/analytics/performance``."""
    router = APIRouter(
        prefix="/monitoring/analytics", tags=["analytics"], route_class=services.telemetry.route_class()
    )
    series = services.patience["series"]

    @router.get(
        "/performance",
        summary="Performance, and what changed",
        response_model=PerformanceReport,
        responses=problem_responses(422, 503),
    )
    async def performance(
        request: Request,
        timeframe: Annotated[Timeframe, Query(description="The length of the period.")] = "24h",
    ) -> PerformanceReport:
        """Throughput, success rate, response time and data quality: by window, and against the period of that length before.

        Rates are over the time that has passed; what came in the last minute may be missing.
        """
        now = now_ns()
        windows, parts = lately(timeframe, now)
        by_window, by_site = await asyncio.gather(
            *(
                series.call(ask, services.series, question, {}, time_range, tenant=tenant_of(request))
                for question, time_range in (("performance", windows), ("site_performance", parts))
            )
        )
        found = Performance(by_window, by_site, windows, before=parts.start, now=now)
        return report(found, timeframe)

    return router
