"""One session at one site: a queue, workers, retries, the site's circuit breaker, and an event for everything that happens."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx2

from stack.demo.breaker import CircuitBreaker
from stack.demo.page import MalformedPosting, Page, read_job, read_page
from stack.demo.postings import Draw

WORKERS = 3
TRIES = 4
"""Requests for one page before it is given up."""
ATTEMPTS = 2
"""Site executions before the site is given up."""
OPENINGS = 3
"""Times that the breaker may open, with no page in between, before the attempt is given up."""
REQUIRED = ("title", "company")
COVERED = ("title", "company", "location", "salary", "skills", "posted_at", "description")
"""Fields of an item whose coverage is reported; salary counts in words or in amounts."""

# Invented providers, and invented prices in USD.
PROXIES = (
    ("harbour", "h-01"),
    ("harbour", "h-02"),
    ("harbour", "h-03"),
    ("meadow", "m-01"),
    ("meadow", "m-02"),
)
PROXY_REQUEST, CAPTCHA_SEEN, WORKER_SECOND = 0.0004, 0.002, 0.00001

Emit = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class Search:
    """What a session looks for: a term, a place (empty: anywhere), on which sites (empty: all of the orchestrator's)."""

    term: str
    location: str = ""
    sites: tuple[str, ...] = ()
    max_jobs_per_site: int = 50


@dataclass
class Totals:
    """Sums over reported events."""

    jobs: int = 0
    saved: int = 0
    duplicates: int = 0
    invalid: int = 0
    pages: int = 0
    errors: int = 0
    events: int = 0

    def count(self, metric: str, value: dict[str, Any]) -> None:
        """Adds one event."""
        self.events += 1
        match metric:
            case "job_scraped":
                self.jobs += value["count"]
                self.saved += value.get("saved", 0)
                self.duplicates += value.get("duplicate", 0)
                self.invalid += value.get("invalid", 0)
            case "page_processed":
                self.pages += 1
            case "error_occurred":
                self.errors += 1


@dataclass
class _ProxySums:
    requests: int = 0
    failures: int = 0
    bans: int = 0
    seconds: float = 0.0
    bytes: int = 0


@dataclass
class _Sums:
    """What is reported in sums every few seconds rather than as it happens, since the last report."""

    items: int = 0
    valid: int = 0
    duplicates: int = 0
    filled: Counter[str] = field(default_factory=Counter)
    captchas: int = 0
    proxies: dict[tuple[str, str], _ProxySums] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class _Errand:
    url: str
    listing: bool
    tries: int = 0


class _Retry(Exception):
    """The page may still come."""


class _Lost(Exception):
    """There is no such page."""


class SiteCrawl:
    """Crawls what one site has for one search.

    Args:
        site: its name, the first part of its paths.
        http: a client whose base URL is the site's, with a timeout.
        breaker: the site's, shared by all sessions: a site refuses the client, not the session.
        emit: takes an event of the session: metric and value.
        room: waits while events cannot be sent as fast as they are made.
        draw: repeatable chance, for the choice of proxies and for jitter.
        delay: seconds between the starts of two requests.
        pace: multiplies the waiting between retries.
    """

    def __init__(
        self,
        site: str,
        search: Search,
        *,
        http: httpx2.AsyncClient,
        breaker: CircuitBreaker,
        emit: Emit,
        room: Callable[[], Awaitable[None]],
        draw: Draw,
        delay: float,
        pace: float,
    ) -> None:
        self.site, self.search = site, search
        self._http, self._breaker, self._room, self._draw = http, breaker, room, draw
        self._delay, self._pace = delay, pace
        self._send = emit
        self._attempt = 0
        self._totals = Totals()
        self._sums = _Sums()
        self._queue: asyncio.Queue[_Errand] = asyncio.Queue()
        self._in_flight = 0
        self._workers = 0
        self._requests = 0
        self._next_start = 0.0
        self._scheduled: set[str] = set()
        self._visited: set[str] = set()
        self._fingerprints: set[tuple[Any, ...]] = set()
        self._announced: int | None = None
        self._trouble: str | None = None
        self._gave_up = asyncio.Event()
        self._openings_seen = 0

    async def run(self) -> bool:
        """Crawls the site, a second time if the first was given up; True when one attempt came to its end."""
        for attempt in range(1, ATTEMPTS + 1):
            if await self._run_attempt(attempt):
                return True
        return False

    def report_state(self) -> None:
        """Reports the queue and the progress as they are now."""
        self._emit(
            "queue",
            {
                "site": self.site,
                "depth": self._queue.qsize(),
                "pending": self._in_flight,
                "active_scrapers": self._workers,
            },
        )
        if self._announced is not None:
            total = min(self._announced, self.search.max_jobs_per_site)
            self._emit("progress", {"site": self.site, "done": len(self._visited), "total": total})

    def report_sums(self) -> None:
        """Reports data quality, proxies and cost since the last time."""
        sums, self._sums = self._sums, _Sums()
        if sums.items:
            coverage = {name: round(sums.filled[name] / sums.items, 4) for name in COVERED}
            value = {"items": sums.items, "valid": sums.valid, "duplicates": sums.duplicates}
            self._emit("data_quality", {"site": self.site, **value, "field_coverage": coverage})
        for (provider, proxy), used in sums.proxies.items():
            self._emit(
                "proxy",
                {
                    "provider": provider,
                    "proxy": proxy,
                    "requests": used.requests,
                    "failures": used.failures,
                    "bans": used.bans,
                    "latency": round(used.seconds / used.requests, 6),
                    "bytes": used.bytes,
                    "cost": round(used.requests * PROXY_REQUEST, 6),
                },
            )
        requests = sum(used.requests for used in sums.proxies.values())
        spent = {
            "proxy": requests * PROXY_REQUEST,
            "captcha": sums.captchas * CAPTCHA_SEEN,
            "compute": (time.monotonic() - sums.since) * WORKERS * WORKER_SECOND,
        }
        for kind, amount in spent.items():
            if amount:
                self._emit(
                    "cost", {"site": self.site, "amount": round(amount, 8), "currency": "USD", "kind": kind}
                )

    async def _run_attempt(self, attempt: int) -> bool:
        self._attempt, self._totals, self._trouble = attempt, Totals(), None
        self._queue, self._gave_up = asyncio.Queue(), asyncio.Event()
        self._openings_seen = self._breaker.openings
        # What an earlier attempt was not done with is found again through the listing.
        self._scheduled = set(self._visited)
        self._emit("site_started", {"site": self.site, "attempt": attempt})
        started = time.monotonic()
        finished = False
        try:
            finished = await self._work_off()
        except asyncio.CancelledError:
            self._trouble = "stopped"
            raise
        finally:
            success = finished and self._trouble is None
            self._workers = self._in_flight = 0
            self._queue = asyncio.Queue()
            self.report_state()
            self.report_sums()
            outcome = {"site": self.site, "attempt": attempt, "success": success}
            if not success:
                outcome["error_message"] = self._trouble or "the site keeps refusing"
            counted = {
                "jobs": self._totals.jobs,
                "pages": self._totals.pages,
                "errors": self._totals.errors,
                "duration": round(time.monotonic() - started, 6),
            }
            self._emit("site_finished", outcome | counted)
        return success

    async def _work_off(self) -> bool:
        """Works until nothing is left to fetch (True) or the attempt is given up (False)."""
        first = {"q": self.search.term, "l": self.search.location, "page": 1}
        self._queue.put_nowait(_Errand(f"/{self.site}/jobs?{urlencode(first)}", listing=True))
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(self._work()) for _ in range(WORKERS)]
            done = group.create_task(self._queue.join())
            gave_up = group.create_task(self._gave_up.wait())
            await asyncio.wait({done, gave_up}, return_when=asyncio.FIRST_COMPLETED)
            for task in (*workers, done, gave_up):
                task.cancel()
        return not self._gave_up.is_set()

    async def _work(self) -> None:
        self._workers += 1
        while True:
            errand = await self._queue.get()
            self._in_flight += 1
            try:
                await self._run_errand(errand)
            finally:
                self._in_flight -= 1
                self._queue.task_done()

    async def _run_errand(self, errand: _Errand) -> None:
        await self._room()
        try:
            page = await self._fetch(errand.url)
        except _Retry as retry:
            if self._breaker.openings - self._openings_seen >= OPENINGS:
                self._gave_up.set()
            elif errand.tries + 1 < TRIES:
                wait = 0.3 * 2**errand.tries * self._draw.between(f"{errand.url} {errand.tries}", 0.5, 1.5)
                await asyncio.sleep(wait * self._pace)
                self._queue.put_nowait(_Errand(errand.url, errand.listing, errand.tries + 1))
            elif errand.listing:
                self._trouble = f"a listing page did not come: {retry}"
            else:
                self._visited.add(errand.url)
        except _Lost as lost:
            if errand.listing:
                self._trouble = f"a listing page is not there: {lost}"
            else:
                self._visited.add(errand.url)
        else:
            self._openings_seen = self._breaker.openings
            if errand.listing:
                self._read_listing(page)
            else:
                self._visited.add(errand.url)
                self._read_posting(page, errand.url)

    async def _fetch(self, url: str) -> Page:
        """The page behind `url`.

        Raises:
            _Retry: it may come another time; says why not now.
            _Lost: it never will.
        """
        if await self._breaker.admit():
            self._report_breaker()
        proxy = self._choose_proxy()
        success: bool | None = None
        response: httpx2.Response | None = None
        started = time.perf_counter()
        try:
            await self._take_turn()
            started = time.perf_counter()
            response = await self._http.get(url)
            page = read_page(response.text)
            success = self._judge(url, response, page, time.perf_counter() - started)
        except httpx2.TimeoutException as error:
            success = False
            self._report_error("timeout", f"no answer in {time.perf_counter() - started:.1f} s", url)
            raise _Retry("timeout") from error
        except httpx2.TransportError as error:
            success = False
            self._report_error("network", f"{type(error).__name__}: {error}", url)
            raise _Retry("network") from error
        finally:
            if success is not None:
                used = self._sums.proxies.setdefault(proxy, _ProxySums())
                used.requests += 1
                used.seconds += time.perf_counter() - started
                used.failures += not success
                used.bytes += len(response.content) if response else 0
                used.bans += response is not None and response.status_code == 403
            if self._breaker.settle(success):
                self._report_breaker()
        if not success:
            raise _Retry("captcha" if response.is_success else str(response.status_code))
        if not response.is_success:
            raise _Lost(str(response.status_code))
        return page

    def _judge(self, url: str, response: httpx2.Response, page: Page, seconds: float) -> bool:
        """Reports a response; False when the site refused or failed."""
        status = response.status_code
        blocked = page.captcha or status in (403, 429)
        self._emit(
            "page_processed",
            {
                "site": self.site,
                "attempt": self._attempt,
                "duration": round(seconds, 6),
                "status": status,
                "bytes": len(response.content),
                "blocked": blocked,
            },
        )
        if page.captcha:
            self._sums.captchas += 1
            self._report_error("captcha", "asked to verify that it is human", url)
        elif status >= 400:
            self._report_error(str(status) if blocked else "other", f"HTTP {status}", url)
        return not blocked and status < 500

    def _read_listing(self, page: Page) -> None:
        self._announced = page.total
        for link in page.job_links:
            if len(self._scheduled) >= self.search.max_jobs_per_site:
                return
            if link not in self._scheduled:
                self._scheduled.add(link)
                self._queue.put_nowait(_Errand(link, listing=False))
        if page.next_link and len(self._scheduled) < self.search.max_jobs_per_site:
            self._queue.put_nowait(_Errand(page.next_link, listing=True))

    def _read_posting(self, page: Page, url: str) -> None:
        try:
            job = read_job(page, str(self._http.base_url.join(url)))
        except MalformedPosting as error:
            self._report_error("parsing", str(error), url)
            return
        valid = all(job.get(name) for name in REQUIRED)
        fingerprint = tuple(job.get(name) for name in ("title", "company", "location", "description"))
        duplicate = valid and fingerprint in self._fingerprints
        self._fingerprints.add(fingerprint)
        self._sums.items += 1
        self._sums.valid += valid
        self._sums.duplicates += duplicate
        self._sums.filled.update(name for name in COVERED if job.get(name) or job.get(f"{name}_min"))
        value: dict[str, Any] = {"site": self.site, "attempt": self._attempt, "count": 1}
        if not valid:
            value["invalid"] = 1
        elif duplicate:
            value["duplicate"] = 1
        else:
            value |= {"saved": 1, "job": job}
        self._emit("job_scraped", value)

    async def _take_turn(self) -> None:
        """Keeps the starts of two requests `delay` apart."""
        now = time.monotonic()
        self._next_start = max(self._next_start, now) + self._delay
        await asyncio.sleep(self._next_start - self._delay - now)

    def _choose_proxy(self) -> tuple[str, str]:
        self._requests += 1
        return self._draw.pick(f"proxy {self._requests}", PROXIES)

    def _report_error(self, kind: str, message: str, url: str) -> None:
        value = {"type": kind, "message": message, "url": str(self._http.base_url.join(url))}
        self._emit("error_occurred", {"site": self.site, "attempt": self._attempt, **value})

    def _report_breaker(self) -> None:
        breaker = self._breaker
        value: dict[str, Any] = {
            "state": breaker.state,
            "failures": breaker.failures,
            "successes": breaker.successes,
        }
        if breaker.last_failure_time is not None:
            value["last_failure_time"] = breaker.last_failure_time.isoformat().replace("+00:00", "Z")
        self._emit("circuit_breaker", {"site": self.site, **value})

    def _emit(self, metric: str, value: dict[str, Any]) -> None:
        self._totals.count(metric, value)
        self._send(metric, value)
