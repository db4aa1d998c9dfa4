"""Polite probes of sites, for those that want to know whether a site answers while no scraper visits it. Off unless a URL is given.

A site's ``robots.txt`` is asked first and kept to (RFC 9309), requests say who asks, and come seldom, one after the other.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit
from urllib.robotparser import RobotFileParser

import httpx2
import structlog

from api.health.findings import Finding, Status
from scrapewatch import __version__
from scrapewatch.time import DAY, SECOND, now_ns

AGENT = "scrapewatch"
USER_AGENT = f"{AGENT}/{__version__} (availability probe; keeps to robots.txt)"
PROBE_SECONDS = 10.0
MOST_ROBOTS_BYTES = 500_000
"""As much of a robots.txt as RFC 9309 wants to be read."""
REFUSALS = (401, 403, 407, 429, 451)

_log = structlog.get_logger("api.health")


class SiteProbes:
    """Probes of ``urls`` (by site), each every ``interval`` seconds; :attr:`findings` is what came of them last."""

    def __init__(self, urls: Mapping[str, str], interval: float) -> None:
        self._urls = dict(urls)
        self._interval = interval
        self._found: dict[str, tuple[int, Finding]] = {}
        self._robots: dict[str, tuple[int, RobotFileParser]] = {}

    @property
    def findings(self) -> dict[str, Finding]:
        """By site, those that are not too old to tell."""
        oldest = now_ns() - round(2.5 * self._interval * SECOND)
        return {site: finding for site, (at, finding) in self._found.items() if at >= oldest}

    async def run(self) -> None:
        """Probe again and again until cancelled."""
        if not self._urls:
            await asyncio.Event().wait()
        while True:
            await self.probe()
            # Not on the beat: many installations must not come to a site at once.
            await asyncio.sleep(self._interval * random.uniform(0.9, 1.1))

    async def probe(self) -> None:
        """Probe every site once."""
        for site, url in self._urls.items():
            began = time.perf_counter()
            try:
                finding = await self._ask(url)
            except httpx2.HTTPError as error:
                finding = Finding(
                    Status.DOWN, f"it did not answer: {type(error).__name__}", time.perf_counter() - began
                )
            self._found[site] = now_ns(), finding
            if finding.status is not Status.UP:
                _log.info("a probe did not find a site well", site=site, reason=finding.message)

    async def _ask(self, url: str) -> Finding:
        async with httpx2.AsyncClient(
            timeout=PROBE_SECONDS, trust_env=False, headers={"User-Agent": USER_AGENT}
        ) as client:
            if not await self._may(client, url):
                return Finding(Status.UNKNOWN, "its robots.txt does not want to be probed there")
            began = time.perf_counter()
            # Only the head: what a page costs a site is its body. And no redirect: that it leads on is an answer.
            answer = await client.head(url)
            if answer.status_code in (405, 501):
                async with client.stream("GET", url) as answer:
                    pass
            return judge_answer(answer.status_code, time.perf_counter() - began)

    async def _may(self, client: httpx2.AsyncClient, url: str) -> bool:
        parts = urlsplit(url)
        robots_url = urlunsplit((parts.scheme, parts.netloc, "/robots.txt", "", ""))
        read_at, rules = self._robots.get(robots_url, (0, RobotFileParser()))
        if now_ns() - read_at > DAY:
            rules = await _read_robots(client, robots_url)
            self._robots[robots_url] = now_ns(), rules
        return rules.can_fetch(AGENT, url)


async def _read_robots(client: httpx2.AsyncClient, url: str) -> RobotFileParser:
    rules = RobotFileParser(url)
    text = b""
    async with client.stream("GET", url, follow_redirects=False) as answer:
        if answer.status_code >= 500:
            text = b"User-agent: *\nDisallow: /"
        elif answer.is_success:
            async for part in answer.aiter_bytes():
                text += part
                if len(text) > MOST_ROBOTS_BYTES:
                    break
    rules.parse(text[:MOST_ROBOTS_BYTES].decode("utf-8", "replace").splitlines())
    return rules


def judge_answer(status: int, seconds: float) -> Finding:
    """What an answer with ``status`` after ``seconds`` says of a site."""
    if status >= 500:
        return Finding(Status.DOWN, f"it answered a probe with {status}", seconds)
    if status in REFUSALS:
        return Finding(Status.DEGRADED, f"it refused a probe with {status}", seconds)
    return Finding(Status.UP, None, seconds)
