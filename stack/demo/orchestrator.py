"""A small orchestrator: crawls the demo's job site and reports to scrapewatch while it does.

Whoever wants to report from an orchestrator of their own finds here, in the order of a crawl:

- `Orchestrator`: sessions, one after the other and a few at once; what is reported of each as a whole;
- `stack.demo.crawl`: one session at one site, and the events of every page, posting and error;
- `stack.demo.breaker`: the circuit breaker, each of whose changes is an event;
- `stack.demo.reporter`: how events are sent so that none is lost and none counts twice.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx2
import psutil

from stack.demo.breaker import CircuitBreaker
from stack.demo.crawl import Search, SiteCrawl, Totals
from stack.demo.postings import Draw
from stack.demo.reporter import Reporter
from stack.demo.site import DEFAULT_SITES

DEFAULT_SEARCHES: tuple[Search, ...] = (
    Search("data engineer", "Berlin"),
    Search("python"),
    # The guarded site answers this term with captchas alone: a blocked session.
    Search("penetration tester", sites=("linkedin",)),
    Search("nurse", "London"),
    # No site has one: a session that ends well, and empty.
    Search("lighthouse keeper", "remote"),
    # The guarded site announces hundreds and shows the first two pages: a truncated session.
    Search("engineer", max_jobs_per_site=80),
    Search("sql", "remote"),
    Search("electrician", sites=("indeed", "glassdoor")),
    Search("product manager", "US"),
)
PATIENCE = 5.0
"""Seconds to wait for a page, at pace 1; never less than one, since machines have their moments."""


class Orchestrator:
    """Runs sessions over the searches, again and again.

    Args:
        site_url, report_url: where the job site and scrapewatch are.
        seed: makes the orchestrator's own whims (proxies, jitter) repeatable.
        concurrency: sessions at once.
        sites: names of the sites to crawl.
        search_terms: what to look for; a plain string is looked for anywhere, on all sites.
        api_key: for scrapewatch, or what makes one for each request; on loopback none is needed until the first key was made.
        pace: multiplies every wait (delays, cool-downs, intervals of reports); 0.05 makes it twenty times as quick.
        sessions: ends after so many; None goes on until stopped.

    `totals` holds what was reported, by session: once `run` is over, exactly what scrapewatch should know.
    """

    def __init__(
        self,
        site_url: str,
        report_url: str,
        *,
        seed: int,
        concurrency: int = 2,
        sites: Sequence[str] = DEFAULT_SITES,
        search_terms: Sequence[Search | str] = DEFAULT_SEARCHES,
        api_key: str | Callable[[], str] | None = None,
        pace: float = 1.0,
        sessions: int | None = None,
    ) -> None:
        self.totals: dict[str, Totals] = {}
        self._site_url, self._sites = site_url, tuple(sites)
        self._searches = [item if isinstance(item, Search) else Search(item) for item in search_terms]
        self._concurrency, self._pace, self._sessions = concurrency, pace, sessions
        self._draw = Draw(f"{seed}/orchestrator")
        # A site refuses a client, not a session: sessions share its breaker.
        self._breakers = {site: CircuitBreaker(cool_down=6.0 * pace) for site in sites}
        self._reporter = Reporter(report_url, api_key=api_key, every=min(1.0, pace), backoff=0.5 * pace)
        self._name = f"demo-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:4]}"
        self._process = psutil.Process()

    @property
    def undelivered(self) -> int:
        """Events reported but not yet answered for."""
        return self._reporter.waiting

    @property
    def rejected(self) -> int:
        """Events that scrapewatch refused for good."""
        return self._reporter.rejected

    async def run(self, duration: float | None = None, stop: asyncio.Event | None = None) -> None:
        """Crawls until `sessions` are done, `duration` seconds are over or `stop` is set, whichever is first.

        Sessions under way are then reported as cancelled. Returns when every event has been answered for, or could not be
        delivered within half a minute (see `undelivered`). Meant to be called once.
        """
        async with (
            self._reporter,
            # The environment's proxy has no business between two programs of one machine.
            httpx2.AsyncClient(
                base_url=self._site_url, timeout=max(1.0, PATIENCE * self._pace), trust_env=False
            ) as http,
        ):
            crawling = asyncio.create_task(self._crawl(http))
            stopping = asyncio.create_task((stop or asyncio.Event()).wait())
            try:
                await asyncio.wait(
                    {crawling, stopping}, timeout=duration, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                crawling.cancel()
                stopping.cancel()
                outcomes = await asyncio.gather(crawling, stopping, return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, Exception):
                    raise outcome

    async def _crawl(self, http: httpx2.AsyncClient) -> None:
        queue: asyncio.Queue[tuple[str, Search]] = asyncio.Queue(maxsize=1)
        waiting: dict[str, Search] = {}

        async def work(place: int) -> None:
            # Not all at once: the sessions would stay in step.
            await asyncio.sleep(4.0 * place * self._pace)
            while True:
                session_id, search = await queue.get()
                del waiting[session_id]
                await self._session(http, session_id, search)
                queue.task_done()
                await asyncio.sleep(1.0 * self._pace)

        try:
            async with asyncio.TaskGroup() as group:
                workers = [group.create_task(work(place)) for place in range(self._concurrency)]
                searches = enumerate(itertools.cycle(self._searches), start=1)
                for number, search in itertools.islice(searches, self._sessions):
                    session_id = f"{self._name}-{number:03d}"
                    waiting[session_id] = search
                    self._emit(session_id, "session_queued", self._plan(search))
                    await queue.put((session_id, search))
                await queue.join()
                for worker in workers:
                    worker.cancel()
        finally:
            for session_id in waiting:
                self._emit(session_id, "session_finished", {"status": "cancelled", "reason": "never started"})

    async def _session(self, http: httpx2.AsyncClient, session_id: str, search: Search) -> None:
        crawls = [
            SiteCrawl(
                site,
                search,
                http=http,
                breaker=self._breakers[site],
                emit=lambda metric, value: self._emit(session_id, metric, value),
                room=self._reporter.room,
                draw=self._draw,
                delay=0.2 * self._pace,
                pace=self._pace,
            )
            for site in self._sites_of(search)
        ]
        self._emit(session_id, "session_started", self._plan(search))
        started = time.monotonic()
        ending: dict[str, Any] = {"status": "failed", "reason": "the orchestrator failed"}
        try:
            async with asyncio.TaskGroup() as group:
                reporting = group.create_task(self._report_regularly(session_id, crawls))
                outcomes = await asyncio.gather(*(crawl.run() for crawl in crawls))
                reporting.cancel()
            ending = (
                {"status": "completed"}
                if any(outcomes)
                else {"status": "failed", "reason": "every site failed"}
            )
        except asyncio.CancelledError:
            ending = {"status": "cancelled", "reason": "the orchestrator was stopped"}
            raise
        finally:
            totals = self.totals[session_id]
            counted = {
                "jobs": totals.jobs,
                "pages": totals.pages,
                "errors": totals.errors,
                "duration": round(time.monotonic() - started, 6),
            }
            self._emit(session_id, "session_finished", ending | counted)

    async def _report_regularly(self, session_id: str, crawls: Sequence[SiteCrawl]) -> None:
        self._process.cpu_percent()  # the first answer is always 0: there is nothing to compare with yet
        for beat in itertools.count(1):
            await asyncio.sleep(2.0 * self._pace)
            with self._process.oneshot():
                memory = self._process.memory_info().rss / 2**20
                cpu = min(100.0, self._process.cpu_percent())
            self._emit(session_id, "resources", {"memory_mb": round(memory, 3), "cpu_percent": cpu})
            for crawl in crawls:
                crawl.report_state()
                if beat % 3 == 0:
                    crawl.report_sums()

    def _sites_of(self, search: Search) -> tuple[str, ...]:
        wanted = tuple(site for site in self._sites if site in search.sites)
        return wanted or self._sites

    def _plan(self, search: Search) -> dict[str, Any]:
        return {
            "search_term": search.term,
            "location": search.location or "anywhere",
            "sites": list(self._sites_of(search)),
            "max_jobs_per_site": search.max_jobs_per_site,
            "max_concurrency": self._concurrency,
            "source": "demo",
        }

    def _emit(self, session_id: str, metric: str, value: dict[str, Any]) -> None:
        self.totals.setdefault(session_id, Totals()).count(metric, value)
        self._reporter.emit(session_id, metric, value)


async def run_orchestrator(
    site_url: str,
    report_url: str,
    *,
    seed: int,
    duration: float | None = None,
    stop: asyncio.Event | None = None,
    concurrency: int = 2,
    sites: Sequence[str] = DEFAULT_SITES,
    search_terms: Sequence[Search | str] = DEFAULT_SEARCHES,
    api_key: str | Callable[[], str] | None = None,
    pace: float = 1.0,
) -> dict[str, Totals]:
    """Runs an `Orchestrator` to its end; the totals it reported, by session. Arguments as there and for its `run`."""
    orchestrator = Orchestrator(
        site_url,
        report_url,
        seed=seed,
        concurrency=concurrency,
        sites=sites,
        search_terms=search_terms,
        api_key=api_key,
        pace=pace,
    )
    await orchestrator.run(duration, stop)
    return orchestrator.totals
