"""The routes of analytics."""

from __future__ import annotations

import asyncio
from types import MappingProxyType
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request

from api.access import tenant_of
from api.analytics.asking import Span, ask_all, ask_totals
from api.analytics.market import MarketInsights
from api.analytics.performance import (
    QUESTION_OF,
    Metric,
    PerformanceSummary,
    PerformanceTrend,
    SitesComparison,
)
from api.analytics.roi import PRICE_PATTERN, OwnFigures, Roi, read_price
from api.services import ApiServices
from records.queries import SessionNumbers
from scrapewatch.answers import COUNTS
from scrapewatch.http import problem_responses
from scrapewatch.ports import Table
from scrapewatch.problems import InvalidInput, StoreUnavailable
from scrapewatch.time import DAY, HOUR, MINUTE, now_ns, to_datetime

PERIODS: Final = MappingProxyType(
    {
        "1h": (HOUR, MINUTE),
        "6h": (6 * HOUR, 5 * MINUTE),
        "24h": (DAY, 15 * MINUTE),
        "7d": (7 * DAY, 2 * HOUR),
        "30d": (30 * DAY, 6 * HOUR),
        "90d": (90 * DAY, DAY),
    }
)
"""Period of a trend → its length and that of its windows (ns)."""

Days = Annotated[int, Query(ge=1, le=365, description="The last so many days.")]


def build_router(services: ApiServices) -> APIRouter:
    """The routes below ``/analytics``."""
    router = APIRouter(prefix="/analytics", tags=["analytics"], route_class=services.telemetry.route_class())
    records = services.patience["records"]

    @router.get(
        "/performance/summary",
        summary="How the last days went",
        response_model=PerformanceSummary,
        responses=problem_responses(422, 503),
    )
    async def summary(request: Request, days: Days = 7) -> PerformanceSummary:
        """All sites together and each by itself, against the time of the same length before.

        With one of the stores down it answers what the other knows, and says so in `degraded`; with both down it is a 503.
        """
        tenant = tenant_of(request)
        span = Span.of_days(days, now_ns())
        numbers: SessionNumbers | BaseException
        totals, numbers = await asyncio.gather(
            ask_totals(services, tenant, span),
            records.call(
                services.records.session_numbers, tenant, to_datetime(span.start), to_datetime(span.now)
            ),
            return_exceptions=True,
        )
        degraded = []
        for name, answer in (("series", totals), ("records", numbers)):
            if isinstance(answer, StoreUnavailable):
                degraded.append(name)
            elif isinstance(answer, BaseException):
                raise answer
        if isinstance(totals, BaseException) and isinstance(numbers, BaseException):
            raise totals
        return PerformanceSummary.of(
            days,
            span,
            None if isinstance(totals, BaseException) else totals,
            None if isinstance(numbers, BaseException) else numbers,
            degraded,
        )

    @router.get(
        "/performance/trends",
        summary="One metric over time",
        response_model=PerformanceTrend,
        responses=problem_responses(422, 503),
    )
    async def trends(
        request: Request,
        metric: Annotated[Metric, Query(description="What to follow.")] = "jobs_per_hour",
        period: Annotated[
            Literal["1h", "6h", "24h", "7d", "30d", "90d"], Query(description="How far back.")
        ] = "24h",
        site: Annotated[
            str | None, Query(max_length=100, description="Only this site.", examples=["indeed"])
        ] = None,
    ) -> PerformanceTrend:
        """By window, for all sites together and each by itself, and against the period before."""
        length, every = PERIODS[period]
        span = Span.of(length, now_ns(), every)
        question = QUESTION_OF[metric]
        tables = await ask_all(services, tenant_of(request), (question,), span.both, site=site or "")
        return PerformanceTrend.of(metric, period, span, tables[question])

    @router.get(
        "/sites/comparison",
        summary="The sites beside each other",
        response_model=SitesComparison,
        responses=problem_responses(422, 503),
    )
    async def comparison(request: Request, days: Days = 7) -> SitesComparison:
        """Each site's figures, its share of the postings, how it changed, and which is best at what."""
        span = Span.of_days(days, now_ns())
        return SitesComparison.of(days, span, await ask_totals(services, tenant_of(request), span))

    @router.get(
        "/market/insights",
        summary="The job market, by the postings found",
        response_model=MarketInsights,
        responses=problem_responses(422, 503),
    )
    async def market(
        request: Request,
        search_term: Annotated[
            str | None,
            Query(
                max_length=500,
                description="Only postings that a search for this found last, whatever its case.",
                examples=["data engineer"],
            ),
        ] = None,
        location: Annotated[
            str | None,
            Query(
                max_length=200,
                description="Only postings whose place has this in it, whatever its case.",
                examples=["Berlin"],
            ),
        ] = None,
        days: Days = 30,
    ) -> MarketInsights:
        """Postings by day, salaries, skills, companies, places, and how far to trust all that.

        Days are those of UTC, today among them. Salaries are brought to a year and kept in their own currency.
        """
        last_day = to_datetime(now_ns()).date()
        found = await records.call(
            services.market.market,
            tenant_of(request),
            until=last_day,
            days=days,
            search_term=search_term,
            location=location,
        )
        return MarketInsights.of(found, last_day, days, search_term=search_term, location=location)

    @router.get(
        "/roi",
        summary="What scraping costs and brings",
        response_model=Roi,
        responses=problem_responses(422, 503),
    )
    async def roi(
        request: Request,
        days: Days = 30,
        investment: Annotated[
            float | None,
            Query(ge=0.01, le=1e12, allow_inf_nan=False, description="What you invested.", examples=[1000]),
        ] = None,
        monthly_return: Annotated[
            float | None,
            Query(
                ge=-1e12,
                le=1e12,
                allow_inf_nan=False,
                description="What comes back a month, in the same currency.",
                examples=[125],
            ),
        ] = None,
        competitor: Annotated[
            list[str] | None,
            Query(
                max_length=20,
                description="A competitor and its price for 1,000 results, as `name:price`; may be repeated. "
                "Without any, those of `SCRAPEWATCH_COMPETITOR_PRICES`.",
                examples=[["someone:4.50"]],
                json_schema_extra={"items": {"type": "string", "pattern": PRICE_PATTERN}},
            ),
        ] = None,
        currency: Annotated[
            str | None,
            Query(
                pattern="^[A-Za-z]{3}$",
                description="Currency of those prices, and of what proxies say they cost; `SCRAPEWATCH_CURRENCY` by default.",
                examples=["USD"],
            ),
        ] = None,
    ) -> Roi:
        """The cost of 1,000 valid results at each site, what others would take for as many, and the return by your own figures.

        No price of anybody is assumed: savings are answered for the competitors whose price is given. With the points out of reach
        the return by your own figures is answered alone.
        """
        if (investment is None) != (monthly_return is None):
            raise InvalidInput(
                "give investment and monthly_return together, or neither",
                "query.investment" if investment is None else "query.monthly_return",
            )
        named = services.settings.competitor_prices if competitor is None else competitor
        prices = dict(map(read_price, named))
        # Costs come by window: of a year those by the hour would be many.
        span = Span.of(days * DAY, now_ns(), HOUR if days <= 7 else DAY)
        own = None
        if investment is not None and monthly_return is not None:
            own = OwnFigures.of(investment, monthly_return)
        tables: dict[str, Table] | None = None
        try:
            tables = await ask_all(services, tenant_of(request), (*COUNTS, "costs"), span.this)
        except StoreUnavailable:
            if own is None:
                raise
        return Roi.of(
            days,
            span,
            tables,
            currency=(currency or services.settings.currency).upper(),
            prices=prices,
            own_figures=own,
        )

    return router
