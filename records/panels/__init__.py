"""The panels over records: for each a file of SQL beside this one, with the columns that it answers, their units, and what they mean.

The SQL is PostgreSQL's, with the macros of Grafana's data source (``$__timeFilter``) and variables in a format that quotes them
(``${site:sqlstring}``); it is never built of anything else. A variable may have several values: ``panels.among(site_name,
ARRAY[${site:sqlstring}]::text[])`` holds for each of them, and for any site where none or the empty text is chosen. A panel reads the
schema ``panels`` alone, whose views show the role that asks the rows of its tenant (migration 0009). Numbers are those of the API: what
:mod:`records.queries`, :mod:`records.market` and :mod:`records.alerts` answer.

Days of the market are whole days of UTC: those that a range touches.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Final

from scrapewatch.ports import Column

SCHEMA: Final = "panels"
"""The schema of the views."""

STATES: Final[Mapping[int, str]] = MappingProxyType(
    dict(
        enumerate(
            (
                *("queued", "running", "paused", "stalled"),
                *("healthy", "degraded", "empty", "truncated", "blocked", "missing"),
                *("completed", "failed", "cancelled"),
                "over",
            ),
            start=2,
        )
    )
)
"""What the codes of a timeline mean; ``over`` ends a bar, and is to be drawn as nothing. A timeline cannot map 0 and 1 to colours."""

VARIABLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "site": "sites, several or all",
        "session": "one session",
        "search": "search terms, several or all",
        "company": "the name of our company as sites write it, for `ours against the market`; empty: none",
        "competitor_price": "what a competitor takes for 1,000 results",
        "monthly_return": "what comes back a month",
        "investment": "what was invested",
    }
)
"""The variables that panels may use, and what stands in them."""

_FOLDER = Path(__file__).parent
_VARIABLE = re.compile(r"\$\{(\w+)")
_MACRO = re.compile(r"\$(__\w+)")


@dataclass(frozen=True)
class Panel:
    """A query of a panel: ``columns`` in their order. One ``over_time`` has ``time``, then ``metric`` where it has several series."""

    name: str
    description: str
    columns: tuple[Column, ...]
    over_time: bool = False

    @cached_property
    def sql(self) -> str:
        """The query, with macros and variables as Grafana replaces them."""
        return (_FOLDER / f"{self.name}.sql").read_text(encoding="utf-8")

    @property
    def variables(self) -> frozenset[str]:
        """The dashboard's variables that it uses, of :data:`VARIABLES`."""
        return frozenset(name for name in _VARIABLE.findall(self.sql) if not name.startswith("__"))

    @property
    def macros(self) -> frozenset[str]:
        """The macros of Grafana that it uses."""
        return frozenset(_MACRO.findall(self.sql))


def _time(name: str, description: str) -> Column:
    return Column(name, "time", "time", description)


def _s(name: str, description: str) -> Column:
    return Column(name, "string", "", description)


def _n(name: str, description: str, unit: str = "1") -> Column:
    return Column(name, "int", unit, description)


def _f(name: str, unit: str, description: str) -> Column:
    return Column(name, "float", unit, description)


def _seconds(name: str, description: str) -> Column:
    return _f(name, "s", description)


def _share(name: str, description: str) -> Column:
    return _f(name, "share", description)


def _flag(name: str, description: str) -> Column:
    return Column(name, "bool", "", description)


_SESSION = _s("session_id", "the session")
_SITE = _s("site_name", "the site")
_POSTINGS = _n("postings", "postings that first came in these days")
_STATE = _n("state", "what it did from then on, or what it was: a code of `records.panels.STATES`")
_VERDICT = _s("verdict", "what the run really was; empty while that is open")
_LEVELS = tuple(
    _f(name, "currency/a", text)
    for name, text in (
        ("p25", "a quarter is paid no more"),
        ("p50", "the median"),
        ("p75", "three quarters are paid no more"),
    )
)
_SEVERITIES = (
    _n("critical", "of these, critical"),
    _n("warning", "of these, warnings"),
    _n("info", "of these, for information"),
)
_RULE_FIGURES = (
    _n("alerts", "alerts that started in the range, or before and are still open"),
    _n("told", "how often they were told with something new"),
    _n("open", "of these, not resolved"),
    _seconds("mean_time_to_resolve", "mean time from start to end, of those that ended"),
    _time("latest_at", "when the last of them started"),
)

_ALL = (
    # --- sessions
    Panel(
        "sessions",
        "The 200 newest sessions of the range, and all that go on.",
        (
            _time("time", "when it began"),
            _SESSION,
            _s("status", "queued, running, paused, completed, failed or cancelled"),
            _VERDICT,
            _s("source", "what the scraper is made with"),
            _s("search_term", "what it searches for"),
            _s("location", "where"),
            _s("sites", "the sites it visits"),
            _seconds("duration_seconds", "how long it ran"),
            _n("total_jobs_found", "postings found"),
            _n("total_jobs_saved", "of these, stored"),
            _n("duplicates_skipped", "of these, seen before"),
            _n("jobs_invalid", "of these, without a required field"),
            _n("total_pages", "pages processed"),
            _share("blocked_share", "share of pages that were block pages"),
            _n("errors_count", "errors"),
            _n("failed_sites", "sites whose last attempt failed"),
            _s("evidence", "what the verdict rests on most"),
        ),
    ),
    Panel(
        "sessions_now",
        "The sessions that go on, whenever they began.",
        (
            _n("active", "sessions that are queued, running or paused"),
            _n("running", "of these, running"),
            _n("queued", "of these, queued"),
            _n("paused", "of these, paused"),
            _n("stalled", "of these, running but silent"),
        ),
    ),
    Panel(
        "session_totals",
        "The sessions that began in the range, counted.",
        (
            _n("sessions", "sessions"),
            _n("active", "of these, queued, running or paused"),
            _n("stalled", "of these, running but silent"),
            _n("completed", "of these, completed"),
            _n("failed", "of these, failed"),
            _share("healthy_share", "share of those with a verdict that were healthy"),
            _n("total_jobs_found", "postings found"),
            _n("total_jobs_saved", "of these, stored"),
            _seconds("median_duration_seconds", "half of them ran no longer"),
        ),
    ),
    Panel(
        "session_verdicts",
        "Sessions by the time they began and their verdict, or their status while they have none.",
        (_time("time", "start of the window"), _s("metric", "verdict or status"), _n("sessions", "sessions")),
        over_time=True,
    ),
    Panel(
        "session_states",
        "What the 30 newest sessions did when, and what they were in the end.",
        (_time("time", "since when"), _s("metric", "the session"), _STATE),
        over_time=True,
    ),
    Panel(
        "session",
        "One session's head figures.",
        (
            _SESSION,
            _s("status", "queued, running, paused, completed, failed or cancelled"),
            _s("status_reason", "why, where that is known"),
            _VERDICT,
            _s("source", "what the scraper is made with"),
            _s("search_term", "what it searches for"),
            _s("location", "where"),
            _s("sites", "the sites it visits"),
            _time("begun_at", "when it started, or was queued before that"),
            _time("completed_at", "when it ended"),
            _time("last_event_at", "when it was last heard of"),
            _seconds("duration_seconds", "how long it ran, or has run so far"),
            _n("total_jobs_found", "postings found"),
            _n("total_jobs_saved", "of these, stored"),
            _n("duplicates_skipped", "of these, seen before"),
            _n("jobs_dropped", "of these, left out"),
            _n("jobs_invalid", "of these, without a required field"),
            _n("total_pages", "pages processed"),
            _share("success_rate", "share of attempts that brought a good page"),
            _share("blocked_share", "share of pages that were block pages"),
            _n("errors_count", "errors"),
            _n("total_sites", "sites"),
            _n("successful_sites", "of these, those whose last attempt ended well"),
            _n("failed_sites", "of these, those whose last attempt failed"),
            _n("events", "events it reported"),
        ),
    ),
    Panel(
        "session_evidence",
        "Why a session's verdict is what it is, the weightiest first.",
        (_s("rule", "the rule that holds"), _s("evidence", "it in a sentence")),
    ),
    Panel(
        "session_executions",
        "A session's attempts at its sites.",
        (
            _SITE,
            _n("attempt_number", "number of the attempt, from 1"),
            _time("started_at", "when it began"),
            _time("completed_at", "when it ended"),
            _seconds("duration_seconds", "how long it took"),
            _flag("success", "whether it ended well; empty while it runs"),
            _s("error_message", "why not"),
            _n("jobs_scraped", "postings found"),
            _n("pages_processed", "pages processed"),
            _n("pages_ok", "of these, good"),
            _n("pages_blocked", "of these, blocks"),
            _n("errors_count", "errors"),
            _seconds("avg_page_load_time", "mean time of a page"),
            _s("circuit_breaker_state", "closed, half_open or open"),
            _n("circuit_breaker_failures", "failures that the breaker counts"),
            _f("memory_usage_mb", "MiBy", "memory of the scraper's process"),
            _f("cpu_usage_percent", "percent", "use of one core by the scraper's process"),
        ),
    ),
    Panel(
        "session_site_states",
        "When a session tried which site, and how that ended.",
        (_time("time", "since when"), _s("metric", "site and number of the attempt"), _STATE),
        over_time=True,
    ),
    Panel(
        "session_errors",
        "A session's errors, those of one cause together, the most frequent first.",
        (
            _SITE,
            _s("type", "type of the error"),
            _n("count", "how many"),
            _s("message", "message of one of them"),
            _s("url", "where that one happened"),
            _time("first_seen", "when the first happened"),
            _time("last_seen", "when the last happened"),
            _s("fingerprint", "what they have in common"),
        ),
    ),
    Panel(
        "error_groups",
        "The errors of all sessions that last happened in the range, those of one cause together, the most frequent first.",
        (
            _SITE,
            _s("type", "type of the error"),
            _n("count", "how many"),
            _n("sessions", "in how many sessions"),
            _s("message", "message of one of them"),
            _s("url", "where that one happened"),
            _s("latest_session_id", "the session that had it last"),
            _time("first_seen", "when the first happened"),
            _time("last_seen", "when the last happened"),
            _s("fingerprint", "what they have in common"),
        ),
    ),
    Panel(
        "session_losses",
        "The 50 sessions that lost the greatest share of what they found.",
        (
            _time("time", "when it began"),
            _SESSION,
            _VERDICT,
            _s("search_term", "what it searches for"),
            _n("total_jobs_found", "postings found"),
            _n("total_jobs_saved", "of these, stored"),
            _n("duplicates_skipped", "of these, seen before"),
            _n("jobs_dropped", "of these, left out"),
            _n("jobs_invalid", "of these, without a required field"),
            _share("invalid_share", "share of postings without a required field"),
            _share("duplicate_share", "share of postings that were seen before"),
        ),
    ),
    Panel(
        "site_retries",
        "Attempts at a site after the first of a session, by when they began.",
        (
            _time("time", "start of the window"),
            _s("metric", "the site"),
            _n("retries", "attempts after the first"),
        ),
        over_time=True,
    ),
    Panel(
        "jobs_by_search",
        "What each search brought in the sessions that began in the range, the one with most postings first.",
        (
            _s("search_term", "the search; empty for sessions that name none"),
            _n("sessions", "sessions"),
            _n("total_jobs_found", "postings found"),
            _n("total_jobs_saved", "of these, stored"),
            _share("saved_share", "share of postings that were stored"),
            _share("healthy_share", "share of sessions with a verdict that were healthy"),
            _seconds("mean_duration_seconds", "mean time of a session"),
            _time("latest_at", "when the latest began"),
        ),
    ),
    Panel(
        "jobs_by_search_over_time",
        "Postings of the ten searches that found most, by when their sessions began.",
        (_time("time", "start of the window"), _s("metric", "the search"), _n("jobs", "postings found")),
        over_time=True,
    ),
    # --- the job market
    Panel(
        "market_totals",
        "The postings of these days, and those of as many days before.",
        (
            _POSTINGS,
            _n("previous_postings", "postings of as many days before"),
            _f("postings_change_percent", "percent", "change of the number of postings"),
            _n("days_with_postings", "days on which any came", "d"),
            _n("looked_at", "postings whose salary, skills and place were looked at"),
            _share("remote_share", "share of remote postings among those that say"),
            _share("previous_remote_share", "the same of the days before"),
            _share("salary_share", "share of postings with a salary that could be understood"),
        ),
    ),
    Panel(
        "market_postings_per_day",
        "Postings by the day they first came; the last day may not be over.",
        (_time("time", "the day, UTC"), _n("postings", "postings that first came on it")),
        over_time=True,
    ),
    Panel(
        "market_salaries",
        "Salaries by currency, a year of full-time work; none is converted.",
        (
            _s("currency", "ISO 4217 code"),
            _n("postings", "postings that name a salary in it"),
            _f("p10", "currency/a", "a tenth is paid no more"),
            *_LEVELS,
            _f("p90", "currency/a", "nine tenths are paid no more"),
            _f("previous_p50", "currency/a", "the median of as many days before"),
            _f("change_percent", "percent", "change of the median"),
        ),
    ),
    Panel(
        "market_salaries_over_time",
        "Salaries a year by week, in the currency that most postings name.",
        (_time("time", "first day of the week, a Thursday"), *_LEVELS),
        over_time=True,
    ),
    Panel(
        "market_salary_bands",
        "How many postings pay what a year, in the currency that most postings name.",
        (
            _s("band", "from how much, in short"),
            _f("band_from", "currency/a", "from this much, to less than that of the next band"),
            _n("postings", "postings"),
            _s("currency", "ISO 4217 code; empty where none is named"),
        ),
    ),
    Panel(
        "market_skills",
        "The 20 skills that are asked for most.",
        (
            _s("skill", "the skill, in lower case"),
            _n("postings", "postings that ask for it"),
            _share("share", "share of the postings looked at"),
            _share("previous_share", "the same of as many days before"),
            _f("change_percent", "percent", "change of that share"),
        ),
    ),
    Panel(
        "market_companies",
        "The 20 companies with most postings.",
        (
            _s("company", "its name as the sites write it"),
            _n("postings", "its postings"),
            _share("share", "share of the postings looked at"),
        ),
    ),
    Panel(
        "market_locations",
        "The 20 places with most postings.",
        (
            _s("place", "its name as the sites write it"),
            _n("postings", "postings there"),
            _share("share", "share of the postings looked at"),
        ),
    ),
    Panel(
        "market_sites",
        "The sites that the postings are from.",
        (_s("site", "the site"), _n("postings", "postings of it")),
    ),
    Panel(
        "market_remote",
        "Remote postings by day, among those that say.",
        (_time("time", "the day, UTC"), _share("remote_share", "share of remote postings")),
        over_time=True,
    ),
    Panel(
        "market_newest",
        "The 100 newest postings.",
        (
            _time("time", "when it first came"),
            _s("title", "its title"),
            _s("company", "who offers it"),
            _s("place", "where"),
            _SITE,
            _f("yearly_min", "currency/a", "the least it pays a year"),
            _f("yearly_max", "currency/a", "the most it pays a year"),
            _s("yearly_currency", "in which currency"),
            _flag("is_remote", "whether it is remote; empty where that is not said"),
            _s("job_type", "full-time, contract and so on"),
            _s("url", "its page"),
            _s("session_id", "the session that found it last"),
        ),
    ),
    Panel(
        "market_ours",
        "The postings of our company beside those of the whole market, salaries in the currency that both name.",
        (
            _s("side", "ours or the market"),
            _POSTINGS,
            _share("remote_share", "share of remote postings among those that say"),
            _s("currency", "ISO 4217 code; empty where none is named"),
            _n("salaries", "postings that name a salary in it"),
            *_LEVELS,
        ),
    ),
    Panel(
        "market_ours_skills",
        "The skills that our company asks for most, and how often the whole market does.",
        (
            _s("skill", "the skill, in lower case"),
            _share("ours", "share of our postings that ask for it"),
            _share("the_market", "share of all postings that ask for it"),
        ),
    ),
    # --- alerts
    Panel(
        "alerts_firing",
        "The alerts that are not resolved now, counted.",
        (_n("firing", "alerts that are not resolved"), *_SEVERITIES, _n("acknowledged", "of these, seen to")),
    ),
    Panel(
        "alerts_open",
        "The alerts that are not resolved now, the most severe first.",
        (
            _time("time", "when it started"),
            _s("severity", "critical, warning or info"),
            _s("status", "firing or acknowledged"),
            _s("rule", "the rule that fired"),
            _s("resource", "for what"),
            _s("message", "what it says"),
            _f("value", "1", "what the rule measured"),
            _n("count", "how often it was told with something new"),
            _seconds("open_seconds", "since how long"),
            _s("acknowledged_by", "who sees to it"),
            _flag("silenced", "whether a silence holds for it"),
            _s("session_id", "the session it is about"),
            _n("id", "its number"),
        ),
    ),
    Panel(
        "alerts",
        "The 200 newest alerts that started in the range.",
        (
            _time("time", "when it started"),
            _s("severity", "critical, warning or info"),
            _s("status", "firing, acknowledged or resolved"),
            _s("rule", "the rule that fired"),
            _s("resource", "for what"),
            _s("message", "what it says"),
            _f("value", "1", "what the rule measured"),
            _n("count", "how often it was told with something new"),
            _time("last_fired_at", "when it was last told"),
            _s("acknowledged_by", "who saw to it"),
            _time("resolved_at", "when it ended"),
            _s("resolved_by", "who said so"),
            _seconds("resolve_seconds", "how long it lasted"),
            _s("notes", "what people noted"),
            _s("session_id", "the session it is about"),
            _n("id", "its number"),
        ),
    ),
    Panel(
        "alerts_statistics",
        "The alerts that started in the range, and those from before that are still open; times are of the former.",
        (
            _n("total", "alerts"),
            _n("told", "how often they were told with something new"),
            _n("open", "of these, not resolved"),
            *_SEVERITIES,
            _seconds("mean_time_to_acknowledge", "mean time until somebody saw to it"),
            _seconds("median_time_to_acknowledge", "half were seen to no later"),
            _seconds("mean_time_to_resolve", "mean time from start to end"),
            _seconds("median_time_to_resolve", "half ended no later"),
        ),
    ),
    Panel(
        "alerts_over_time",
        "Alerts by when they started and their severity.",
        (_time("time", "start of the window"), _s("metric", "severity"), _n("alerts", "alerts")),
        over_time=True,
    ),
    Panel(
        "alerts_resolve_times",
        "How long alerts lasted, by when they started and their severity.",
        (
            _time("time", "start of the window"),
            _s("metric", "severity"),
            _seconds("mean_time_to_resolve", "mean time from start to end"),
        ),
        over_time=True,
    ),
    Panel(
        "alerts_by_rule",
        "The ten rules with most alerts.",
        (_s("rule", "the rule"), *_RULE_FIGURES),
    ),
    Panel(
        "alerts_by_resource",
        "The ten resources with most alerts.",
        (_s("resource", "what the alerts are about"), *_RULE_FIGURES),
    ),
    Panel(
        "silences",
        "Silences that did not end before the range.",
        (
            _s("state", "pending, active or expired"),
            _s("matchers", "for which alerts"),
            _s("comment", "why"),
            _s("created_by", "who made it"),
            _time("created_at", "when"),
            _time("starts_at", "from when it holds"),
            _time("ends_at", "until when"),
            _n("id", "its number"),
        ),
    ),
    # --- what it costs and brings
    Panel(
        "economic_impact",
        "What the sessions that began in the range brought, and what a competitor would take for it.",
        (
            _n("sessions", "sessions"),
            _n("valid_results", "postings stored: neither duplicate nor dropped nor invalid"),
            _f("hours", "h", "how long they ran together"),
            _share("doubtful_share", "share of these postings that came of runs which were not healthy"),
            _f("competitor_cost", "currency", "the competitor's price for as many; empty without a price"),
        ),
    ),
    Panel(
        "return_on_investment",
        "The return on investment by your own figures; nothing until both are given.",
        (
            _share("roi", "((monthly return × 12) − investment) / investment"),
            _f("payback_months", "mo", "months until the investment is back"),
            _f("gain_in_a_year", "currency", "what is left after a year"),
        ),
    ),
)

PANELS: Final[Mapping[str, Panel]] = MappingProxyType({panel.name: panel for panel in _ALL})
"""The panels by name."""

_CHOICES = (_s("__text", "what is shown"), _s("__value", "what is meant"))
_MARKS = (
    _time("time", "from when"),
    _time("timeend", "until when"),
    _s("text", "what happened"),
    _s("tags", "words to find it by"),
)

ANNOTATIONS: Final[Mapping[str, Panel]] = MappingProxyType(
    {
        panel.name: panel
        for panel in (
            Panel("annotations_sessions", "When sessions began and ended.", _MARKS),
            Panel("annotations_session", "When one session began and ended.", _MARKS),
            Panel("annotations_alerts", "When alerts started and ended.", _MARKS),
        )
    }
)
"""What dashboards mark over time."""

CHOICES: Final[Mapping[str, Panel]] = MappingProxyType(
    {
        "session": Panel("variable_sessions", "The 200 newest sessions.", _CHOICES),
        "search": Panel("variable_searches", "The 200 search terms that were used last.", _CHOICES),
    }
)
"""The variables whose values are asked for, by their names."""
