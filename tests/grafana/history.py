"""Sixty days of scraping as events: every kind of event, every verdict, every measurement of the registry, the same whenever it is made.

The last quarter of an hour is told by the half minute, hours before it by the minute, days by less: each range that a dashboard can show
has something to show, and a loader of tests is done in seconds. What is said of a time depends on that time's distance from now alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import Any, Final

from scrapewatch import histogram
from scrapewatch.time import DAY, HOUR, MINUTE, SECOND, to_datetime
from stack.demo.postings import Draw, Quality, posting

SITES: Final = ("indeed", "linkedin", "glassdoor")
HOSTILE: Final = (
    'a" or true //',
    "'; DROP TABLE alerts; --",
    "x) or (r) => true",
    ".*",
    "indeed|linkedin",
    "[a-z]+",
    "{indeed,linkedin}",
    "indeed,linkedin",
    "/.*/",
    "${r.site}",
    "$site",
    "[[site]]",
    "v.defaultBucket",
    "v.timeRangeStart",
    "back\\slash\\",
    "ünï ☃ 100%",
)
"""Names of sites as nobody would choose them, each scraped a little, an hour ago and lately …"""
PLAIN: Final = "plain-site"
"""… and one as anybody would, to which just the same happened."""

OURS: Final = "Alderfold Systems"
"""A company that offers some of the postings."""

DAYS: Final = 60
DONE: Final = "run-done"
"""A session that ended a few minutes ago, and has something of everything …"""
EARLIER: Final = "run-earlier"
"""… and one that did two days ago."""

_HOST: Final = "worker-1"
_KINDS: Final = ("healthy", "degraded", "healthy", "blocked", "healthy", "empty", "truncated")
_SEARCHES: Final = (("data engineer", "Berlin"), ("python", "remote"), ("nurse", "London"))
_FIELDS: Final = ("title", "company", "location", "salary", "skills")
_PROXIES: Final = (("harbour", "h-01"), ("harbour", "h-02"), ("meadow", "m-01"))
_SERVICES: Final = (
    "InfluxDB",
    "SQL",
    "Redis",
    "Grafana",
    "collector",
    "proxies",
    "site:indeed",
    "site:linkedin",
)
_PROCESSES: Final = ("influxd", "postgres", "scrapewatch", "chromium")
_QUALITY: Final = Quality(duplicates=0.1, missing={"salary": 0.4, "skills": 0.2})


@dataclass(frozen=True, slots=True)
class Said:
    """An event as scrapers send it, and its ``time`` (ns)."""

    time: int
    event: Mapping[str, Any]


def events(now: int) -> list[Said]:
    """All of them up to ``now`` (ns), by time."""
    made = chain(_sessions(now), _machine(now))
    return sorted((said for said in made if said.time <= now), key=lambda said: said.time)


def _sessions(now: int) -> Iterator[Said]:
    yield from _Session("run-now", now - 14 * MINUTE, "running", SITES).events(28, 30 * SECOND)
    yield from _Session("run-stalled", now - 50 * MINUTE, "running", SITES[:1]).events(25, MINUTE)
    yield from _Session("run-paused", now - 30 * MINUTE, "paused", SITES[:2]).events(12, MINUTE)
    yield from _Session("run-failed", now - 12 * MINUTE, "blocked", SITES[1:]).events(14, 30 * SECOND)
    yield from _Session(DONE, now - 13 * MINUTE, "healthy", SITES).events(20, 30 * SECOND)
    yield from _Session(EARLIER, now - 2 * DAY, "healthy", SITES).events(10, 4 * MINUTE)
    yield _said("session_queued", _opening("python", "Berlin", SITES), now - 2 * MINUTE, "run-queued")
    for ago in (MINUTE, HOUR):
        yield from _Session(
            f"run-odd-{ago // MINUTE}", now - ago - 6 * MINUTE, "healthy", (PLAIN, *HOSTILE)
        ).events(2, MINUTE)
    for number, ago in enumerate(
        [*range(1, 8), *range(8, 24, 2), *range(24, 168, 7), *range(168, 192, 3), *range(192, DAYS * 24, 41)]
    ):
        kind = _KINDS[number % len(_KINDS)]
        steps, step = (10, MINUTE) if ago < 24 else (4, 4 * MINUTE)
        yield from _Session(f"run-{number:03d}", now - ago * HOUR, kind, SITES).events(steps, step)


@dataclass(frozen=True, slots=True)
class _Session:
    name: str
    start: int
    kind: str
    sites: Sequence[str]

    def events(self, steps: int, step: int) -> Iterator[Said]:
        """The events of so many ``steps``, each ``step`` (ns) long."""
        draw = Draw(self.name)
        term, place = draw.pick("search", _SEARCHES)
        opening = _opening(term, place, self.sites)
        yield self._said("session_queued", opening, self.start - 20 * SECOND)
        yield self._said("session_started", opening, self.start)
        for site in self.sites:
            yield self._said("site_started", {"site": site, "attempt": 1}, self.start + SECOND)
        for number in range(1, steps + 1):
            yield from self._step(draw, self.start + number * step, number, steps, step)
            if number == steps // 2:
                yield from self._retry(self.start + number * step + step // 2)
        yield from self._end(self.start + (steps + 1) * step, steps)

    def _retry(self, time: int) -> Iterator[Said]:
        """The first attempt at the first two sites fails, and a second one begins."""
        failed = {"attempt": 1, "success": False, "error_message": "timeout", "duration": 30.0}
        for site in self.sites if self.sites[0] == PLAIN else self.sites[:2]:
            yield self._said("site_finished", {"site": site, **failed}, time)
            yield self._said("site_started", {"site": site, "attempt": 2}, time + SECOND)

    def _step(self, draw: Draw, time: int, number: int, steps: int, step: int) -> Iterator[Said]:
        minutes = step / MINUTE
        # More by day than by night, and more on some weekdays than on others.
        busy = 1.2 + math.sin(2 * math.pi * (time % DAY) / DAY) / 2 + (time // DAY % 7) / 10
        for nth, site in enumerate(self.sites):
            place = nth if site in SITES else 0
            at = time + place * 2 * SECOND
            blocked = self.kind == "blocked" or (self.kind == "degraded" and place == 1 and number % 2 == 0)
            yield from self._pages(draw, at, site, place, max(round(minutes * busy * 4), 1), blocked)
            if not blocked and self.kind != "empty":
                found = max(round(minutes * busy * 6) - place, 1)
                yield from self._jobs(draw, at + SECOND, site, number, found)
            queued = {"site": site, "depth": (steps - number) * 7, "pending": 3, "active_scrapers": 2}
            yield self._said("queue", queued, at)
            yield self._said("progress", {"site": site, "done": number, "total": steps}, at)
        memory = 180 + 6 * number + draw.between(f"memory {number}", 0, 20)
        yield self._said(
            "resources",
            {"memory_mb": memory, "cpu_percent": 20.0 + number, "threads": 12, "open_files": 40},
            time,
        )
        for provider, proxy in _PROXIES:
            requests = round(20 * busy)
            bans = int(self.kind == "blocked") + int(proxy == "h-02" and number % 4 == 0)
            latency = draw.between(f"latency {proxy} {number}", 0.1, 0.9)
            yield self._said(
                "proxy",
                {
                    "provider": provider,
                    "proxy": proxy,
                    "requests": requests,
                    "failures": 2 * bans,
                    "bans": bans,
                    "latency": latency,
                    "bytes": requests * 40_000,
                    "cost": requests * 0.0004,
                },
                time,
            )
        yield self._said(
            "custom",
            {
                "name": "captcha_balance",
                "value": 500.0 - number,
                "unit": "credits",
                "labels": {"vendor": "acme"},
            },
            time,
        )

    def _pages(
        self, draw: Draw, time: int, site: str, place: int, pages: int, blocked: bool
    ) -> Iterator[Said]:
        for part in range(2):
            seconds = (0.3 + place % 3 * 0.25) * math.exp(draw.between(f"{time} {place} {part}", -1, 1.6))
            yield self._said(
                "page_processed",
                {
                    "site": site,
                    "duration": seconds * pages,
                    "count": pages,
                    "bytes": 50_000 * pages,
                    **({"status": 403, "blocked": True} if blocked and part else {"status": 200}),
                },
                time + part * SECOND // 4,
            )
        errors = (
            ("403", "captcha")
            if blocked
            else (draw.pick(f"{time} {place}", ("timeout", "parsing", "429", "", "")),)
        )
        for kind in filter(None, errors):
            error = {
                "site": site,
                "type": kind,
                "message": f"{kind} at {site}",
                "url": "https://jobs.example/1",
            }
            yield self._said("error_occurred", error, time)
        if blocked:
            for seconds, state in ((0, "open"), (3, "half_open")):
                yield self._said(
                    "circuit_breaker",
                    {"site": site, "state": state, "failures": 5, "successes": 0},
                    time + seconds * SECOND // 2,
                )
        elif place == 0:
            yield self._said("circuit_breaker", {"site": site, "state": "closed", "failures": 0}, time)

    def _jobs(self, draw: Draw, time: int, site: str, number: int, found: int) -> Iterator[Said]:
        today = to_datetime(time).date()
        made = posting(
            7,
            site if site in SITES else PLAIN,
            round(draw.share(self.name) * 10_000) + number,
            quality=_QUALITY,
            today=today,
        )
        facts: dict[str, Any] = {
            "title": made.title,
            "company": OURS if number % 4 == 0 else made.company,
            "location": f"{made.place.city}, {made.place.country}",
            "skills": list(made.skills),
            "posted_at": f"{today - timedelta(days=number % 20)}T00:00:00Z",
            "url": f"https://jobs.example/{site}/{made.number}",
            "is_remote": made.remote,
            "job_type": made.employment_type.lower(),
        }
        if made.salary:
            facts |= {
                "salary_min": float(made.salary.minimum),
                "salary_max": float(made.salary.maximum),
                "salary_interval": made.salary.unit.lower(),
                "salary_currency": made.salary.currency,
            }
        job = {name: value for name, value in facts.items() if value is not None}
        yield self._said("job_scraped", {"site": site, "count": 1, "saved": 1, "job": job}, time)
        rest = {"count": found, "saved": found - found // 5, "duplicate": found // 5}
        rest |= {"dropped": number % 2, "invalid": int(number % 3 == 0)}
        yield self._said("job_scraped", {"site": site, **rest}, time)
        coverage = {
            name: min(1.0, 0.98 - 0.09 * place + draw.between(f"{name} {number}", -0.05, 0.02))
            for place, name in enumerate(_FIELDS)
        }
        yield self._said(
            "data_quality",
            {
                "site": site,
                "items": found,
                "valid": found - found // 8,
                "duplicates": found // 6,
                "field_coverage": coverage,
            },
            time,
        )
        for kind, price in (("proxy", 0.004), ("compute", 0.001)):
            yield self._said(
                "cost", {"site": site, "amount": found * price, "currency": "USD", "kind": kind}, time
            )

    def _end(self, time: int, steps: int) -> Iterator[Said]:
        if self.kind in ("running", "paused"):
            if self.kind == "paused":
                yield self._said("session_paused", {"reason": "maintenance"}, time)
            return
        success = self.kind != "blocked"
        for nth, site in enumerate(self.sites):
            attempt = 2 if nth < 2 or self.sites[0] == PLAIN else 1
            outcome = {"site": site, "attempt": attempt, "success": success, "duration": 10.0 * steps}
            if not success:
                outcome["error_message"] = "403: the site refuses"
            yield self._said("site_finished", outcome, time)
        ending = {"blocked": "failed", "truncated": "cancelled"}.get(self.kind, "completed")
        reason = {"blocked": "every site refused", "truncated": "interrupted"}.get(self.kind, "finished")
        yield self._said("session_finished", {"status": ending, "reason": reason}, time + SECOND)

    def _said(self, metric: str, value: Mapping[str, Any], time: int) -> Said:
        return _said(metric, value, time, self.name)


def _machine(now: int) -> Iterator[Said]:
    """What scrapewatch says of itself and of its machine."""
    before = 0
    steps = (
        (15 * SECOND, 16 * MINUTE),
        (10 * MINUTE, 7 * HOUR),
        (4 * HOUR, 8 * DAY),
        (DAY, DAYS * DAY),
    )
    for every, until in steps:
        for ago in range(before, until, every):
            yield from _moment(now - ago)
        before = until


def _moment(time: int) -> Iterator[Said]:
    draw = Draw(str(time // SECOND % 86_400))
    cpu = 30 + 25 * math.sin(2 * math.pi * (time % HOUR) / HOUR) + draw.between("cpu", 0, 8)
    yield _said(
        "host",
        {
            "host": _HOST,
            "cpu_percent": cpu,
            "cores": [cpu + 5, max(cpu - 5, 0.0)],
            "memory_total": 8_000_000_000,
            "memory_available": 3_000_000_000,
            "memory_percent": 62.5,
            "swap_total": 2_000_000_000,
            "swap_percent": 1.5,
            "load_1": 0.8,
            "load_5": 0.7,
            "load_15": 0.6,
            "process_memory": 180_000_000,
            "process_cpu_percent": 4.0,
            "disk_read_bytes": 40_960,
            "disk_written_bytes": 655_360,
            "disks": [
                {"mount": mount, "total": 10**11, "used": used, "percent": used / 10**9}
                for mount, used in (("/", 40 * 10**9), ("/data", 71 * 10**9))
            ],
            "interfaces": [
                {"name": name, "sent_bytes": sent, "received_bytes": 3 * sent}
                for name, sent in (("eth0", 120_000), ("lo", 9_000))
            ],
            "processes": [
                {
                    "process": name,
                    "count": 1,
                    "cpu_percent": cpu / (place + 2),
                    "memory": (place + 1) * 10**8,
                    "threads": 8,
                    "open_files": 60,
                }
                for place, name in enumerate(_PROCESSES)
            ],
        },
        time,
    )
    for place, service in enumerate(_SERVICES):
        up = draw.share(service) > 0.03
        check = {"service": service, "up": up, "response_time": 0.002 * (place + 1) if up else 3.0}
        yield _said("service_check", check, time)
    accepted = round(200 + 5 * cpu)
    timed = ("ack", "commit", "fold", "write_series", "apply_records")
    yield _said(
        "collector",
        {
            "collector": "0",
            "host": _HOST,
            "accepted": accepted,
            "delivered": accepted - 3,
            "dead_lettered": int(draw.share("letter") < 0.02),
            "duplicates": 2,
            "requests": 20,
            "rejected": 1,
            "refused": int(draw.share("refused") < 0.05),
            "live_dropped": 0,
            "sampler_seconds": 0.01,
            "spooled": round(draw.between("spooled", 0, 300)),
            "spool_bytes": 65_536,
            "flushes_pending": 1,
            "oldest_age": draw.between("age", 0.1, 2.0),
            "unrecorded_age": 0.4,
            "problems": 0,
            **{f"{name}_sum": 0.02 * (place + 5) for place, name in enumerate(timed)},
            **{f"{name}_count": 20 for name in timed},
            **{f"{name}_max": 0.004 * (place + 2) for place, name in enumerate(timed)},
            **{name: {6: 12, 7: 6, 9: 2}.get(k, 0) for k, name in enumerate(histogram.FIELDS)},
        },
        time,
    )


def _opening(term: str, place: str, sites: Sequence[str]) -> dict[str, Any]:
    return {
        "search_term": term,
        "location": place,
        "sites": list(sites),
        "max_jobs_per_site": 5_000,
        "max_concurrency": 4,
        "source": "scrapy",
        "schedule": "8h",
    }


def _said(metric: str, value: Mapping[str, Any], time: int, session: str | None = None) -> Said:
    return Said(time, {"session_id": session, "metric": metric, "value": value})
