"""What performance says to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from api.performance.figures import Compared, Performance, Sums

LEAST_ATTEMPTS = 20
LEAST_ITEMS = 20
"""Attempts and items below which a share says nothing."""
LOW_SUCCESS, FALLEN_SUCCESS = 0.9, 0.1
MUCH_BLOCKED = 0.1
SLOWER, FEWER = 50.0, -50.0
LOW_VALID, FALLEN_VALID = 0.9, 0.05
MUCH_DUPLICATE = 0.3


@dataclass(frozen=True, slots=True)
class Advice:
    """What was seen of a site, and what to do about it."""

    severity: Literal["warning", "critical"]
    metric: str
    site: str
    text: str
    action: str


def advice(performance: Performance) -> list[Advice]:
    """Advice on each site that does badly, or much worse than in the period before; the critical first."""
    found = [
        each
        for site, (before, now) in sorted(performance.sites.items())
        for each in _about(performance, site, now, before)
    ]
    return sorted(found, key=lambda each: each.severity != "critical")


def _about(performance: Performance, site: str, now: Sums, before: Sums) -> Iterator[Advice]:
    success, known = now.success_rate, before.success_rate
    if success is not None and now.attempts >= LEAST_ATTEMPTS:
        fell = known is not None and before.attempts >= LEAST_ATTEMPTS and known - success >= FALLEN_SUCCESS
        if success < LOW_SUCCESS or fell:
            text = f"{now.attempts - now.ok} of {now.attempts} attempts at {site} failed"
            if fell and known is not None:
                text += f": its success rate fell from {known:.0%} to {success:.0%}"
            much_blocked = now.blocked >= MUCH_BLOCKED * now.attempts
            if now.blocked:
                text += f"; {now.blocked} pages were blocks"
            yield Advice(
                "critical" if success < 0.5 else "warning",
                "success_rate",
                site,
                text,
                "slow down there, or let other proxies go"
                if much_blocked
                else "look at the errors of its sessions",
            )
    times = Compared(now.response_time, before.response_time)
    if (
        times.change_percent is not None
        and times.change_percent >= SLOWER
        and min(now.timed, before.timed) >= LEAST_ATTEMPTS
    ):
        yield Advice(
            "warning",
            "response_time",
            site,
            f"pages of {site} take {times.current:.2f} s, {times.change_percent:.0f} % longer than before",
            "see whether the site, the proxies or the machine is slow",
        )
    jobs = performance.jobs_per_hour(now, before)
    if (
        jobs.change_percent is not None
        and jobs.change_percent <= FEWER
        and now.attempts >= LEAST_ATTEMPTS
        and now.attempts >= before.attempts / 2
    ):
        # As much was asked for, and less was found.
        yield Advice(
            "warning",
            "throughput",
            site,
            f"{site} brings {jobs.current:.0f} postings an hour, {-jobs.change_percent:.0f} % fewer than before, from as many pages",
            "see whether its pages have changed",
        )
    valid, was_valid = now.valid_share, before.valid_share
    if valid is not None and now.items >= LEAST_ITEMS:
        fell = was_valid is not None and before.items >= LEAST_ITEMS and was_valid - valid >= FALLEN_VALID
        if valid < LOW_VALID or fell:
            text = f"{valid:.0%} of the items of {site} are valid"
            if fell and was_valid is not None:
                text += f"; before it were {was_valid:.0%}"
            yield Advice("warning", "data_quality", site, text, "see which fields are no longer filled")
        duplicates = now.duplicate_share
        if duplicates is not None and duplicates >= MUCH_DUPLICATE:
            yield Advice(
                "warning",
                "data_quality",
                site,
                f"{duplicates:.0%} of the items of {site} are duplicates",
                "visit it less often, or narrower searches",
            )
