"""The route of proxies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from api.access import tenant_of
from api.services import ApiServices
from api.timeframes import LENGTHS, PARTS, Timeframe
from scrapewatch.answers import ask, mean, share
from scrapewatch.http import problem_responses
from scrapewatch.measurements import Tier
from scrapewatch.ports import TimeRange
from scrapewatch.time import now_ns, to_datetime

_FIGURES: JsonDict = {
    "requests": 4200,
    "failures": 210,
    "success_rate": 0.95,
    "bans": 12,
    "ban_rate": 0.002857,
    "average_latency": 0.42,
    "max_latency": 6.1,
    "bytes": 183002100,
    "cost": 1.89,
    "cost_per_1000_requests": 0.45,
}

TIERS: Mapping[str, Tier] = {
    "1h": Tier.FLEET_1M,
    "6h": Tier.FLEET_1M,
    "24h": Tier.FLEET_1H,
    "7d": Tier.FLEET_1H,
    "30d": Tier.FLEET_1H,
}
"""Where totals of a timeframe are read: by the hour as soon as that is fine enough, since there may be thousands of proxies."""


class ProxyFigures(BaseModel):
    """Figures of a proxy, a provider, or all."""

    requests: int = Field(description="Requests.")
    failures: int = Field(description="Of these, failed.")
    success_rate: float | None = Field(
        description="Share of requests that did not fail, 0–1; null without any.",
        json_schema_extra={"unit": "share"},
    )
    bans: int = Field(description="Requests after which the proxy was banned.")
    ban_rate: float | None = Field(
        description="Share of requests after which it was banned, 0–1.", json_schema_extra={"unit": "share"}
    )
    average_latency: float | None = Field(
        description="Mean time of a request, s; null where none is known.", json_schema_extra={"unit": "s"}
    )
    max_latency: float | None = Field(
        description="The highest latency reported, s.", json_schema_extra={"unit": "s"}
    )
    bytes: int = Field(description="Bytes carried.", json_schema_extra={"unit": "By"})
    cost: float = Field(description="Cost, in your currency.", json_schema_extra={"unit": "currency"})
    cost_per_1000_requests: float | None = Field(
        description="Cost of 1,000 requests, in your currency.", json_schema_extra={"unit": "currency"}
    )


class ProxyStats(ProxyFigures):
    """A proxy."""

    proxy: str = Field(description="Its id; empty for requests that named no proxy.")


class ProviderStats(ProxyFigures):
    """A provider with its proxies."""

    provider: str = Field(description="Who provides them.")
    proxy_count: int = Field(description="How many of its proxies were used.")
    proxies: list[ProxyStats] = Field(
        description="Its proxies, the most used first, as many as were asked for."
    )


class ProxyReport(BaseModel):
    """How the proxies do."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "timeframe": "24h",
                "start": "2026-01-04T10:00:00Z",
                "stop": "2026-01-05T10:02:00Z",
                "total": _FIGURES,
                "items": [
                    {
                        **_FIGURES,
                        "provider": "acme",
                        "proxy_count": 1,
                        "proxies": [{**_FIGURES, "proxy": "acme-17"}],
                    }
                ],
                "next_cursor": None,
            }
        }
    )

    timeframe: str = Field(description="The time that is looked back.")
    start: datetime = Field(
        description="From when requests are counted: up to a twelfth of the timeframe more than it."
    )
    stop: datetime = Field(description="Until when: now.")
    total: ProxyFigures = Field(description="All of them together.")
    items: list[ProviderStats] = Field(description="The providers, the most used first.")
    next_cursor: str | None = Field(None, description="Always null.")


@dataclass(slots=True)
class _Sums:
    requests: int = 0
    failures: int = 0
    bans: int = 0
    bytes: int = 0
    cost: float = 0.0
    latency: float = 0.0
    timed: int = 0
    slowest: float | None = None

    def add(self, row: Mapping[str, Any]) -> None:
        self.requests += row["requests"] or 0
        self.failures += row["failures"] or 0
        self.bans += row["bans"] or 0
        self.bytes += row["bytes"] or 0
        self.cost += row["cost"] or 0.0
        self.latency += row["latency_sum"] or 0.0
        self.timed += row["latency_count"] or 0
        if row["latency_max"] is not None:
            self.slowest = max(self.slowest or 0.0, row["latency_max"])

    def figures(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "failures": self.failures,
            "success_rate": share(max(self.requests - self.failures, 0), self.requests),
            "bans": self.bans,
            "ban_rate": share(self.bans, self.requests),
            "average_latency": mean(self.latency, self.timed),
            "max_latency": self.slowest,
            "bytes": self.bytes,
            "cost": self.cost,
            "cost_per_1000_requests": 1_000 * self.cost / self.requests if self.requests else None,
        }


def report(
    rows: Iterable[Mapping[str, Any]], timeframe: str, start: int, stop: int, *, most: int
) -> ProxyReport:
    """The report of the rows of the question ``proxies``, with up to ``most`` proxies of each provider."""
    total = _Sums()
    providers: dict[str, tuple[_Sums, dict[str, _Sums]]] = {}
    for row in rows:
        of_provider, proxies = providers.setdefault(row["provider"], (_Sums(), {}))
        for sums in (total, of_provider, proxies.setdefault(row["proxy"], _Sums())):
            sums.add(row)
    items = []
    for provider, (sums, proxies) in sorted(
        providers.items(), key=lambda item: (-item[1][0].requests, item[0])
    ):
        used = sorted(proxies.items(), key=lambda item: (-item[1].requests, item[0]))
        items.append(
            ProviderStats(
                **sums.figures(),
                provider=provider,
                proxy_count=len(used),
                proxies=[ProxyStats(**each.figures(), proxy=proxy) for proxy, each in used[:most]],
            )
        )
    return ProxyReport(
        timeframe=timeframe,
        start=to_datetime(start),
        stop=to_datetime(stop),
        total=ProxyFigures(**total.figures()),
        items=items,
    )


def build_router(services: ApiServices) -> APIRouter:
    """The route ``/monitoring/proxy-stats``."""
    router = APIRouter(prefix="/monitoring", tags=["proxies"], route_class=services.telemetry.route_class())
    series = services.patience["series"]

    @router.get(
        "/proxy-stats",
        summary="How each provider and each proxy does",
        response_model=ProxyReport,
        responses=problem_responses(422, 503),
    )
    async def proxy_stats(
        request: Request,
        timeframe: Annotated[Timeframe, Query(description="The time to look back.")] = "24h",
        provider: Annotated[
            str, Query(max_length=100, description="Only this provider.", examples=["acme"])
        ] = "",
        limit: Annotated[int, Query(ge=1, le=1_000, description="Most proxies of each provider.")] = 100,
    ) -> ProxyReport:
        """Requests, success, bans, latency, bytes and cost, as the `proxy` events said. What came in the last minute may be missing."""
        now = now_ns()
        time_range = TimeRange.widened(now - LENGTHS[timeframe], now, PARTS[timeframe])
        table = await series.call(
            ask,
            services.series,
            "proxies",
            {"provider": provider},
            time_range,
            tenant=tenant_of(request),
            tier=TIERS[timeframe],
        )
        return report(table.dicts(), timeframe, time_range.start, now, most=limit)

    return router
