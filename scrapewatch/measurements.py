"""The registry of measurements: the one place that says what a point is.

Validation, folding, line protocol, the embedded store's tables, the roller and the documentation derive from it. Changes to it are
additive: a tag, field or measurement that was ever stored keeps its name, type and meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from scrapewatch import histogram
from scrapewatch.time import DAY, HOUR, MINUTE


class Tier(StrEnum):
    """Where points are kept: a bucket in InfluxDB, a set of tables in the embedded store."""

    FLEET = "fleet"
    FLEET_1M = "fleet_1m"
    FLEET_1H = "fleet_1h"
    SESSIONS = "sessions"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class TierKeeping:
    """How long a tier keeps points, the window it holds them at, and the size of its shards (all ns; window 0: as they came)."""

    retention: int
    window: int
    shard: int


# The fleet tier keeps two days more than the oldest live event accepted (7 days), since a queued event must not expire.
# Few large shard groups: with a day each, 10 tenants took 16,000 open files. But the sessions are read by hours, and whoever reads
# a shard goes through the series of all the sessions in it.
KEEPING = MappingProxyType(
    {
        Tier.FLEET: TierKeeping(9 * DAY, 0, DAY),
        Tier.FLEET_1M: TierKeeping(90 * DAY, MINUTE, 30 * DAY),
        Tier.FLEET_1H: TierKeeping(5 * 365 * DAY, HOUR, 90 * DAY),
        Tier.SESSIONS: TierKeeping(90 * DAY, 0, 7 * DAY),
        # What others write as line protocol: nothing of the registry is in it, and nothing in it can be taken for the registry's.
        Tier.EXTERNAL: TierKeeping(90 * DAY, 0, 30 * DAY),
    }
)

_SET_BY_RETENTION_DAYS = (Tier.FLEET_1M, Tier.SESSIONS, Tier.EXTERNAL)


def retention(tier: Tier, days: int | None = None) -> int:
    """How long ``tier`` keeps points (ns): ``days`` is METRICS_RETENTION_DAYS, which some tiers follow; None: as the registry says."""
    if days is not None and tier in _SET_BY_RETENTION_DAYS:
        return days * DAY
    return KEEPING[tier].retention


LIVE_AGE = 7 * DAY
"""An event older than this is history: it needs ``backfill=true`` and goes straight to the rollups."""


class Fold(StrEnum):
    """How the values of one field in one flush become one value."""

    SUM = "sum"
    MAX = "max"
    GAUGE = "gauge"
    STATE = "state"


@dataclass(frozen=True, slots=True)
class Field:
    """A field: its type never changes, because ``1`` and ``1.0`` conflict in InfluxDB."""

    name: str
    type: type[int] | type[float]
    fold: Fold
    unit: str
    description: str


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag: its values are bounded, its absence is stored as the empty string (InfluxDB omits it)."""

    name: str
    description: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """A kind of point.

    ``tiers`` are those that the fold writes to; in ``sessions`` the tag ``session_id`` is added. ``rolled_from`` is the tier whose
    windows the roller turns into the rollups, with sums over the sessions where that is ``sessions``.
    """

    name: str
    description: str
    tags: tuple[Tag, ...]
    fields: tuple[Field, ...]
    tiers: tuple[Tier, ...] = (Tier.FLEET, Tier.SESSIONS)
    rolled_from: Tier | None = Tier.FLEET

    def field(self, name: str) -> Field:
        """The field of that name.

        Raises:
            KeyError: when there is none.

        """
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(f"{self.name} has no field {name}")

    def tag_names(self, tier: Tier) -> tuple[str, ...]:
        """Names of its tags in ``tier``, in the order of the registry."""
        own = tuple(tag.name for tag in self.tags)
        return ("session_id", *own) if tier is Tier.SESSIONS else own


SITE = Tag("site", "name of the site, such as indeed")

STATUS_CLASSES = ("2xx", "3xx", "4xx", "5xx", "none")
BREAKER_STATES = MappingProxyType({"closed": 0, "half_open": 1, "open": 2})
ERROR_TYPES = ("403", "429", "timeout", "parsing", "captcha", "network", "proxy", "other")


def _count(name: str, description: str, unit: str = "1") -> Field:
    return Field(name, int, Fold.SUM, unit, description)


def _sum(name: str, unit: str, description: str) -> Field:
    return Field(name, float, Fold.SUM, unit, description)


def _max(name: str, unit: str, description: str) -> Field:
    return Field(name, float, Fold.MAX, unit, description)


def _gauge(name: str, unit: str, description: str, kind: type[int] | type[float] = float) -> Field:
    return Field(name, kind, Fold.GAUGE, unit, description)


def _histogram(what: str) -> tuple[Field, ...]:
    return tuple(
        _count(
            name,
            f"{what} that took up to {histogram.EDGES[k]:.4g} s"
            if k < len(histogram.EDGES)
            else f"{what} that took longer than {histogram.EDGES[-1]:.4g} s",
        )
        for k, name in enumerate(histogram.FIELDS)
    )


def _timing(name: str, what: str) -> tuple[Field, ...]:
    return (
        _sum(f"{name}_sum", "s", f"times of the {what}, added up"),
        _count(f"{name}_count", f"how many {what}"),
        _max(f"{name}_max", "s", f"the longest of the {what}"),
    )


_HOST = Tag("host", "name of the machine")

_ALL = (
    Measurement(
        "jobs",
        "Job postings as scrapers counted them.",
        (SITE,),
        (
            _count("scraped", "postings found"),
            _count("saved", "of these, stored by the scraper"),
            _count("duplicate", "of these, seen before"),
            _count("dropped", "of these, left out by a pipeline"),
            _count("invalid", "of these, without a required field"),
        ),
    ),
    Measurement(
        "pages",
        "Pages (HTTP responses) that scrapers processed.",
        (SITE, Tag("status_class", "class of the HTTP status: " + ", ".join(STATUS_CLASSES))),
        (
            _count("count", "pages"),
            _count("ok", "pages with a status below 400 that were no block page"),
            _count("blocked", "pages that were a block, captcha or consent wall"),
            _count("bytes", "size of the bodies", "By"),
            _sum("duration_sum", "s", "time the pages took, added up"),
            _count("duration_count", "pages whose time is known"),
            _max("duration_max", "s", "time of the slowest page"),
            *_histogram("pages"),
        ),
    ),
    Measurement(
        "errors",
        "Errors by type.",
        (SITE, Tag("type", "one of " + ", ".join(ERROR_TYPES) + ", or a three-digit HTTP status")),
        (_count("count", "errors"),),
    ),
    Measurement(
        "site_runs",
        "Site executions: attempts of a session at one site.",
        (SITE,),
        (
            _count("started", "attempts begun"),
            _count("succeeded", "attempts that ended well"),
            _count("failed", "attempts that ended badly"),
            _sum("duration_sum", "s", "time of the ended attempts, added up"),
            _max("duration_max", "s", "time of the longest attempt"),
        ),
    ),
    Measurement(
        "session_states",
        "Changes of the state of sessions.",
        (
            Tag("state", "queued, running, paused, completed, failed or cancelled"),
            Tag("source", "what the scraper is made with, such as scrapy"),
        ),
        (_count("count", "changes to that state"),),
        tiers=(Tier.FLEET,),
    ),
    Measurement(
        "breakers",
        "Circuit breakers.",
        (SITE,),
        (
            Field("state", int, Fold.STATE, "state", "0 closed, 1 half open, 2 open"),
            _gauge("failures", "1", "failures that the breaker counts", int),
            _gauge("successes", "1", "successes that the breaker counts", int),
            _count("transitions", "changes of state"),
            _count("opened", "changes to open"),
        ),
    ),
    Measurement(
        "queue",
        "The queue of requests and the scrapers at work, of each session.",
        (SITE,),
        (
            _gauge("depth", "1", "requests that wait", int),
            _gauge("pending", "1", "requests under way", int),
            _gauge("active_scrapers", "1", "scrapers at work", int),
        ),
        tiers=(Tier.SESSIONS,),
        rolled_from=Tier.SESSIONS,
    ),
    Measurement(
        "resources",
        "Resources of the scraper's own process, of each session.",
        (),
        (
            _gauge("memory_mb", "MiBy", "resident memory"),
            _gauge("cpu_percent", "percent", "use of one core"),
            _gauge("threads", "1", "threads", int),
            _gauge("open_files", "1", "open files and sockets", int),
        ),
        tiers=(Tier.SESSIONS,),
        rolled_from=Tier.SESSIONS,
    ),
    Measurement(
        "proxies",
        "Requests through proxies.",
        (Tag("provider", "who provides the proxy"), Tag("proxy", "an id of the proxy, never a credential")),
        (
            _count("requests", "requests"),
            _count("failures", "requests that failed"),
            _count("bans", "requests after which the proxy was banned"),
            _count("bytes", "bytes carried", "By"),
            _sum("cost", "currency", "cost, in the tenant's currency"),
            _sum("latency_sum", "s", "latencies reported, added up, each weighted by its requests"),
            _count("latency_count", "requests whose latency is known"),
            _max("latency_max", "s", "highest latency reported"),
        ),
    ),
    Measurement(
        "data_quality",
        "Quality of the items of a site.",
        (SITE,),
        (
            _count("items", "items looked at"),
            _count("valid", "of these, valid"),
            _count("duplicates", "of these, duplicates"),
        ),
    ),
    Measurement(
        "field_coverage",
        "How many items of a site have a field filled.",
        (SITE, Tag("field", "name of the item's field")),
        (
            _count("items", "items looked at"),
            _sum("covered", "1", "of these, with the field filled (share × items)"),
        ),
    ),
    Measurement(
        "costs",
        "What scraping costs.",
        (SITE, Tag("kind", "proxy, compute, captcha or api"), Tag("currency", "ISO 4217 code, such as USD")),
        (_sum("amount", "currency", "amount spent"),),
    ),
    Measurement(
        "progress",
        "How far a session is at a site.",
        (SITE,),
        (_gauge("done", "1", "steps done", int), _gauge("total", "1", "steps in all, as known then", int)),
        tiers=(Tier.SESSIONS,),
        rolled_from=None,
    ),
    Measurement(
        "custom",
        "Figures of the users' own.",
        (
            Tag("name", "name of the figure"),
            Tag("unit", "its unit"),
            Tag("labels", "its labels as k=v, sorted and joined by commas"),
        ),
        (
            _gauge("value", "as the tag unit says", "latest value"),
            _sum("value_sum", "as the tag unit says", "values, added up"),
            _count("value_count", "values"),
            _max("value_max", "as the tag unit says", "highest value"),
        ),
    ),
    Measurement(
        "host",
        "The machine that scrapewatch runs on.",
        (_HOST,),
        (
            _gauge("cpu_percent", "percent", "use of all cores"),
            _gauge("memory_total", "By", "memory", int),
            _gauge("memory_available", "By", "memory that can be had without swapping", int),
            _gauge("memory_percent", "percent", "use of memory"),
            _gauge("swap_total", "By", "swap space", int),
            _gauge("swap_percent", "percent", "use of swap space"),
            _gauge("load_1", "1", "load average of one minute"),
            _gauge("load_5", "1", "load average of five minutes"),
            _gauge("load_15", "1", "load average of fifteen minutes"),
            _gauge("process_memory", "By", "resident memory of scrapewatch's own process", int),
            _gauge("process_cpu_percent", "percent", "use of one core by scrapewatch's own process"),
            _count("disk_read_bytes", "bytes read from disks", "By"),
            _count("disk_written_bytes", "bytes written to disks", "By"),
        ),
        tiers=(Tier.FLEET,),
    ),
    Measurement(
        "host_cores",
        "Each core of the machine.",
        (_HOST, Tag("core", "number of the core, from 0")),
        (_gauge("cpu_percent", "percent", "use of the core"),),
        tiers=(Tier.FLEET,),
    ),
    Measurement(
        "host_disks",
        "Each mounted file system of the machine.",
        (_HOST, Tag("mount", "where it is mounted")),
        (
            _gauge("total", "By", "size", int),
            _gauge("used", "By", "space used", int),
            _gauge("percent", "percent", "use"),
        ),
        tiers=(Tier.FLEET,),
    ),
    Measurement(
        "host_network",
        "Each network interface of the machine.",
        (_HOST, Tag("interface", "name of the interface")),
        (_count("sent_bytes", "bytes sent", "By"), _count("received_bytes", "bytes received", "By")),
        tiers=(Tier.FLEET,),
    ),
    Measurement(
        "host_processes",
        "The processes of the machine that use most of the processor or of memory, by name, and those of scrapewatch.",
        (
            _HOST,
            Tag("process", "name of the processes; other for those beyond the number of names that are kept"),
        ),
        (
            _gauge("count", "1", "processes of that name", int),
            _gauge("cpu_percent", "percent", "use of one core, added up"),
            _gauge("memory", "By", "resident memory, added up", int),
            _gauge("threads", "1", "threads, added up", int),
            _gauge("open_files", "1", "open files and sockets, added up", int),
        ),
        tiers=(Tier.FLEET,),
    ),
    Measurement(
        "collector",
        "The collectors themselves, each as it reports about every 10 s.",
        (Tag("collector", "number of the collector"), _HOST),
        (
            _count("accepted", "events made durable and acknowledged"),
            _count("delivered", "events that both stores have"),
            _count("dead_lettered", "events whose point a store rejected for good, less those replayed"),
            _count("duplicates", "events that were known"),
            _count("requests", "requests answered"),
            _count("rejected", "items of requests that were no events"),
            _count("refused", "requests turned away as a whole"),
            _count("live_dropped", "live messages dropped before they reached a subscriber's queue"),
            _sum("sampler_seconds", "s", "processor time of the sampler"),
            _gauge("spooled", "1", "events that wait in the spool", int),
            _gauge("spool_bytes", "By", "size of the spool", int),
            _gauge("flushes_pending", "1", "flushes that a store has not passed", int),
            _gauge("oldest_age", "s", "age of the oldest event that waits"),
            _gauge("unrecorded_age", "s", "age of the oldest event that the records do not have"),
            _gauge("problems", "1", "things that readiness says are wrong", int),
            *_timing("ack", "acknowledgements (whole body to durable)"),
            *_timing("commit", "commits of the spool, fsync included"),
            *_timing("fold", "flushes cut, folded and persisted"),
            *_timing("write_series", "writes to the store of points"),
            *_timing("apply_records", "applications to the records"),
            *_histogram("acknowledgements"),
        ),
        tiers=(Tier.FLEET,),
    ),
    Measurement(
        "service_checks",
        "Checks of the services that scrapewatch leans on and of the sites.",
        (Tag("service", "name of the service"),),
        (
            _count("checks", "checks made"),
            _count("up", "of these, found up"),
            _sum("response_time_sum", "s", "time the checks took, added up"),
            _max("response_time_max", "s", "time of the slowest check"),
        ),
        tiers=(Tier.FLEET,),
    ),
)

MEASUREMENTS = MappingProxyType({m.name: m for m in _ALL})
"""Every measurement by name."""

QUANTILES = MappingProxyType({"duration_p50": 0.5, "duration_p95": 0.95, "duration_p99": 0.99})
"""What the roller adds to each window of ``pages``: field → quantile. ``histogramQuantile`` over a day costs seven times the sums."""


def rollup_fields(measurement: Measurement) -> tuple[Field, ...]:
    """The fields of ``measurement`` in the rollups ``fleet_1m`` and ``fleet_1h``.

    Sums and maxima keep their names. A gauge is the mean of its window and gains ``<name>_max``, unless the measurement counts that
    maximum itself; a gauge of the sessions is the sum over the sessions of each one's mean and maximum. A state is the window's
    last, and gains ``<name>_max``, its worst.
    """
    own = {field.name for field in measurement.fields}
    fields: list[Field] = []
    for field in measurement.fields:
        if field.fold in (Fold.SUM, Fold.MAX):
            fields.append(field)
        elif field.fold is Fold.STATE:
            fields.append(
                Field(field.name, int, Fold.STATE, field.unit, f"{field.description}; the window's last")
            )
            fields.append(
                Field(f"{field.name}_max", int, Fold.MAX, field.unit, f"{field.description}; the worst")
            )
        else:
            fields.append(Field(field.name, float, Fold.GAUGE, field.unit, f"{field.description}; the mean"))
            if f"{field.name}_max" not in own:
                fields.append(
                    Field(
                        f"{field.name}_max", float, Fold.MAX, field.unit, f"{field.description}; the maximum"
                    )
                )
    if measurement.name == "pages":
        fields += [
            _gauge(name, "s", f"quantile {q:g} of the window's pages") for name, q in QUANTILES.items()
        ]
    return tuple(fields)


def fields_in(measurement: Measurement, tier: Tier) -> tuple[Field, ...]:
    """The fields of ``measurement`` as they are stored in ``tier``; empty where it has no points there."""
    if tier in (Tier.FLEET_1M, Tier.FLEET_1H):
        return rollup_fields(measurement) if measurement.rolled_from is not None else ()
    return measurement.fields if tier in measurement.tiers else ()
