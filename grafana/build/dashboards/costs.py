"""Cost and ROI: what is spent on what, what 1,000 valid results cost, and what comes back."""

from __future__ import annotations

from grafana.build import colours, words
from grafana.build.dashboard import Dashboard
from grafana.build.panels import BARS, NARROW, Flux, Panel, Row, Sql, steps

_OWN_FIGURES = "Give figures above"
_PRICE = "Give a price above"
_SITES = ("own", "shared", "results")
_GAIN = steps(colours.BAD, (0, colours.GOOD))
_KINDS = colours.series(
    {
        "proxy": colours.PLAIN,
        "proxies": colours.INFO,
        "compute": colours.ODD,
        "captcha": colours.WARN,
        "api": colours.PALE,
        "other": colours.QUIET,
    }
)
_BEFORE = {
    "matcher": {"id": "byName", "options": "before"},
    "properties": [
        {"id": "color", "value": {"mode": "fixed", "fixedColor": colours.QUIET}},
        {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}},
        {"id": "custom.fillOpacity", "value": 0},
    ],
}

DASHBOARD = Dashboard(
    uid="scrapewatch-costs",
    title="Cost and ROI",
    description=(
        "What scraping costs, what 1,000 valid results cost at each site, what others would take for "
        "them, and what comes back."
    ),
    time_from="now-30d",
    refresh="5m",
    marked=False,
    variables=("currency", "competitor_price", "monthly_return", "investment"),
    panels=(
        Row("What is happening"),
        Panel(
            "Spent in this time",
            "stat",
            "What was spent in your currency in this time, the valid results (postings stored: neither "
            "duplicate nor dropped nor invalid), and the cost of 1,000 of them.",
            (Flux("economics", _SITES, steps=("cost_by_site", "economics")),),
            empty="–",
            width=8,
            height=4,
            decimals=2,
            columns=("spent", "results", "cost_per_1000"),
            names={
                "spent": "${currency} spent",
                "cost_per_1000": "${currency} for 1,000",
                "results": "valid results",
            },
            options={"graphMode": "none"},
        ),
        Panel(
            "Against a competitor",
            "stat",
            "What a competitor would take for as many valid results, by the price above (a plain number, for 1,000 results), and what is "
            "saved.",
            (Flux("economics", _SITES, steps=("cost_by_site", "economics", "priced")),),
            empty=_PRICE,
            width=8,
            height=4,
            decimals=2,
            thresholds=_GAIN,
            columns=("competitor", "saved", "saved_share"),
            names={"competitor": "it would take", "saved_share": "share saved"},
            options={"graphMode": "none"},
        ),
        Panel(
            "Return on investment",
            "stat",
            "By your monthly return and investment, given above as plain numbers: ((monthly return × 12) − investment) / investment, "
            "and the months until the investment is back.",
            (Sql("return_on_investment"),),
            empty=_OWN_FIGURES,
            width=8,
            height=4,
            decimals=1,
            thresholds=_GAIN,
            names={"roi": "ROI", "payback_months": "months to pay back", "gain_in_a_year": "gain in a year"},
            options={"reduceOptions": {"fields": "/.*/"}, "graphMode": "none"},
        ),
        Row("Is it normal"),
        Panel(
            "Cost over time",
            "timeseries",
            "What was spent in each window on what, all currencies added up as they are. `proxies` is "
            "what proxies say that they cost, where no costs of the kind `proxy` were reported.",
            (Flux("costs", ("amount",), steps=("counted_once", "by_kind"), named_by="kind"),),
            empty=words.NO_COSTS,
            decimals=2,
            points=60,
            custom=BARS,
            overrides=_KINDS,
        ),
        Panel(
            "Cost against a week before",
            "timeseries",
            "What was spent in each window, and a week before it, all currencies added up as they are.",
            (Flux("costs", ("amount",), steps=("together",), against="7d"),),
            empty=words.NO_COSTS,
            decimals=2,
            points=60,
            names={"now": "now", "before": "a week before"},
            overrides=[_BEFORE, *colours.series({"now": colours.PLAIN})],
        ),
        Panel(
            "Cost of 1,000 valid results",
            "timeseries",
            "What was spent in your currency in each window, for 1,000 postings stored in it, all sites together.",
            (Flux("spending", ("amount", "saved"), steps=("together", "cost_per_1000")),),
            empty=words.NO_COSTS,
            width=24,
            decimals=2,
            points=60,
            names={"cost_per_1000": "cost of 1,000"},
            overrides=colours.series({"cost_per_1000": colours.PLAIN}),
        ),
        Row("Where does it go"),
        Panel(
            "Cost by site",
            "table",
            "What each site cost in your currency: its own, and by its share of all pages what was "
            "reported for none; its valid results, and what 1,000 of them cost.",
            (Flux("economics", _SITES, steps=("cost_by_site",)),),
            empty=words.NO_COSTS,
            width=16,
            height=9,
            decimals=2,
            columns=("site", "cost", "own", "shared", "results", "cost_per_1000"),
            custom=NARROW,
            names={
                "cost": "${currency} spent",
                "own": "of its own",
                "shared": "shared",
                "results": "valid results",
                "cost_per_1000": "for 1,000",
            },
            overrides=[words.wide("site", 110)],
        ),
        Panel(
            "What it went for",
            "piechart",
            "What was spent on what in this time, all currencies added up as they are.",
            (Flux("costs", ("amount",), steps=("counted_once", "by_kind"), named_by="kind"),),
            empty=words.NO_COSTS,
            width=8,
            height=9,
            decimals=2,
            points=60,
            overrides=_KINDS,
        ),
        Row("Why"),
        Panel(
            "Paid for, and what came of it",
            "timeseries",
            "Postings of each window by what became of them. What was seen before, left out or "
            "invalid was paid for, too.",
            (Flux("throughput", ("saved", "duplicate", "dropped", "invalid"), steps=("together",)),),
            empty=words.NO_EVENTS,
            points=60,
            custom=BARS,
            overrides=colours.series(
                {
                    "saved": colours.GOOD,
                    "duplicate": colours.INFO,
                    "dropped": colours.QUIET,
                    "invalid": colours.BAD,
                }
            ),
        ),
        Panel(
            "Success rate by site",
            "timeseries",
            "Share of attempts that brought a good page. The others were paid for, too, and brought nothing.",
            (Flux("success_rate", ("pages", "ok", "errors"), steps=("success_rate",), named_by="site"),),
            empty=words.NO_EVENTS,
            low=0,
            high=1,
            overrides=colours.series(colours.SITES),
            points=100,
            custom={"fillOpacity": 0},
            link=words.TO_SITE,
        ),
        Row("What it brings"),
        Panel(
            "Impact of this time's sessions",
            "stat",
            "What the sessions that began in this time brought, how long they ran together, which "
            "share of it came of runs that were not healthy, and what a "
            "competitor would take for as much at the price above.",
            (Sql("economic_impact"),),
            empty="–",
            width=24,
            height=5,
            decimals=1,
            names={
                "valid_results": "valid results",
                "hours": "hours of scraping",
                "doubtful_share": "of doubtful runs",
                "competitor_cost": "worth elsewhere",
            },
            overrides=[
                {
                    "matcher": {"id": "byName", "options": column},
                    "properties": [{"id": "decimals", "value": 0}],
                }
                for column in ("sessions", "hours")
            ],
            options={"reduceOptions": {"fields": "/.*/"}, "graphMode": "none"},
        ),
        Panel(
            "What searches brought",
            "table",
            "What each search brought in the sessions that began in this time, the one with most postings first.",
            (Sql("jobs_by_search"),),
            empty=words.NO_SESSIONS,
            height=9,
            custom=NARROW,
            columns=(
                "search_term",
                "sessions",
                "total_jobs_found",
                "total_jobs_saved",
                "saved_share",
                "healthy_share",
                "mean_duration_seconds",
            ),
            names={
                "search_term": "search",
                "total_jobs_found": "jobs",
                "total_jobs_saved": "saved",
                "saved_share": "share",
                "healthy_share": "healthy",
                "mean_duration_seconds": "mean time",
            },
            overrides=[words.wide("search_term", 170), words.wide("mean_duration_seconds", 95)],
        ),
        Panel(
            "Postings by search over time",
            "timeseries",
            "Postings of the ten searches that found most, by when their sessions began.",
            (Sql("jobs_by_search_over_time"),),
            empty=words.NO_SESSIONS,
            height=9,
            points=60,
            custom=BARS,
        ),
    ),
)
