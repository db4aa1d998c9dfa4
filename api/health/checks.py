"""The checks of services, made on a schedule so that who asks for them waits for none.

Each check that could tell is reported as an event ``service_check``, from which the uptime over days is counted. Sites are not visited:
they are judged by the traffic that scrapers had with them, or else by probes where there are any.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import httpx2
import structlog

from api.health.findings import Finding, Kind, ServiceState, Status
from api.health.judging import judge_proxies, judge_sites
from api.health.probe import SiteProbes
from api.live.activity import Activity
from api.patience import Patience
from scrapewatch.answers import ask
from scrapewatch.ports import DEFAULT_TENANT, SeriesStore, TimeRange
from scrapewatch.problems import ScrapewatchError
from scrapewatch.settings import Settings
from scrapewatch.time import DAY, HOUR, now_ns, to_rfc3339

CHECK_SECONDS = 5.0
UPTIME_EVERY = 60.0

_log = structlog.get_logger("api.health")


Check = Callable[[], Awaitable[Finding]]


class HealthChecker:
    """Checks on a schedule; :attr:`states` is what was found last.

    Args:
        settings: URLs, and how often to check.
        series: the store of points: checked, and asked for uptimes.
        patience: waits for it.
        checks: the checks by name, with what they are of.
        activity: the traffic by which sites and proxies are judged.
        report: hands events to the collector.
        probes: of sites that no scraper visits now.
    """

    def __init__(
        self,
        settings: Settings,
        series: SeriesStore,
        patience: Patience,
        checks: Mapping[str, tuple[Kind, Check]],
        activity: Activity,
        report: Callable[[Sequence[dict[str, Any]]], Awaitable[None]],
        probes: SiteProbes,
    ) -> None:
        self.states: dict[str, ServiceState] = {}
        self._settings = settings
        self._series = series
        self._patience = patience
        self._checks = checks
        self._activity = activity
        self._report = report
        self._probes = probes
        self._uptimes: dict[str, tuple[float | None, float | None]] = {}
        self._uptimes_at = float("-inf")
        self._seen: dict[str, tuple[int, int]] = {}

    async def run(self) -> None:
        """Check again and again until cancelled."""
        while True:
            try:
                await self.check()
            except Exception as error:
                # Whatever it is, the next round may do better, and the figures on show say when they were taken.
                _log.error("checks failed", error=type(error).__name__, exc_info=True)
            await asyncio.sleep(self._settings.check_interval)

    async def check(self) -> None:
        """Make every check once, keep what they found, and report it."""
        names = list(self._checks)
        findings = await asyncio.gather(*(_timed(self._checks[name][1]) for name in names))
        at = now_ns()
        found = {
            name: (self._checks[name][0], finding) for name, finding in zip(names, findings, strict=True)
        }
        found["proxies"] = (Kind.SERVICE, judge_proxies(self._activity, at))
        sites = judge_sites(self._activity, at)
        for site, probed in self._probes.findings.items():
            if site not in sites or sites[site].status is Status.UNKNOWN:
                sites[site] = probed
        for site, finding in sorted(sites.items()):
            found[f"site:{site}"] = (Kind.SITE, finding)
        for name, (_, finding) in found.items():
            if finding.status is not Status.UNKNOWN:
                checks, up = self._seen.get(name, (0, 0))
                self._seen[name] = checks + 1, up + (finding.status is not Status.DOWN)
        await self._refresh_uptimes(at)
        self.states = {
            name: ServiceState(name, kind, finding, at, *self._uptime(name))
            for name, (kind, finding) in found.items()
        }
        events = [
            {
                "metric": "service_check",
                "value": {
                    "service": name,
                    "up": finding.status is not Status.DOWN,
                    "response_time": finding.response_time or 0.0,
                },
                "timestamp": to_rfc3339(at),
            }
            for name, (_, finding) in found.items()
            if finding.status is not Status.UNKNOWN
        ]
        try:
            await self._report(events)
        except ScrapewatchError as error:
            _log.warning("checks could not be reported", reason=str(error))

    def _uptime(self, name: str) -> tuple[float | None, float | None]:
        day, month = self._uptimes.get(name, (None, None))
        if day is None and name in self._seen:
            # The rollups lag: until they know, the checks since the start of this process do.
            checks, up = self._seen[name]
            day = 100.0 * up / checks
        return day, month if month is not None else day

    async def _refresh_uptimes(self, at: int) -> None:
        if time.monotonic() - self._uptimes_at < UPTIME_EVERY:
            return
        self._uptimes_at = time.monotonic()
        try:
            tables = [
                await self._patience.call(
                    ask,
                    self._series,
                    "service_uptime",
                    {},
                    TimeRange.widened(at - span, at, every),
                    tenant=DEFAULT_TENANT,
                )
                for span, every in ((DAY, HOUR), (30 * DAY, DAY))
            ]
        except ScrapewatchError as error:
            _log.warning("uptimes are not known", reason=str(error))
            return
        shares = []
        for table in tables:
            counts: dict[str, tuple[int, int]] = {}
            for row in table.dicts():
                checks, up = counts.get(row["service"], (0, 0))
                counts[row["service"]] = checks + (row["checks"] or 0), up + (row["up"] or 0)
            shares.append({name: 100.0 * up / checks for name, (checks, up) in counts.items() if checks})
        self._uptimes = {
            name: (shares[0].get(name), shares[1].get(name)) for name in {*shares[0], *shares[1]}
        }


async def _timed(check: Check) -> Finding:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            finding = await check()
    except TimeoutError:
        finding = Finding(Status.DOWN, f"no answer within {CHECK_SECONDS:g} s")
    except ScrapewatchError as error:
        finding = Finding(Status.DOWN, str(error))
    except Exception as error:
        # By its kind alone: a driver's message may hold the URL with its password.
        finding = Finding(Status.DOWN, f"the check failed: {type(error).__name__}")
    if finding.response_time is None and finding.status is not Status.UNKNOWN:
        return Finding(finding.status, finding.message, time.perf_counter() - began)
    return finding


def ready_check(patience: Patience, ready: Callable[[], str | None] | Callable[[], None]) -> Check:
    """A check of a store that says itself what is wrong, or raises it."""

    async def check() -> Finding:
        wrong = await patience.call(ready)
        return Finding(Status.UP) if wrong is None else Finding(Status.DOWN, wrong)

    return check


def http_check(url: str) -> Check:
    """A check of a service that answers GET ``url`` with 2xx when it is well."""

    async def check() -> Finding:
        async with httpx2.AsyncClient(timeout=CHECK_SECONDS, trust_env=False) as client:
            answer = await client.get(url)
        if answer.is_success:
            return Finding(Status.UP)
        return Finding(Status.DOWN, f"it answered {answer.status_code}")

    return check


def redis_check(url: str) -> Check:
    """A check of Redis."""

    async def check() -> Finding:
        import redis.asyncio  # an extra of its own

        async with redis.asyncio.from_url(url, socket_timeout=CHECK_SECONDS) as client:
            await client.ping()
        return Finding(Status.UP)

    return check


def status_check(status: Callable[[], Awaitable[Mapping[str, Any]]]) -> Check:
    """A check of the collector by what it says of itself: ``problems`` is a list of sentences."""

    async def check() -> Finding:
        found = await status()
        problems = list(found["problems"])
        if held := found.get("held"):
            problems.append(
                f"points of {len(held)} tenants wait for their tokens or buckets: /readyz says which"
            )
        wrong = "; ".join(problems)
        return Finding(Status.DEGRADED, wrong) if wrong else Finding(Status.UP)

    return check
