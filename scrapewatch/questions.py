"""The questions: named queries with declared parameters, columns and units.

Each has a twin per store, ``influx/flux/<name>.flux`` and ``embedded/sql/<name>.sql``, that answers only what both can say exactly:
sums, counts, maxima, means and histogram buckets over UTC windows, or over a range of whole ones. What is computed from those (rates,
ratios, quantiles) happens once, in :mod:`scrapewatch.answers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from scrapewatch import histogram
from scrapewatch.measurements import KEEPING, Tier
from scrapewatch.ports import Column, TimeRange
from scrapewatch.time import DAY, HOUR, MINUTE, SECOND


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter: always text, bound and never pasted; ``""`` means any where ``default`` is ``""``, None makes it required."""

    name: str
    default: str | None
    description: str


@dataclass(frozen=True, slots=True)
class Question:
    """A named query. ``tiers``: where it may read, from the finest. ``key``: the columns that tell its rows apart.

    ``by_window``: a row stands for a window, or else for the whole range. ``longest``: how long a range (ns) people get at once, None for
    any; it is also what they get who name none.
    """

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    tiers: tuple[Tier, ...]
    by_window: bool = True
    longest: int | None = None


_TIME = Column("time", "time", "ns", "start of the window")
_SITE = Column("site", "string", "", "name of the site")
_BY_SITE = Parameter("site", "", "only this site")
_COLLECTOR = Column("collector", "string", "", "number of the collector")
_BY_COLLECTOR = Parameter("collector", "", "only this collector")
_FLEET = (Tier.FLEET, Tier.FLEET_1M, Tier.FLEET_1H)
_GAUGES = (Tier.SESSIONS, Tier.FLEET_1M, Tier.FLEET_1H)
_LONGEST_BY_SESSION = HOUR
"""What tells of every session goes through thousands of series: those of a day take InfluxDB a second."""


def _n(name: str, description: str, unit: str = "1") -> Column:
    return Column(name, "int", unit, description)


def _f(name: str, unit: str, description: str) -> Column:
    return Column(name, "float", unit, description)


def _timed(name: str, what: str) -> tuple[Column, Column, Column]:
    return (
        _f(f"{name}_sum", "s", f"times of the {what}, added up"),
        _n(f"{name}_count", f"how many {what}"),
        _f(f"{name}_max", "s", f"the longest of the {what}"),
    )


_PERFORMANCE = (
    _n("scraped", "postings found"),
    _n("pages", "pages processed"),
    _n("ok", "of these, good"),
    _n("blocked", "of these, block pages"),
    _n("errors", "errors reported"),
    _n("duration_count", "pages whose time is known"),
    _f("duration_sum", "s", "their times, added up"),
    _n("items", "items whose quality was looked at"),
    _n("valid", "of these, valid"),
    _n("duplicates", "of these, duplicates"),
)

_SITE_COUNTS = (
    Column("time", "time", "ns", "start of the range"),
    _SITE,
    _n("scraped", "postings found"),
    _n("saved", "of these, stored"),
    _n("pages", "pages processed"),
    _n("ok", "of these, good"),
    _n("blocked", "of these, block pages"),
    _n("errors", "errors reported"),
    _n("duration_count", "pages whose time is known"),
    _f("duration_sum", "s", "their times, added up"),
)

_ALL = (
    Question(
        "throughput",
        "Job postings by site.",
        (_BY_SITE,),
        (
            _TIME,
            _SITE,
            _n("scraped", "postings found"),
            _n("saved", "of these, stored"),
            _n("duplicate", "of these, seen before"),
            _n("dropped", "of these, left out"),
            _n("invalid", "of these, invalid"),
        ),
        ("time", "site"),
        _FLEET,
    ),
    Question(
        "errors",
        "Errors by site and type.",
        (_BY_SITE,),
        (_TIME, _SITE, Column("type", "string", "", "type of the error"), _n("count", "errors")),
        ("time", "site", "type"),
        _FLEET,
    ),
    Question(
        "success_rate",
        "What the success rate of each site is made of: pages, good pages, block pages, and errors.",
        (_BY_SITE,),
        (
            _TIME,
            _SITE,
            _n("pages", "pages processed"),
            _n("ok", "of these, good"),
            _n("blocked", "of these, block pages"),
            _n("errors", "errors reported"),
        ),
        ("time", "site"),
        _FLEET,
    ),
    Question(
        "response_times",
        "How long pages took, as a histogram by site.",
        (_BY_SITE,),
        (
            _TIME,
            _SITE,
            _n("duration_count", "pages whose time is known"),
            _f("duration_sum", "s", "their times, added up"),
            _f("duration_max", "s", "the slowest"),
            *(_n(name, f"pages in bucket {k} of the histogram") for k, name in enumerate(histogram.FIELDS)),
        ),
        ("time", "site"),
        _FLEET,
    ),
    Question(
        "performance",
        "How fast, how well and how cleanly was scraped, all sites together: few rows for long series.",
        (),
        (_TIME, *_PERFORMANCE),
        ("time",),
        _FLEET,
    ),
    Question(
        "site_performance",
        "How fast, how well and how cleanly was scraped, by site.",
        (),
        (_TIME, _SITE, *_PERFORMANCE),
        ("time", "site"),
        _FLEET,
    ),
    Question(
        "data_quality",
        "Quality of the items of each site.",
        (_BY_SITE,),
        (
            _TIME,
            _SITE,
            _n("items", "items looked at"),
            _n("valid", "of these, valid"),
            _n("duplicates", "of these, duplicates"),
        ),
        ("time", "site"),
        _FLEET,
    ),
    Question(
        "field_coverage",
        "How many items of each site have which field filled.",
        (_BY_SITE,),
        (
            _TIME,
            _SITE,
            Column("field", "string", "", "name of the item's field"),
            _n("items", "items looked at"),
            _f("covered", "1", "of these, with the field filled"),
        ),
        ("time", "site", "field"),
        _FLEET,
    ),
    Question(
        "proxies",
        "Requests through proxies, by provider and proxy.",
        (Parameter("provider", "", "only proxies of this provider"),),
        (
            _TIME,
            Column("provider", "string", "", "who provides the proxy"),
            Column("proxy", "string", "", "id of the proxy; empty where none was given"),
            _n("requests", "requests"),
            _n("failures", "of these, failed"),
            _n("bans", "of these, banned"),
            _n("bytes", "bytes carried", "By"),
            _f("cost", "currency", "cost, in the tenant's currency"),
            _f("latency_sum", "s", "latencies, added up, each weighted by its requests"),
            _n("latency_count", "requests whose latency is known"),
            _f("latency_max", "s", "highest latency reported"),
        ),
        ("time", "provider", "proxy"),
        _FLEET,
    ),
    Question(
        "page_times",
        "How long pages took on average, by site: a small part of `response_times`, for long series.",
        (_BY_SITE,),
        (
            _TIME,
            _SITE,
            _n("duration_count", "pages whose time is known"),
            _f("duration_sum", "s", "their times, added up"),
        ),
        ("time", "site"),
        _FLEET,
    ),
    Question(
        "site_totals",
        "What each site came to in the whole range, as one row: postings, pages, errors, and how long pages took, as a histogram. Windows "
        "only say to what the range is widened: a store adds up a month in a fraction of the time that its days would take.",
        (_BY_SITE,),
        (
            *_SITE_COUNTS,
            _f("duration_max", "s", "the slowest"),
            *(_n(name, f"pages in bucket {k} of the histogram") for k, name in enumerate(histogram.FIELDS)),
        ),
        ("time", "site"),
        _FLEET,
        by_window=False,
    ),
    Question(
        "site_counts",
        "What each site came to in the whole range, as one row: the part of `site_totals` that costs half as much.",
        (_BY_SITE,),
        _SITE_COUNTS,
        ("time", "site"),
        _FLEET,
        by_window=False,
    ),
    Question(
        "error_totals",
        "Errors of the whole range by site and type, each as one row.",
        (_BY_SITE,),
        (
            Column("time", "time", "ns", "start of the range"),
            _SITE,
            Column("type", "string", "", "type of the error"),
            _n("count", "errors"),
        ),
        ("time", "site", "type"),
        _FLEET,
        by_window=False,
    ),
    Question(
        "costs",
        "What scraping cost, by site, kind and currency, and what proxies cost by their own account. A proxy knows neither sites nor "
        "currencies: its cost is in the tenant's own, and stands under no site, the kind `proxies` and no currency.",
        (Parameter("site", "", "only this site; the proxies' own account belongs to none"),),
        (
            _TIME,
            Column("site", "string", "", "name of the site; empty where the cost is of none"),
            Column(
                "kind", "string", "", "proxy, compute, captcha, api or other; proxies: by their own account"
            ),
            Column("currency", "string", "", "ISO 4217 code; empty for the tenant's own"),
            _f("amount", "currency", "amount spent"),
        ),
        ("time", "site", "kind", "currency"),
        _FLEET,
    ),
    Question(
        "queue",
        "The queue and the scrapers at work: the highest of each window, by session where the tier knows sessions.",
        (_BY_SITE,),
        (
            _TIME,
            Column("session_id", "string", "", "the session; empty in the rollups"),
            _SITE,
            _f("depth", "1", "requests that wait"),
            _f("pending", "1", "requests under way"),
            _f("active_scrapers", "1", "scrapers at work"),
        ),
        ("time", "session_id", "site"),
        _GAUGES,
    ),
    Question(
        "resources",
        "Use of the machines that scrapewatch runs on: means and maxima of each window.",
        (Parameter("host", "", "only this machine"),),
        (
            _TIME,
            Column("host", "string", "", "name of the machine"),
            _f("cpu_percent", "percent", "use of all cores, mean"),
            _f("cpu_percent_max", "percent", "use of all cores, maximum"),
            _f("memory_percent", "percent", "use of memory, mean"),
            _f("memory_percent_max", "percent", "use of memory, maximum"),
            _f("swap_percent", "percent", "use of swap space, mean"),
            _f("load_1", "1", "load average of one minute, mean"),
        ),
        ("time", "host"),
        _FLEET,
    ),
    Question(
        "processes",
        "The processes of the machines that use most, by name: a window has those that were among them in it.",
        (Parameter("host", "", "only this machine"),),
        (
            _TIME,
            Column("host", "string", "", "name of the machine"),
            Column("process", "string", "", "name of the processes"),
            _f("cpu_percent", "percent", "use of one core, mean"),
            _f("cpu_percent_max", "percent", "use of one core, maximum"),
            _f("memory", "By", "resident memory, maximum"),
            _f("threads", "1", "threads, maximum"),
            _f("count", "1", "processes of that name, maximum"),
        ),
        ("time", "host", "process"),
        _FLEET,
    ),
    Question(
        "disks",
        "Space on the file systems of the machines that scrapewatch runs on.",
        (Parameter("host", "", "only this machine"),),
        (
            _TIME,
            Column("host", "string", "", "name of the machine"),
            Column("mount", "string", "", "where the file system is mounted"),
            _f("used", "By", "space used, mean"),
            _f("total", "By", "size, maximum"),
            _f("percent", "percent", "use of what may be had, mean"),
        ),
        ("time", "host", "mount"),
        _FLEET,
    ),
    Question(
        "breaker_states",
        "Circuit breakers by site: the last state of each window and the changes in it.",
        (_BY_SITE,),
        (
            _TIME,
            _SITE,
            _n("state", "the last: 0 closed, 1 half open, 2 open", "state"),
            _n("transitions", "changes of state"),
            _n("opened", "changes to open"),
        ),
        ("time", "site"),
        _FLEET,
    ),
    Question(
        "session_metrics",
        "One session by interval: what it found at each site, its errors by type, its queue and resources.",
        (Parameter("session_id", None, "the session"),),
        (
            _TIME,
            Column("site", "string", "", "the site; empty for the session as a whole"),
            Column("type", "string", "", "type of the error; empty for all other figures"),
            _n("scraped", "postings found"),
            _n("pages", "pages processed"),
            _n("ok", "of these, good"),
            _n("duration_count", "pages whose time is known"),
            _f("duration_sum", "s", "their times, added up"),
            _n("errors", "errors of that type"),
            _n("depth", "requests that wait, maximum"),
            _n("active_scrapers", "scrapers at work, maximum"),
            _f("memory_mb", "MiBy", "memory of the scraper, maximum"),
            _f("cpu_percent", "percent", "use of one core by the scraper, mean"),
        ),
        ("time", "site", "type"),
        (Tier.SESSIONS,),
    ),
    Question(
        "session_pace",
        "What each session did lately: for the pace of those that run.",
        (),
        (
            _TIME,
            Column("session_id", "string", "", "the session"),
            _n("scraped", "postings found"),
            _n("pages", "pages processed"),
            _n("ok", "of these, good"),
            _n("errors", "errors reported"),
        ),
        ("time", "session_id"),
        (Tier.SESSIONS,),
        longest=_LONGEST_BY_SESSION,
    ),
    Question(
        "session_progress",
        "How far each session was at each site: the most of each window.",
        (),
        (
            _TIME,
            Column("session_id", "string", "", "the session"),
            Column("site", "string", "", "the site; empty for the session as a whole"),
            _n("done", "steps done"),
            _n("total", "steps in all, as known then"),
        ),
        ("time", "session_id", "site"),
        (Tier.SESSIONS,),
        longest=_LONGEST_BY_SESSION,
    ),
    Question(
        "service_uptime",
        "Checks of services: how many, how many found them up, how long they took.",
        (Parameter("service", "", "only this service"),),
        (
            _TIME,
            Column("service", "string", "", "name of the service"),
            _n("checks", "checks made"),
            _n("up", "of these, found up"),
            _f("response_time_sum", "s", "time the checks took, added up"),
            _f("response_time_max", "s", "time of the slowest check"),
        ),
        ("time", "service"),
        _FLEET,
    ),
    Question(
        "collector_throughput",
        "What the collectors did: events in and out, requests, and what was turned away.",
        (_BY_COLLECTOR,),
        (
            _TIME,
            _COLLECTOR,
            _n("accepted", "events made durable and acknowledged"),
            _n("delivered", "events that both stores have"),
            _n("dead_lettered", "events whose point a store rejected for good, less those replayed"),
            _n("duplicates", "events that were known"),
            _n("requests", "requests answered"),
            _n("rejected", "items of requests that were no events"),
            _n("refused", "requests turned away as a whole"),
            _n("live_dropped", "live messages dropped before they reached a subscriber's queue"),
            _f("sampler_seconds", "s", "processor time of the sampler"),
        ),
        ("time", "collector"),
        _FLEET,
    ),
    Question(
        "collector_backlog",
        "What the collectors have not delivered yet: the highest of each window.",
        (_BY_COLLECTOR,),
        (
            _TIME,
            _COLLECTOR,
            _f("spooled", "1", "events that wait in the spool"),
            _f("spool_bytes", "By", "size of the spool"),
            _f("flushes_pending", "1", "flushes that a store has not passed"),
            _f("oldest_age", "s", "age of the oldest event that waits"),
            _f("unrecorded_age", "s", "age of the oldest event that the records do not have"),
            _f("problems", "1", "things that readiness says are wrong"),
        ),
        ("time", "collector"),
        _FLEET,
    ),
    Question(
        "collector_latencies",
        "How long the steps of an event's way take: acknowledgements (as a histogram, too), commits, folds, and writes to each store.",
        (_BY_COLLECTOR,),
        (
            _TIME,
            _COLLECTOR,
            *_timed("ack", "acknowledgements"),
            *_timed("commit", "commits of the spool, fsync included"),
            *_timed("fold", "flushes cut, folded and persisted"),
            *_timed("write_series", "writes to the store of points"),
            *_timed("apply_records", "applications to the records"),
            *(
                _n(name, f"acknowledgements in bucket {k} of the histogram")
                for k, name in enumerate(histogram.FIELDS)
            ),
        ),
        ("time", "collector"),
        _FLEET,
    ),
)

QUESTIONS = MappingProxyType({q.name: q for q in _ALL})
"""Every question by name."""

# Up to 200 windows to a picture: what can be told apart in it, and few enough rows for series by the dozen.
_STEPS = (
    5 * SECOND,
    10 * SECOND,
    30 * SECOND,
    MINUTE,
    5 * MINUTE,
    15 * MINUTE,
    HOUR,
    6 * HOUR,
    DAY,
)


def window_for(start: int, stop: int) -> int:
    """A fitting window (ns) for a picture of the range from ``start`` to ``stop``: about 200 of them at the most."""
    for step in _STEPS:
        if stop - start <= 200 * step:
            return step
    return _STEPS[-1]


def tier_for(question: Question, time_range: TimeRange, now: int) -> Tier:
    """Where ``question`` reads ``time_range``: the coarsest tier whose windows divide those asked for, once the range is long.

    A short recent range reads the finest tier, which has no delay. A range that begins before a tier's retention needs a coarser one;
    when no tier keeps its age the coarsest answers what it has.
    """
    span = time_range.stop - time_range.start
    fitting = [
        tier
        for tier in question.tiers
        if (window := KEEPING[tier].window) == 0 or (time_range.every % window == 0 and span >= 60 * window)
    ]
    kept = [tier for tier in fitting if time_range.start >= now - KEEPING[tier].retention]
    if kept:
        return kept[-1]
    return question.tiers[-1]
