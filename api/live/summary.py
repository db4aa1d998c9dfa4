"""What one message of ``/ws/system`` says: everything on the live page at a glance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from api.health.findings import Kind, ServiceState, Status
from api.live.activity import SPAN, STEP, Activity, SessionActivity
from scrapewatch.answers import per_minute
from scrapewatch.time import MINUTE, to_rfc3339

RATE = MINUTE
"""Rates are those of the last whole minute."""

NEEDS_A_LOOK = ("blocked", "empty", "truncated", "stalled", "degraded", "missing")


def throughput(activity: Activity, now: int) -> dict[str, Any]:
    """Jobs per window by site, and the rates of the last minute; closed windows only, so that the last is no dip."""
    stop = now - now % STEP
    starts = range(stop - SPAN + STEP, stop, STEP)
    total = activity.total(stop - RATE, stop)
    return {
        "start": to_rfc3339(starts[0]),
        "window_seconds": STEP / 1e9,
        "jobs": activity.jobs_by_window(starts),
        "jobs_per_minute": per_minute(total.jobs, RATE),
        "pages_per_minute": per_minute(total.pages, RATE),
        "errors_per_minute": per_minute(total.errors, RATE),
        "success_rate": total.success_rate,
        "response_time": total.response_time,
    }


def sites(activity: Activity, now: int) -> list[dict[str, Any]]:
    """Each site's rates of the last minute, and its breaker."""
    stop = now - now % STEP
    found = []
    for site, counts in activity.sites(stop - RATE, stop).items():
        breaker = activity.breakers.get(site)
        found.append(
            {
                "site": site,
                "jobs_per_minute": per_minute(counts.jobs, RATE),
                "pages_per_minute": per_minute(counts.pages, RATE),
                "success_rate": counts.success_rate,
                "response_time": counts.response_time,
                "breaker": breaker.state if breaker else None,
            }
        )
    return found


def breakers(activity: Activity) -> list[dict[str, Any]]:
    """Each breaker, the open ones first."""
    order = {"open": 0, "half_open": 1}
    return [
        {
            "site": site,
            "state": breaker.state,
            "failures": breaker.failures,
            "since": to_rfc3339(breaker.time),
        }
        for site, breaker in sorted(
            activity.breakers.items(), key=lambda item: (order.get(item[1].state, 2), item[0])
        )
    ]


def errors(activity: Activity, now: int) -> dict[str, Any]:
    """The error mix of all that is kept."""
    return {"window_seconds": SPAN / 1e9, "counts": activity.errors(now - SPAN, now + STEP)}


def session_now(session: SessionActivity | None, now: int) -> dict[str, Any]:
    """What a session does now; null where nothing was heard."""
    if session is None:
        return {"jobs_per_minute": None, "pages_per_minute": None, "success_rate": None, "progress": None}
    stop = now - now % STEP
    counts = session.windows.between(stop - RATE, stop)
    totals = [total for _, total in session.progress.values()]
    known = bool(totals) and all(total is not None for total in totals)
    done = sum(done for done, _ in session.progress.values())
    return {
        "jobs_per_minute": per_minute(counts.jobs, RATE),
        "pages_per_minute": per_minute(counts.pages, RATE),
        "success_rate": counts.success_rate,
        "active_scrapers": sum(session.active_scrapers.values()) if session.active_scrapers else None,
        "queue_depth": sum(session.depth.values()) if session.depth else None,
        "memory_mb": session.memory_mb,
        "cpu_percent": session.cpu_percent,
        "progress": {"done": done, "total": sum(total or 0 for total in totals) if known else None}
        if session.progress
        else None,
    }


def overall(
    states: Iterable[ServiceState], sessions: Sequence[Mapping[str, Any]], degraded: Sequence[str]
) -> dict[str, Any]:
    """The one word, and why it is not better."""
    states = list(states)
    reasons = []
    worst = Status.UP if states else Status.UNKNOWN
    for state in states:
        if state.finding.status not in (Status.DOWN, Status.DEGRADED):
            continue
        name = state.name.removeprefix("site:")
        text = f"{name} is {state.finding.status}"
        if state.finding.message:
            text += f": {state.finding.message}"
        reasons.append(text)
        # A site that is down leaves the product itself at work.
        bad = state.finding.status is Status.DOWN and state.kind is not Kind.SITE
        worst = Status.DOWN if bad or worst is Status.DOWN else Status.DEGRADED
    for part in degraded:
        reasons.append(f"{part} cannot be shown now")
        worst = Status.DOWN if worst is Status.DOWN else Status.DEGRADED
    looks = sum(session["verdict"] in NEEDS_A_LOOK for session in sessions)
    return {"status": worst, "reasons": reasons, "sessions_to_look_at": looks}


def service(state: ServiceState) -> dict[str, Any]:
    """A service as ``/monitoring/health/services`` shows it."""
    return {
        "name": state.name,
        "kind": state.kind,
        "status": state.finding.status,
        "response_time": state.finding.response_time,
        "last_check": to_rfc3339(state.checked_at),
        "error_message": state.finding.message,
        "uptime_percent_24h": state.uptime_24h,
        "uptime_percent_30d": state.uptime_30d,
    }
