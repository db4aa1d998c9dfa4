"""Job market: what the postings say that scrapers found, and how our own stand beside those of all."""

from __future__ import annotations

from typing import Any

from grafana.build import colours, words
from grafana.build.dashboard import Dashboard
from grafana.build.panels import BARS, NARROW, PLAIN, Panel, Row, Sql

_NOTHING = (
    "No posting first came in this time. Choose a longer one or another search, or let scrapers send "
    "postings: the `job` of "
    "`job_scraped` (docs/events.md)."
)
_NO_SALARY = (
    "No posting of this time names a salary that could be understood. Let scrapers send `salary`, or "
    "its least, highest, interval and "
    "currency (docs/events.md)."
)
_NO_COMPANY = (
    "Write the name of your company above, as the sites write it, to compare its postings with the market."
)
_A_YEAR = "of full-time work a year; none is converted"


def _gauge(column: str, colour: str) -> dict[str, Any]:
    """A column whose cells are bars of one colour."""
    return {
        "matcher": {"id": "byName", "options": column},
        "properties": [
            {"id": "custom.displayMode", "value": "basic"},
            {"id": "color", "value": {"mode": "fixed", "fixedColor": colour}},
        ],
    }


_COUNTED = (
    {"matcher": {"id": "byName", "options": "postings"}, "properties": [{"id": "unit", "value": "locale"}]},
    *(
        {"matcher": {"id": "byName", "options": share}, "properties": [{"id": "decimals", "value": 1}]}
        for share in ("share", "previous_share", "change_percent")
    ),
)
"""Counts to the last one, shares of them with one decimal."""

DASHBOARD = Dashboard(
    uid="scrapewatch-market",
    title="Job market",
    description=(
        "The job market as the postings show it that scrapers found, and our company beside it. A posting "
        "counts on the day it first came."
    ),
    time_from="now-30d",
    refresh="5m",
    marked=False,
    variables=("company",),
    panels=(
        Row("What is happening"),
        Panel(
            "Postings of this time",
            "stat",
            "The postings that first came in these days, against as many days before. Days are whole "
            "ones of UTC, today among them.",
            (Sql("market_totals"),),
            empty="–",
            width=24,
            height=4,
            decimals=1,
            columns=(
                "postings",
                "previous_postings",
                "postings_change_percent",
                "days_with_postings",
                "remote_share",
                "previous_remote_share",
                "salary_share",
            ),
            overrides=[
                {
                    "matcher": {"id": "byName", "options": column},
                    "properties": [{"id": "unit", "value": "locale"}, {"id": "decimals", "value": 0}],
                }
                for column in ("postings", "previous_postings", "days_with_postings")
            ],
            names={
                "previous_postings": "before",
                "postings_change_percent": "change",
                "days_with_postings": "days with any",
                "remote_share": "remote",
                "previous_remote_share": "remote before",
                "salary_share": "name a salary",
            },
            options={"reduceOptions": {"fields": "/.*/"}, "graphMode": "none"},
        ),
        Panel(
            "Postings by day",
            "timeseries",
            "Postings by the day they first came; today is not over.",
            (Sql("market_postings_per_day"),),
            empty=_NOTHING,
            custom=BARS,
            overrides=colours.series({"postings": colours.PLAIN}),
        ),
        Panel(
            "Remote share by day",
            "timeseries",
            "Share of remote postings among those that say.",
            (Sql("market_remote"),),
            empty=(
                "No posting of this time says whether it is remote. Let scrapers send `is_remote` "
                "(docs/events.md)."
            ),
            low=0,
            high=1,
            overrides=colours.series({"remote_share": colours.PLAIN}),
        ),
        Row("What is paid"),
        Panel(
            "Salaries by currency",
            "table",
            f"Salaries {_A_YEAR}. A tenth is paid no more than p10, half no more than p50. Change: of "
            "the median, against as many days before.",
            (Sql("market_salaries"),),
            empty=_NO_SALARY,
            height=10,
            custom=NARROW,
            names={"change_percent": "change", "previous_p50": "before"},
        ),
        Panel(
            "Salary bands",
            "table",
            f"How many postings pay from how much on, {_A_YEAR}, in the currency that most name.",
            (Sql("market_salary_bands"),),
            empty=_NO_SALARY,
            height=10,
            unit="short",
            low=0,
            columns=("band", "postings"),
            names={"band": "from"},
            overrides=[words.wide("band", 100), _gauge("postings", colours.PLAIN)],
        ),
        Panel(
            "Salaries over time",
            "timeseries",
            f"Salaries {_A_YEAR}: those that a quarter, half and three quarters of each week's "
            "postings do not exceed, in the currency that most name.",
            (Sql("market_salaries_over_time"),),
            empty=_NO_SALARY,
            width=24,
            height=7,
            custom={"axisSoftMin": None, "showPoints": "always"},
            overrides=[
                *colours.series({"p50": colours.PLAIN}),
                *(
                    {
                        "matcher": {"id": "byName", "options": name},
                        "properties": [
                            {"id": "color", "value": {"mode": "fixed", "fixedColor": colours.QUIET}},
                            {"id": "custom.fillOpacity", "value": 0},
                        ],
                    }
                    for name in ("p25", "p75")
                ),
            ],
        ),
        Row("Who asks for what, and where"),
        Panel(
            "Skills",
            "table",
            "The 20 skills that are asked for most. Change: of the share, against as many days before.",
            (Sql("market_skills"),),
            empty="No posting of this time names skills. Let scrapers send `skills` (docs/events.md).",
            width=10,
            height=12,
            custom=NARROW,
            names={"previous_share": "before", "change_percent": "change"},
            overrides=[words.wide("skill", 130), *_COUNTED],
        ),
        Panel(
            "Companies",
            "table",
            "The 20 companies with most postings.",
            (Sql("market_companies"),),
            empty=_NOTHING,
            width=7,
            height=12,
            custom=NARROW,
            overrides=[words.wide("postings", 90), words.wide("share", 80), *_COUNTED],
        ),
        Panel(
            "Places",
            "table",
            "The 20 places with most postings, as the sites write them.",
            (Sql("market_locations"),),
            empty=_NOTHING,
            width=7,
            height=12,
            custom=NARROW,
            overrides=[words.wide("postings", 90), words.wide("share", 80), *_COUNTED],
        ),
        Row("Ours against the market"),
        Panel(
            "Our postings beside all",
            "table",
            "The postings of the company that is named above and those of the whole market, salaries "
            "in the currency that both name.",
            (Sql("market_ours"),),
            empty=_NOTHING,
            height=9,
            custom=NARROW,
            decimals=0,
            thresholds=PLAIN,
            names={"side": " ", "remote_share": "remote"},
        ),
        Panel(
            "Skills: ours and the market's",
            "table",
            "The share of postings that ask for a skill: of ours and of all, for the 15 that ours ask for most.",
            (Sql("market_ours_skills"),),
            empty=_NO_COMPANY,
            height=9,
            low=0,
            names={"the_market": "the market"},
            overrides=[_gauge("ours", colours.WARN), _gauge("the_market", colours.PLAIN)],
        ),
        Row("How far to trust it"),
        Panel(
            "Sites the postings are from",
            "table",
            "Postings by site. Of one site alone, or of others than in the time before, numbers say more "
            "about scraping than about the market.",
            (Sql("market_sites"),),
            empty=_NOTHING,
            width=8,
            height=9,
            low=0,
            overrides=[words.wide("site", 120), _gauge("postings", colours.PLAIN)],
        ),
        Panel(
            "Newest postings",
            "table",
            "The 100 newest postings of this time, those of our company alone where one is named. A "
            "title leads to the posting, the session to what found it.",
            (Sql("market_newest"),),
            empty=_NOTHING,
            width=16,
            height=9,
            columns=(
                "time",
                "title",
                "company",
                "place",
                "site_name",
                "yearly_min",
                "yearly_max",
                "yearly_currency",
                "session_id",
                "url",
            ),
            decimals=0,
            custom=NARROW,
            names={
                "time": "first came",
                "site_name": "site",
                "yearly_min": "from",
                "yearly_max": "to",
                "yearly_currency": "a year in",
                "session_id": "found by",
            },
            overrides=[
                words.linked("session_id", words.TO_SESSION),
                words.linked("title", ("${__data.fields.url}", "The posting"), 220),
                {
                    "matcher": {"id": "byName", "options": "url"},
                    "properties": [{"id": "custom.hidden", "value": True}],
                },
                words.wide("time", 160),
            ],
        ),
    ),
)
