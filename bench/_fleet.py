"""90 days of a busy fleet, as the stores hold them: folded points by table and column, and the changes of records that flushes bring.

Made by seed, so that every store gets the same, and as large as asked for. What is measured with it is how long answers take: figures are
plausible in their number, spread and shape, and mean nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scrapewatch import histogram
from scrapewatch.measurements import KEEPING, MEASUREMENTS, Fold, Tier, fields_in
from scrapewatch.ports import DEFAULT_TENANT, RecordChanges, RowChange
from scrapewatch.time import DAY, HOUR, MINUTE, SECOND, to_datetime

Columns = dict[str, NDArray[Any]]

VERSION: Final = 1
"""Changes with what is made here: what was kept of an earlier one is of no use."""

DAYS: Final = 90
SITES: Final = ("indeed", "linkedin", "glassdoor", "stepstone", "monster", "ziprecruiter")
SOURCES: Final = ("scrapy", "crawlee", "jobspy")
_WORK: Final = "data engineer,python developer,nurse,accountant,product manager,electrician,teacher,devops engineer,sales manager,designer"
SEARCHES: Final = tuple(
    f"{level}{work}" for level in ("", "senior ", "junior ", "lead ") for work in _WORK.split(",")
)
PLACES: Final = tuple(
    f"{city}, {country}"
    for country, cities in {
        "Germany": ("Berlin", "Hamburg", "München", "Köln", "Leipzig", "Stuttgart"),
        "United States": ("New York", "Austin", "Seattle", "Denver", "Boston", "Chicago"),
        "United Kingdom": ("London", "Leeds", "Bristol", "Glasgow"),
        "France": ("Paris", "Lyon", "Lille"),
    }.items()
    for city in cities
)
_KNOWN: Final = "Python,SQL,Java,Go,Rust,Kotlin,Swift,Excel,SAP,Salesforce,AWS,Azure,GCP,Docker,Kubernetes,Terraform,Kafka,Spark,Airflow"
SKILLS: Final = (*_KNOWN.split(","), *(f"Skill {number}" for number in range(60)))
COMPANIES: Final = 3_000
ERRORS: Final = ("403", "429", "timeout", "parsing")

_POOLS: Mapping[str, Sequence[str]] = {
    "site": SITES,
    "status_class": ("2xx", "4xx", "5xx"),
    "type": ERRORS,
    "state": ("queued", "running", "completed", "failed"),
    "source": SOURCES,
    "provider": ("bright", "oxy"),
    "proxy": tuple(f"proxy-{number:02d}" for number in range(20)),
    "field": ("title", "company", "location", "salary", "skills"),
    "kind": ("proxy", "compute"),
    "currency": ("USD",),
    "name": ("basket", "latency", "freshness"),
    "unit": ("1",),
    "labels": ("team=a",),
    "host": ("machine-1",),
    "core": ("0", "1", "2", "3"),
    "mount": ("/", "/data"),
    "interface": ("eth0", "lo"),
    "process": tuple(f"process-{number}" for number in range(12)),
    "collector": ("0",),
    "service": ("influxdb", "sql", "redis", "grafana", "collector", "proxies", "orchestrator", *SITES),
}
_MINUTES: Mapping[str, float] = {
    "jobs": 6,
    "pages": 9,
    "errors": 3,
    "site_runs": 0.5,
    "session_states": 0.6,
    "breakers": 1,
    "queue": 5,
    "resources": 1,
    "proxies": 4,
    "data_quality": 1,
    "field_coverage": 2,
    "costs": 1,
    "custom": 0.5,
    "host": 1.2,
    "host_cores": 4,
    "host_disks": 2,
    "host_network": 2,
    "host_processes": 6,
    "collector": 1.2,
    "service_checks": 4,
}
_SHARES: Mapping[Tier, Mapping[str, float]] = {
    Tier.FLEET_1M: _MINUTES,
    Tier.FLEET_1H: {name: share / 30 for name, share in _MINUTES.items()},
    Tier.FLEET: {
        "jobs": 3,
        "pages": 4,
        "errors": 1,
        "site_runs": 0.1,
        "session_states": 0.1,
        "breakers": 0.3,
        "proxies": 1,
        "data_quality": 0.3,
        "field_coverage": 0.6,
        "costs": 0.3,
        "custom": 0.2,
        "host": 0.7,
        "host_cores": 1.5,
        "host_disks": 0.5,
        "host_network": 0.8,
        "host_processes": 1.5,
        "collector": 0.7,
        "service_checks": 0.8,
    },
    Tier.SESSIONS: {
        "jobs": 5.5,
        "pages": 8,
        "errors": 2,
        "queue": 4.5,
        "resources": 3,
        "breakers": 0.5,
        "progress": 1,
        "proxies": 0.8,
        "data_quality": 0.3,
        "field_coverage": 0.5,
        "site_runs": 0.2,
    },
}
"""How the points divide: a table's share in all of them, in some unit."""

_AT_ONCE: Final = 40_000
_SESSIONS_A_FLUSH: Final = 200


@dataclass(frozen=True, slots=True)
class Size:
    """How much of it: points over all tiers, sessions, and postings."""

    points: int
    sessions: int
    postings: int

    def hundredth(self) -> Size:
        """A hundredth of it, for a look."""
        return Size(*(max(number // 100, 1) for number in (self.points, self.sessions, self.postings)))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some points of one table, by time: ``series`` says for each which of ``heads`` are its tags, in the order of ``tags``.

    Every point has every one of ``fields``.
    """

    tier: Tier
    measurement: str
    tags: tuple[str, ...]
    heads: Sequence[tuple[str, ...]]
    times: NDArray[np.int64]
    series: NDArray[np.int64]
    fields: Columns

    def columns(self) -> Columns:
        """All of it by column, as the embedded store's tables have them."""
        columns: Columns = {"time": self.times}
        for place, tag in enumerate(self.tags):
            columns[tag] = np.array([head[place] for head in self.heads], object)[self.series]
        return columns | self.fields


class Fleet:
    """A fleet whose 90 days end at ``now`` (ns)."""

    def __init__(self, size: Size, now: int) -> None:
        self.size = size
        self.stop = now // MINUTE * MINUTE
        # An hour less than is kept: what expires while it is loaded would be refused line by line.
        self.start = self.stop - DAYS * DAY + HOUR

    # --- sessions

    @cached_property
    def begun(self) -> NDArray[np.int64]:
        """When each session begins: one after the other, evenly over the days."""
        number = self.size.sessions
        step = (self.stop - self.start) // number
        return self.start + np.arange(number, dtype=np.int64) * step

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """How long each lasts: 40 minutes as a rule, 10 to 150 of them."""
        minutes = np.random.default_rng(1).lognormal(math.log(40), 0.5, self.size.sessions)
        return (np.clip(minutes, 10, 150) * MINUTE).astype(np.int64)

    def sites_of(self, session: int) -> tuple[str, ...]:
        """The sites that a session visits: one to three."""
        first = session % len(SITES)
        return tuple(SITES[(first + k) % len(SITES)] for k in range(1 + session // len(SITES) % 3))

    @staticmethod
    def name_of(session: int) -> str:
        """The id of a session."""
        return f"session-{session:06d}"

    # --- points

    def tables(self) -> list[tuple[Tier, str, int]]:
        """Tier, measurement and number of points of each table: no more than it has windows and series."""
        total = sum(share for shares in _SHARES.values() for share in shares.values())
        tables = []
        for tier, shares in _SHARES.items():
            for measurement, share in shares.items():
                wanted = math.ceil(self.size.points * share / total)
                if tier is not Tier.SESSIONS:
                    windows = self._length(tier) // self._window(tier)
                    wanted = min(wanted, windows * len(_heads(tier, measurement)))
                tables.append((tier, measurement, wanted))
        return tables

    def chunks(self) -> Iterator[Chunk]:
        """All points, table by table in the order of time."""
        for tier, measurement, number in self.tables():
            for part, count in enumerate(_parts(number)):
                chance = np.random.default_rng([part, *map(ord, f"{tier}/{measurement}")])
                parts = -(-number // _AT_ONCE)
                if tier is Tier.SESSIONS:
                    yield from self._of_sessions(measurement, part, parts, count, chance)
                else:
                    yield from self._of_fleet(tier, measurement, part, parts, count, chance)

    def _of_fleet(
        self, tier: Tier, measurement: str, part: int, parts: int, count: int, chance: np.random.Generator
    ) -> Iterator[Chunk]:
        heads = _heads(tier, measurement)
        window = self._window(tier)
        first = self.stop - self._length(tier)
        windows = self._length(tier) // window
        low, high = windows * part // parts, windows * (part + 1) // parts
        cells = np.sort(
            chance.choice((high - low) * len(heads), min(count, (high - low) * len(heads)), False)
        )
        times = first // window * window + (low + cells // len(heads)) * window
        yield from _filled(tier, measurement, heads, times, cells % len(heads), chance)

    def _of_sessions(
        self, measurement: str, part: int, parts: int, count: int, chance: np.random.Generator
    ) -> Iterator[Chunk]:
        number = self.size.sessions
        low, high = number * part // parts, max(number * (part + 1) // parts, number * part // parts + 1)
        own = [
            (self.name_of(session), *head)
            for session in range(low, high)
            for head in _heads(Tier.FLEET, measurement)
            if "site" not in _tags(measurement) or head[0] in self.sites_of(session)
        ]
        series = chance.integers(0, len(own), count)
        sessions = np.array([int(head[0].rpartition("-")[2]) for head in own])[series]
        times = self.begun[sessions] + (self.lengths[sessions] * chance.random(count)).astype(np.int64)
        there = np.flatnonzero(times < self.stop)
        order = there[np.argsort(times[there], kind="stable")]
        yield from _filled(Tier.SESSIONS, measurement, own, times[order], series[order], chance)

    def _length(self, tier: Tier) -> int:
        return min(KEEPING[tier].retention, DAYS * DAY) - HOUR

    @staticmethod
    def _window(tier: Tier) -> int:
        return KEEPING[tier].window or SECOND

    # --- records

    def flushes(self) -> Iterator[list[RecordChanges]]:
        """The changes of records, as flushes would bring them: sessions by time, with all that belongs to them."""
        chance = np.random.default_rng(2)
        number, made = self.size.sessions, 0
        for low in range(0, number, _SESSIONS_A_FLUSH):
            rows: list[RowChange] = []
            for session in range(low, min(low + _SESSIONS_A_FLUSH, number)):
                postings = self.size.postings * (session + 1) // number - made
                rows += self._rows_of(session, chance)
                rows += [
                    self._posting(session, made + k, *drawn)
                    for k, drawn in enumerate(chance.integers(0, 2**31, (postings, 4)).tolist())
                ]
                made += postings
            yield [RecordChanges(DEFAULT_TENANT, None, rows)]

    def _rows_of(self, session: int, chance: np.random.Generator) -> Iterator[RowChange]:
        name, sites = self.name_of(session), self.sites_of(session)
        begun = int(self.begun[session])
        ended = begun + int(self.lengths[session])
        over = ended < self.stop
        last = min(ended, self.stop)
        status = "completed" if session % 25 else ("failed" if session % 75 else "cancelled")
        failed = status != "completed"
        states: list[list[Any]] = [[begun, 1, "running", None]]
        if over:
            states.append([ended, 4, status, "too many errors" if failed else None])
        jobs, pages, errors = (
            int(chance.integers(low, high)) for low, high in ((50, 900), (40, 400), (0, 30))
        )
        yield RowChange(
            "scrape_sessions",
            {"session_id": name},
            add={
                "events": jobs + pages + errors,
                "jobs_seen": jobs,
                "total_jobs_saved": jobs * 9 // 10,
                "duplicates_skipped": jobs // 10,
                "pages_processed": pages,
                "pages_ok": pages - errors // 2,
                "pages_blocked": errors // 3,
                "errors_seen": errors,
            },
            least={"started_at": begun},
            most={"last_event_at": last, "jobs_reported": jobs} if over else {"last_event_at": last},
            latest={
                "source": [begun, SOURCES[session % len(SOURCES)]],
                "search_term": [begun, SEARCHES[session * 7 % len(SEARCHES)]],
                "location": [begun, PLACES[session * 5 % len(PLACES)]],
                "max_jobs_per_site": [begun, 500],
                "max_concurrency": [begun, 8],
            },
            union={"sites": sites},
            states=states,
        )
        for site in sites:
            share = len(sites)
            yield RowChange(
                "site_executions",
                {"session_id": name, "site_name": site, "attempt_number": 1},
                add={
                    "jobs_scraped": jobs // share,
                    "pages_processed": pages // share,
                    "errors_count": errors // share,
                    "pages_ok": pages // share,
                    "page_load_sum": pages / share * 0.8,
                    "page_load_count": pages // share,
                },
                least={"started_at": begun},
                most={"memory_usage_mb": 210.5, "cpu_usage_percent": 14.0}
                | ({"completed_at": ended} if over else {}),
                latest={"circuit_breaker_state": [last, "open" if failed else "closed"]}
                | {"circuit_breaker_failures": [last, errors]}
                | ({"success": [ended, not failed]} if over else {}),
            )
            for kind in ERRORS[: session % 3]:
                yield RowChange(
                    "error_groups",
                    {"session_id": name, "site_name": site, "fingerprint": f"{site}-{kind}"},
                    add={"count": errors + 1},
                    least={"first_seen": begun},
                    most={"last_seen": last},
                    once={
                        "type": kind,
                        "message": f"{kind} at {site}",
                        "url": f"https://www.{site}.example/jobs",
                    },
                )

    def _posting(self, session: int, number: int, one: int, two: int, three: int, four: int) -> RowChange:
        at = min(int(self.begun[session]) + one % int(self.lengths[session]), self.stop - SECOND)
        sites = self.sites_of(session)
        site = sites[one % len(sites)]
        title = SEARCHES[session * 7 % len(SEARCHES)]
        low = 30_000 + two % 90 * 1_000
        salary = (
            {"salary_text": f"${low:,} - ${low * 5 // 4:,} a year"},
            {
                "salary_min": low,
                "salary_max": low * 5 // 4,
                "salary_interval": "yearly",
                "salary_currency": "EUR",
            },
            {"salary_text": f"{low // 2_000} € pro Stunde"},
            {},
        )[two // 97 % 4]
        values = {
            "site_name": site,
            "session_id": self.name_of(session),
            "title": f"{title} ({one % 40})",
            "company": f"Company {min(three % COMPANIES, three // 7 % COMPANIES)}",
            "location": PLACES[three % len(PLACES)] if three % 3 else PLACES[session * 5 % len(PLACES)],
            "skills": [SKILLS[(four >> shift) % len(SKILLS)] for shift in (0, 6, 12, 18)[: four % 5]],
            "posted_at": (to_datetime(at) - timedelta(days=three % 14)).astimezone(UTC),
            "url": f"https://www.{site}.example/job/{number}",
            "is_remote": four % 4 == 0,
            "job_type": ("fulltime", "parttime", "contract")[four % 3],
            "description": _DESCRIPTION[four % 200 :],
            **salary,
        }
        return RowChange(
            "job_postings",
            {"fingerprint": f"{number:032x}"},
            add={"times_seen": 1 + four % 3},
            least={"first_seen": at},
            most={"last_seen": at},
            latest={name: [at, _plain(value)] for name, value in values.items()},
        )

    def alerts(self) -> Iterator[dict[str, Any]]:
        """Rows of alerts: one to four sessions, most of them resolved."""
        for number in range(self.size.sessions // 4):
            started = to_datetime(int(self.begun[number * 4]))
            open_still = number >= self.size.sessions // 4 - 20
            site = SITES[number % len(SITES)]
            yield {
                "tenant": DEFAULT_TENANT,
                "fingerprint": f"{number % 400:064x}",
                "rule": ("High Error Rate", "Low Throughput", "Circuit Breaker Open")[number % 3],
                "severity": ("warning", "warning", "critical", "info")[number % 4],
                "status": "firing" if open_still else "resolved",
                "resource": site,
                "message": f"the error rate of {site} is above 10 %",
                "labels": {"site": site},
                "value": 0.2,
                "count": 1 + number % 5,
                "started_at": started,
                "last_fired_at": started + timedelta(minutes=5),
                "resolved_at": None if open_still else started + timedelta(minutes=number % 90 + 6),
            }


_DESCRIPTION: Final = "We look for somebody who likes to work with us, and to be paid for it. " * 8


def _plain(value: Any) -> Any:
    """``value`` as a change of a row holds it: a time in ns."""
    return int(value.timestamp()) * SECOND if isinstance(value, datetime) else value


def _parts(number: int) -> list[int]:
    """``number`` in parts of about :data:`_AT_ONCE`."""
    parts = -(-number // _AT_ONCE)
    return [number * (k + 1) // parts - number * k // parts for k in range(parts)]


def _tags(measurement: str) -> tuple[str, ...]:
    return MEASUREMENTS[measurement].tag_names(Tier.FLEET)


def _heads(tier: Tier, measurement: str) -> list[tuple[str, ...]]:
    """The series of a table, as values of its tags (but for the session)."""
    return list(product(*(_POOLS[tag] for tag in _tags(measurement))))


def _filled(
    tier: Tier,
    measurement: str,
    heads: Sequence[tuple[str, ...]],
    times: NDArray[np.int64],
    series: NDArray[np.int64],
    chance: np.random.Generator,
) -> Iterator[Chunk]:
    """The points with their fields, in turns with others of the histogram's buckets where they have one."""
    known = MEASUREMENTS[measurement]
    own = fields_in(known, tier)
    buckets = [field.name for field in own if field.name in histogram.FIELDS]
    turns = 3 if buckets else 1
    for turn in range(turns):
        those = slice(turn, None, turns)
        size = len(times[those])
        if not size:
            continue
        first = int(chance.integers(14, 22))
        fields: Columns = {}
        for field in own:
            if field.name in buckets and not first <= buckets.index(field.name) < first + 4:
                continue
            high = 3 if field.fold is Fold.STATE else 60
            if field.type is int:
                fields[field.name] = chance.integers(0, high, size)
            else:
                fields[field.name] = np.round(chance.random(size) * high, 3)
        yield Chunk(tier, measurement, known.tag_names(tier), heads, times[those], series[those], fields)
