"""Judging what nobody can ask – scrapers, sites, proxies – by what was heard of them lately."""

from __future__ import annotations

from api.health.findings import Finding, Status
from api.live.activity import STEP, Activity, Breaker, ProxyCounts
from scrapewatch.answers import Counts
from scrapewatch.time import HOUR, MINUTE, SECOND

TRAFFIC = 5 * MINUTE
BREAKER_TOLD = HOUR
ENOUGH = 3
# Sites and providers are judged by at least so many attempts of the last minutes.
GOOD, BAD = 0.9, 0.5


def judge_orchestrator(
    last_event: int | None, active_sessions: int | None, stall_after: float, now: int
) -> Finding:
    """The scrapers as a whole, by when they were last heard of (ns) and whether any should be."""
    if last_event is None:
        return Finding(Status.UNKNOWN, "no scraper has reported yet")
    silent = (now - last_event) / SECOND
    if silent <= stall_after:
        return Finding(Status.UP)
    ago = f"the last event came {_ago(silent)} ago"
    if active_sessions:
        return Finding(Status.DOWN, f"{ago}, although {active_sessions} sessions run")
    return Finding(Status.UNKNOWN, f"{ago}; no session runs")


def judge_sites(activity: Activity, now: int) -> dict[str, Finding]:
    """Each site that was heard of lately, by its traffic of the last minutes and its circuit breaker."""
    stop = now - now % STEP + STEP
    traffic = activity.sites(stop - TRAFFIC, stop)
    for site in activity.breakers:
        traffic.setdefault(site, Counts())
    return {site: _judge_site(counts, activity.breakers.get(site), now) for site, counts in traffic.items()}


def _judge_site(counts: Counts, breaker: Breaker | None, now: int) -> Finding:
    minutes = TRAFFIC // MINUTE
    share, attempts, mean = counts.success_rate, counts.attempts, counts.response_time
    judged = share is not None and attempts >= ENOUGH
    # A breaker is one session's, which may be gone: later traffic knows better.
    told = breaker is not None and now - breaker.time <= (TRAFFIC if judged else BREAKER_TOLD)
    if told and breaker is not None and breaker.state == "open":
        return Finding(Status.DOWN, "its circuit breaker is open", mean)
    if share is None or not judged:
        return Finding(Status.UNKNOWN, f"too little traffic in {minutes} minutes to judge it")
    what = f"{attempts - counts.ok} of {attempts} attempts failed in {minutes} minutes"
    if counts.blocked:
        what += f", {counts.blocked} pages were blocks"
    if share < BAD:
        return Finding(Status.DOWN, what, mean)
    if share < GOOD:
        return Finding(Status.DEGRADED, what, mean)
    if told and breaker is not None and breaker.state == "half_open":
        return Finding(Status.DEGRADED, "its circuit breaker is half open", mean)
    return Finding(Status.UP, None, mean)


def judge_proxies(activity: Activity, now: int) -> Finding:
    """The proxies as a whole, by what scrapers reported of them in the last minutes; names the providers that do badly."""
    stop = now - now % STEP + STEP
    judged = {
        provider: counts
        for provider, counts in activity.proxies(stop - TRAFFIC, stop).items()
        if counts.requests >= ENOUGH
    }
    minutes = TRAFFIC // MINUTE
    if not judged:
        return Finding(Status.UNKNOWN, f"too few requests through proxies in {minutes} minutes to judge them")
    total = ProxyCounts()
    for counts in judged.values():
        total.add(counts)
    bad = {provider: counts for provider, counts in judged.items() if (counts.success or 0.0) < GOOD}
    if not bad:
        return Finding(Status.UP, None, total.mean_latency)
    told = "; ".join(
        f"{provider}: {counts.failures} of {counts.requests} requests failed"
        + (f", {counts.bans} bans" if counts.bans else "")
        for provider, counts in sorted(bad.items(), key=lambda item: item[1].success or 0.0)[:5]
    )
    down = all((counts.success or 0.0) < BAD for counts in judged.values())
    return Finding(
        Status.DOWN if down else Status.DEGRADED, f"{told} in {minutes} minutes", total.mean_latency
    )


def _ago(seconds: float) -> str:
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
