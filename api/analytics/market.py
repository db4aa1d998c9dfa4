"""The job market as the postings show it that scrapers found."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from api.units import unit
from records.market import MOST_READ, Market, Period
from scrapewatch.answers import change_percent, percentile

MOST_LISTED = 20
"""Companies and places that are listed, and skills."""

FEW = 30
"""With fewer postings than this, one more or less moves the shares by more than 3 %."""

_SHARE, _PERCENT, _A_YEAR = map(unit, ("share", "percent", "currency/a"))


class DayOfPostings(BaseModel):
    """A day."""

    date: datetime.date = Field(description="The day, UTC.")
    postings: int = Field(description="Postings that first came on it.")


class SalaryLevels(BaseModel):
    """Salaries in one currency, a year of full-time work.

    Of each posting the middle of its range counts, to three significant digits. Hours, days, weeks and months are taken times 2,080,
    260, 52 and 12.
    """

    currency: str | None = Field(description="ISO 4217 code; null for postings that name none.")
    postings: int = Field(description="Postings that name a salary in it.")
    p10: float = Field(description="A tenth is paid no more.", json_schema_extra=_A_YEAR)
    p25: float = Field(description="A quarter is paid no more.", json_schema_extra=_A_YEAR)
    p50: float = Field(description="The median.", json_schema_extra=_A_YEAR)
    p75: float = Field(description="Three quarters are paid no more.", json_schema_extra=_A_YEAR)
    p90: float = Field(description="Nine tenths are paid no more.", json_schema_extra=_A_YEAR)
    previous_p50: float | None = Field(
        description="The median of the time of the same length before.", json_schema_extra=_A_YEAR
    )
    change_percent: float | None = Field(description="Change of the median, %.", json_schema_extra=_PERCENT)


class Named(BaseModel):
    """A company or place."""

    name: str = Field(description="Its name as the sites write it.")
    postings: int = Field(description="Its postings.")
    share: float = Field(description="Share (0–1) of the postings looked at.", json_schema_extra=_SHARE)


class Skill(BaseModel):
    """A skill that is asked for."""

    name: str = Field(description="The skill, in lower case.")
    postings: int = Field(description="Postings that ask for it.")
    share: float = Field(description="Share (0–1) of the postings looked at.", json_schema_extra=_SHARE)
    previous_share: float | None = Field(
        description="The same of the time before; null where it had no posting.", json_schema_extra=_SHARE
    )
    change_percent: float | None = Field(
        description="Change of that share, %; null where it was 0.", json_schema_extra=_PERCENT
    )


class MarketTrend(BaseModel):
    """Against the time of the same length before."""

    previous_postings: int = Field(description="Postings that first came then.")
    postings_change_percent: float | None = Field(
        description="Change of the number of postings, %.", json_schema_extra=_PERCENT
    )
    previous_remote_share: float | None = Field(
        description="Share (0–1) of remote postings then.", json_schema_extra=_SHARE
    )
    remote_change_percent: float | None = Field(
        description="Change of the share of remote postings, %.", json_schema_extra=_PERCENT
    )


class Trust(BaseModel):
    """What the insight rests on."""

    postings: int = Field(description="Postings that match.")
    looked_at: int = Field(
        description="Of these, the newest whose salary, skills, company and place were looked at; the shares are of them. "
        f"All of them, but with a search or place at most {MOST_READ:,}."
    )
    days_with_postings: int = Field(description="Days on which any came.", json_schema_extra=unit("d"))
    salary_share: float | None = Field(
        description="Share (0–1) of postings with a salary that could be understood.",
        json_schema_extra=_SHARE,
    )
    skills_known: bool = Field(description="Whether any posting names skills.")
    remote_known_share: float | None = Field(
        description="Share (0–1) of postings that say whether they are remote.", json_schema_extra=_SHARE
    )
    sites: dict[str, int] = Field(description="Sites covered: postings of each.")
    notes: list[str] = Field(description="What to know before leaning on it.")


class MarketInsights(BaseModel):
    """The job market as the postings that arrived show it. A posting counts on the day it first came, however often it was found."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "search_term": "data engineer",
                "location": "Berlin",
                "days": 30,
                "first_day": "2025-12-14",
                "last_day": "2026-01-12",
                "total_postings": 412,
                "postings_per_day": [{"date": "2026-01-12", "postings": 14}],
                "salaries": [
                    {
                        "currency": "EUR",
                        "postings": 180,
                        "p10": 48_000.0,
                        "p25": 56_000.0,
                        "p50": 66_000.0,
                        "p75": 78_000.0,
                        "p90": 90_000.0,
                        "previous_p50": 65_000.0,
                        "change_percent": 1.54,
                    }
                ],
                "skills": [
                    {
                        "name": "python",
                        "postings": 301,
                        "share": 0.73,
                        "previous_share": 0.7,
                        "change_percent": 4.29,
                    }
                ],
                "companies": [{"name": "Acme", "postings": 12, "share": 0.029}],
                "locations": [{"name": "Berlin, Germany", "postings": 390, "share": 0.947}],
                "remote_share": 0.31,
                "trend": {
                    "previous_postings": 396,
                    "postings_change_percent": 4.04,
                    "previous_remote_share": 0.28,
                    "remote_change_percent": 10.7,
                },
                "trust": {
                    "postings": 412,
                    "looked_at": 412,
                    "days_with_postings": 30,
                    "salary_share": 0.437,
                    "skills_known": True,
                    "remote_known_share": 0.9,
                    "sites": {"indeed": 300, "linkedin": 112},
                    "notes": [],
                },
            }
        }
    )

    search_term: str | None = Field(description="The search asked for.")
    location: str | None = Field(description="The place asked for.")
    days: int = Field(description="Days asked for.", json_schema_extra=unit("d"))
    first_day: datetime.date = Field(description="The first day, UTC.")
    last_day: datetime.date = Field(description="The last day, UTC: today.")
    total_postings: int = Field(description="Postings that first came in these days.")
    postings_per_day: list[DayOfPostings] = Field(
        description="Every day, the oldest first; today is not over."
    )
    salaries: list[SalaryLevels] = Field(
        description="Salaries by currency, the one with most postings first; none is converted."
    )
    skills: list[Skill] = Field(description=f"The {MOST_LISTED} skills asked for most.")
    companies: list[Named] = Field(description=f"The {MOST_LISTED} companies with most postings.")
    locations: list[Named] = Field(description=f"The {MOST_LISTED} places with most postings.")
    remote_share: float | None = Field(
        description="Share (0–1) of remote postings among those that say; null where none says.",
        json_schema_extra=_SHARE,
    )
    trend: MarketTrend = Field(description="Against the time of the same length before.")
    trust: Trust = Field(description="How far to trust it.")

    @classmethod
    def of(
        cls,
        market: Market,
        last_day: datetime.date,
        days: int,
        *,
        search_term: str | None,
        location: str | None,
    ) -> MarketInsights:
        """The insights that ``market`` gives."""
        now, before = market.now, market.before
        first_day = last_day - datetime.timedelta(days=days - 1)
        all_days = [first_day + datetime.timedelta(days=k) for k in range(days)]
        remote, remote_before = _remote_share(now), _remote_share(before)
        return cls(
            search_term=search_term,
            location=location,
            days=days,
            first_day=first_day,
            last_day=last_day,
            total_postings=now.postings,
            postings_per_day=[DayOfPostings(date=day, postings=now.days.get(day, 0)) for day in all_days],
            salaries=_salaries(now, before),
            skills=[_skill(name, n, now, before) for name, n in _top(now.skills)],
            companies=_named(now.companies, now.looked_at),
            locations=_named(now.locations, now.looked_at),
            remote_share=remote,
            trend=MarketTrend(
                previous_postings=before.postings,
                postings_change_percent=change_percent(now.postings, before.postings),
                previous_remote_share=remote_before,
                remote_change_percent=change_percent(remote, remote_before),
            ),
            trust=_trust(now, before, days),
        )


def _top(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_LISTED]


def _named(counts: Counter[str], of: int) -> list[Named]:
    return [Named(name=name, postings=n, share=n / of) for name, n in _top(counts)]


def _skill(name: str, n: int, now: Period, before: Period) -> Skill:
    share = n / now.looked_at
    earlier = before.skills[name] / before.looked_at if before.looked_at else None
    return Skill(
        name=name,
        postings=n,
        share=share,
        previous_share=earlier,
        change_percent=change_percent(share, earlier),
    )


def _remote_share(period: Period) -> float | None:
    said = sum(period.remote.values())
    return period.remote["yes"] / said if said else None


def _salaries(now: Period, before: Period) -> list[SalaryLevels]:
    levels = []
    for currency, counts in now.salaries.items():
        found: Mapping[float, float | None] = {q: percentile(counts, q) for q in (0.1, 0.25, 0.5, 0.75, 0.9)}
        earlier = percentile(before.salaries.get(currency, {}), 0.5)
        levels.append(
            SalaryLevels.model_validate(
                {
                    "currency": currency,
                    "postings": sum(counts.values()),
                    **{f"p{round(q * 100)}": amount for q, amount in found.items()},
                    "previous_p50": earlier,
                    "change_percent": change_percent(found[0.5], earlier),
                }
            )
        )
    return sorted(levels, key=lambda level: (-level.postings, level.currency or ""))


def _trust(now: Period, before: Period, days: int) -> Trust:
    paid = sum(sum(counts.values()) for counts in now.salaries.values())
    share = paid / now.looked_at if now.looked_at else None
    notes = []
    if now.postings < FEW:
        notes.append(f"Fewer than {FEW} postings: shares and percentiles may be chance.")
    if now.looked_at < now.postings:
        notes.append(f"Only the newest {now.looked_at:,} of {now.postings:,} postings were looked at.")
    if share is not None and share < 0.2:
        notes.append("Fewer than one posting in five names a salary: those that do may not be like the rest.")
    if now.postings and len(now.sites) == 1:
        notes.append("All postings are of one site.")
    if len(now.days) < days / 2 and now.postings:
        notes.append("Postings came on fewer than half of the days: trends may show when scrapers ran.")
    if now.sites.keys() != before.sites.keys() and before.postings:
        notes.append("Other sites were scraped in the time before: trends compare unlike with unlike.")
    return Trust(
        postings=now.postings,
        looked_at=now.looked_at,
        days_with_postings=len(now.days),
        salary_share=share,
        skills_known=bool(now.skills),
        remote_known_share=sum(now.remote.values()) / now.looked_at if now.looked_at else None,
        sites=dict(_all(now.sites)),
        notes=notes,
    )


def _all(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
