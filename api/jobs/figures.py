"""How far a job is, how fast, and how long the rest takes: from what was heard of its session lately, and from its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from api.live.activity import SPAN, STEP, SessionActivity
from records.queries import Session
from scrapewatch.forecasts import Remaining, remaining
from scrapewatch.time import SECOND, to_ns

PACE = 30 * SECOND
"""Windows in which the pace is looked at."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is: ``by_events`` as it reports itself, or else by its postings against the most it is to find."""

    done: int
    total: int | None
    by_events: bool

    @property
    def share(self) -> float | None:
        """Share that is done, 0–1; None where the whole is not known."""
        return min(self.done / self.total, 1.0) if self.total else None


def progress_of(
    session: Session, activity: SessionActivity | None, jobs: Mapping[str, int]
) -> Progress | None:
    """How far ``session`` is; ``jobs`` are its postings by site. None where nothing tells."""
    if activity is not None and activity.progress:
        totals = [total for _, total in activity.progress.values()]
        done = sum(done for done, _ in activity.progress.values())
        known = [total for total in totals if total is not None]
        return Progress(done, sum(known) if len(known) == len(totals) else None, by_events=True)
    most = session.max_jobs_per_site
    sites = {*session.sites, *jobs}
    if not most or not sites:
        return None
    # A site that brings more than it was to bring makes up for no other.
    return Progress(sum(min(jobs.get(site, 0), most) for site in sites), most * len(sites), by_events=False)


def rest_of(
    session: Session, progress: Progress | None, activity: SessionActivity | None, now: int
) -> Remaining | None:
    """How long the rest of ``session`` takes; None where it does not run, or its pace or its whole is not known."""
    if session.status != "running" or session.stalled_at is not None:
        return None
    if progress is None or progress.total is None or activity is None:
        return None
    counts = _paces(activity, now) if progress.by_events else _jobs(session, activity, now)
    return remaining(progress.total - progress.done, counts, PACE)


def _jobs(session: Session, activity: SessionActivity, now: int) -> list[float]:
    """Postings of each closed window of the last minutes since it began."""
    stop = now - now % STEP
    begun = to_ns(session.started_at) if session.started_at is not None else stop - SPAN
    windows = (stop - max(begun, stop - SPAN)) // PACE
    return [
        float(activity.windows.between(stop - k * PACE, stop - (k - 1) * PACE).jobs)
        for k in range(windows, 0, -1)
    ]


def _paces(activity: SessionActivity, now: int) -> list[float]:
    """Steps in each window of the last minutes: between two reports they are taken to have come evenly."""
    steps = [(at, done) for at, done in activity.steps if at > now - SPAN]
    if len(steps) < 2:
        return []
    first, last = steps[0][0], steps[-1][0]
    edges = range(last - (last - first) // PACE * PACE, last + 1, PACE)
    levels = _levels(steps, edges)
    # A counter that was set back began anew: what it did then is not known.
    return [max(level - before, 0.0) for before, level in pairwise(levels)]


def _levels(steps: Sequence[tuple[int, int]], times: Sequence[int]) -> list[float]:
    """The steps done at each of ``times``, which are within those of ``steps``; both in order."""
    levels, k = [], 0
    for time in times:
        while k + 2 < len(steps) and steps[k + 1][0] < time:
            k += 1
        (before, done), (after, more) = steps[k], steps[k + 1]
        levels.append(done + (more - done) * (time - before) / (after - before))
    return levels
