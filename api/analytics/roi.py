"""What scraping costs by site, what others would take for the same, and what it brings by the user's own figures."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from api.analytics.asking import Span
from api.units import unit
from scrapewatch.answers import (
    Figures,
    figures_by_site,
    per_thousand,
    return_on_investment,
    site_costs,
)
from scrapewatch.ports import Table
from scrapewatch.problems import InvalidInput
from scrapewatch.time import to_datetime

_MONEY = unit("currency")


class SiteEconomics(BaseModel):
    """What a site cost in one currency, and what came of it. Amounts are in that currency."""

    site: str = Field(description="The site; empty for costs of no site while no page of any was seen.")
    currency: str = Field(description="ISO 4217 code.", examples=["USD"])
    cost: float = Field(description="All it cost: `own_cost` and `shared_cost`.", json_schema_extra=_MONEY)
    own_cost: float = Field(description="What was reported for this site.", json_schema_extra=_MONEY)
    shared_cost: float = Field(
        description="Its part of what was reported for no site, by its share of all pages.",
        json_schema_extra=_MONEY,
    )
    by_kind: dict[str, float] = Field(
        description="`own_cost` by its kind: proxy, compute, captcha, api or other."
    )
    valid_results: int = Field(description="Postings stored: neither duplicate nor dropped nor invalid.")
    cost_per_1000: float | None = Field(
        description="Cost of 1,000 valid results; null without any.", json_schema_extra=_MONEY
    )


class CurrencyEconomics(BaseModel):
    """All that was spent in one currency. Nothing is converted."""

    currency: str = Field(description="ISO 4217 code.", examples=["USD"])
    cost: float = Field(description="Spent.", json_schema_extra=_MONEY)
    valid_results: int = Field(description="Valid results of the sites that it was spent on.")
    cost_per_1000: float | None = Field(
        description="Cost of 1,000 of these; null without any.", json_schema_extra=_MONEY
    )


class Saving(BaseModel):
    """What a competitor would take for as many valid results, at the price that the user named."""

    competitor: str = Field(description="The competitor.")
    price_per_1000: float = Field(
        description="Its price for 1,000 results, as given.", json_schema_extra=_MONEY
    )
    price: float = Field(description="Its price for all valid results.", json_schema_extra=_MONEY)
    saved: float = Field(
        description="That price less what they cost here; below 0 it would be cheaper there.",
        json_schema_extra=_MONEY,
    )
    saved_share: float | None = Field(
        description="Share (at most 1) of its price that is saved.", json_schema_extra=unit("share")
    )


class OwnFigures(BaseModel):
    """The return on investment by the user's own figures."""

    investment: float = Field(description="What was invested, as given.", json_schema_extra=_MONEY)
    monthly_return: float = Field(description="What comes back a month, as given.", json_schema_extra=_MONEY)
    roi: float = Field(
        description="((monthly return × 12) − investment) / investment: 0.5 is half the investment gained in a year.",
        json_schema_extra=unit("share"),
    )
    payback_months: float | None = Field(
        description="Months until the investment is back; null where nothing comes back.",
        json_schema_extra=unit("mo"),
    )

    @classmethod
    def of(cls, investment: float, monthly_return: float) -> OwnFigures:
        """By ``investment`` and ``monthly_return``."""
        return cls(
            investment=investment,
            monthly_return=monthly_return,
            roi=return_on_investment(monthly_return, investment),
            payback_months=investment / monthly_return if monthly_return > 0 else None,
        )


class Roi(BaseModel):
    """Cost and return."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "days": 30,
                "start": "2025-12-13T00:00:00Z",
                "stop": "2026-01-12T10:12:31Z",
                "currency": "USD",
                "valid_results": 9_950,
                "items": [
                    {
                        "site": "indeed",
                        "currency": "USD",
                        "cost": 12.5,
                        "own_cost": 10.0,
                        "shared_cost": 2.5,
                        "by_kind": {"proxy": 10.0},
                        "valid_results": 9_950,
                        "cost_per_1000": 1.256,
                    }
                ],
                "totals": [{"currency": "USD", "cost": 12.5, "valid_results": 9_950, "cost_per_1000": 1.256}],
                "savings": [
                    {
                        "competitor": "some service",
                        "price_per_1000": 5.0,
                        "price": 49.75,
                        "saved": 37.25,
                        "saved_share": 0.749,
                    }
                ],
                "own_figures": {
                    "investment": 1_000.0,
                    "monthly_return": 125.0,
                    "roi": 0.5,
                    "payback_months": 8.0,
                },
                "notes": [],
                "next_cursor": None,
                "degraded": [],
            }
        }
    )

    days: int = Field(description="Days asked for.", json_schema_extra=unit("d"))
    start: datetime = Field(
        description="From when: that many days ago, or the start of the hour that holds it (beyond a week: of the day)."
    )
    stop: datetime = Field(description="Until when: now.")
    currency: str = Field(description="Currency of competitors' prices and of what proxies say they cost.")
    valid_results: int | None = Field(description="Postings stored; null where the points cannot be read.")
    items: list[SiteEconomics] = Field(description="Each site and currency.")
    totals: list[CurrencyEconomics] = Field(description="All sites, by currency.")
    savings: list[Saving] = Field(
        description="Against each competitor whose price was given; none is assumed. Costs in other currencies are left out."
    )
    own_figures: OwnFigures | None = Field(
        description="By `investment` and `monthly_return`; null where they were not given."
    )
    notes: list[str] = Field(description="What to know before leaning on these figures.")
    next_cursor: str | None = Field(None, description="Always null: all sites are answered at once.")
    degraded: list[str] = Field(description="What could not be asked now: `series`.")

    @classmethod
    def of(
        cls,
        days: int,
        span: Span,
        tables: Mapping[str, Table] | None,
        *,
        currency: str,
        prices: Mapping[str, float],
        own_figures: OwnFigures | None,
    ) -> Roi:
        """The answer by the rows of :data:`~scrapewatch.answers.COUNTS` and ``costs``; None where they cannot be had."""
        shown = {
            "days": days,
            "start": to_datetime(span.start),
            "stop": to_datetime(span.now),
            "currency": currency,
            "own_figures": own_figures,
        }
        if tables is None:
            return cls(
                **shown, valid_results=None, items=[], totals=[], savings=[], notes=[], degraded=["series"]
            )
        tables = dict(tables)
        costs = tables.pop("costs")
        figures = figures_by_site(tables)
        items = _sites(costs, figures, currency)
        totals = _totals(items)
        results = sum(each.saved for each in figures.values())
        spent = sum(total.cost for total in totals if total.currency == currency)
        return cls(
            **shown,
            valid_results=results,
            items=items,
            totals=totals,
            savings=[_saving(name, price, results, spent) for name, price in prices.items()],
            notes=_notes(costs, items, currency, results),
            degraded=[],
        )


def _sites(costs: Table, figures: Mapping[str, Figures], currency: str) -> list[SiteEconomics]:
    pages = {site: each.pages for site, each in figures.items() if site}
    return [
        SiteEconomics(
            site=site,
            currency=code,
            cost=cost.total,
            own_cost=math.fsum(cost.own.values()),
            shared_cost=cost.shared,
            by_kind=dict(sorted(cost.own.items())),
            valid_results=figures.get(site, Figures()).saved,
            cost_per_1000=per_thousand(cost.total, figures.get(site, Figures()).saved),
        )
        for (code, site), cost in site_costs(costs, pages, currency=currency).items()
    ]


def _totals(items: Sequence[SiteEconomics]) -> list[CurrencyEconomics]:
    totals = []
    for code in sorted({item.currency for item in items}):
        mine = [item for item in items if item.currency == code]
        cost, results = math.fsum(i.cost for i in mine), sum(i.valid_results for i in mine)
        totals.append(
            CurrencyEconomics(
                currency=code, cost=cost, valid_results=results, cost_per_1000=per_thousand(cost, results)
            )
        )
    return totals


def _saving(name: str, price_per_1000: float, results: int, spent: float) -> Saving:
    price = price_per_1000 * results / 1_000
    return Saving(
        competitor=name,
        price_per_1000=price_per_1000,
        price=price,
        saved=price - spent,
        saved_share=(price - spent) / price if price else None,
    )


def _notes(costs: Table, items: Sequence[SiteEconomics], currency: str, results: int) -> list[str]:
    notes = []
    if not items:
        notes.append(
            "No cost was reported in this time: send `cost` events, or `proxy` events with their cost."
        )
    elif results == 0:
        notes.append("No valid result came in this time, so nothing has a cost by result.")
    kinds = {row["kind"] for row in costs.dicts()}
    if {"proxy", "proxies"} <= kinds:
        notes.append(
            "Proxies reported a cost of their own beside `cost` events of the kind proxy: only the latter are counted."
        )
    if others := sorted({item.currency for item in items} - {currency}):
        notes.append(f"Costs in {', '.join(others)} are not converted, and not part of the savings.")
    return notes


PRICE_PATTERN: Final = r"^[^\s:](?:[^\r\n]{0,98}[^\s:])?:[0-9]{1,9}(?:\.[0-9]{1,6})?$"
"""What :func:`read_price` reads, for schemas."""


def read_price(text: str) -> tuple[str, float]:
    """Name and price of 1,000 results of a competitor, written ``name:price``.

    Raises:
        InvalidInput: it is not of that form.
    """
    if re.fullmatch(PRICE_PATTERN, text) is None:
        raise InvalidInput(
            "write a competitor as name:price, with its price for 1,000 results, such as someone:4.50",
            "query.competitor",
        )
    name, _, figure = text.rpartition(":")
    return name, float(figure)
