"""Names the site of each run, for logs that do not say which spider ran.

A fleet that runs its spiders one after the other starts each soon after the one before has finished, and then rests: such runs are a
group, and a spider is known by its place in it. Where a group lacks a run (a spider started by hand, a log cut in between), its runs
are given the places whose usual runs they are most like, by what they asked for.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import fmean, pstdev

from stack.scrapy_log.events import count
from stack.scrapy_log.parse import Run

GROUP_GAP = timedelta(seconds=120)
"""Runs with a longer rest between them are of different groups. Measured on ten months of a real fleet of two spiders, 1,737 runs:
the rest within a group was 3 to 77 s, that between groups at least 29 minutes; 60 s tore 2 groups of 867 apart."""

# What a spider asks for is its own; what it gets depends on the sites. The hosts whose robots.txt it fetched tell spiders apart best.
_TRAITS = (
    "robotstxt/request_count",
    "downloader/request_count",
    "scheduler/enqueued",
    "request_depth_max",
)
_NEVER = datetime.min.replace(tzinfo=UTC)


def site_names(runs: Sequence[Run], names: Sequence[str] = ()) -> list[str]:
    """A name for the site of each run, in the order of `runs`.

    With `names`, the k-th run of a group is `names[k]`, unless the log says that the spider is another of them; a group never has
    more runs than there are names. Without, it is the spider's own name where the log tells it, and `spider-1`, `spider-2`… by its
    place in the group elsewhere. The usual size of groups decides which are whole.

    Args:
        runs: of all logs together, so that the groups at their edges are whole.
        names: in the order in which the spiders run.

    """
    places = [0] * len(runs)
    nameless = [k for k, run in enumerate(runs) if names or run.spider is None]
    groups = _groups([runs[k] for k in nameless])
    size = len(names) or _usual_size(groups)
    groups = [group[k : k + size] for group in groups for k in range(0, len(group), size)]
    usual = _usual_traits([[runs[nameless[k]] for k in group] for group in groups if len(group) == size])
    for group in groups:
        members = [nameless[k] for k in group]
        taken = list(range(size))
        if len(group) < size and usual:
            taken = _places([runs[k] for k in members], usual)
        for k, place in zip(members, taken, strict=False):
            places[k] = place
    if names:
        return [
            run.spider if run.spider is not None and run.spider in names else names[place]
            for run, place in zip(runs, places, strict=True)
        ]
    return [run.spider or f"spider-{place + 1}" for run, place in zip(runs, places, strict=True)]


def _begin(run: Run) -> datetime:
    times = (run.started_at, *(stat.time for stat in run.log_stats[:1]), run.finished_at)
    return next((time for time in times if time is not None), _NEVER)


def _end(run: Run) -> datetime:
    times = (run.finished_at, *(stat.time for stat in run.log_stats[-1:]), run.started_at)
    return next((time for time in times if time is not None), _NEVER)


def _groups(runs: Sequence[Run]) -> list[list[int]]:
    """Indices of runs that followed each other closely, by time: the lines of a log may not be in the order of real time."""
    groups: list[list[int]] = []
    finished = _NEVER
    for k in sorted(range(len(runs)), key=lambda k: (_begin(runs[k]), runs[k].order, k)):
        if not groups or _begin(runs[k]) - finished > GROUP_GAP:
            groups.append([])
        groups[-1].append(k)
        finished = max(finished, _end(runs[k]))
    return groups


def _usual_size(groups: list[list[int]]) -> int:
    sizes = Counter(map(len, groups))
    return max(sizes, key=lambda size: (sizes[size], size), default=1)


def _traits(run: Run) -> list[float]:
    return [math.log1p(count(run.stats, trait)) for trait in _TRAITS]


def _usual_traits(groups: list[list[Run]]) -> list[list[tuple[float, float]]]:
    """(mean, spread) of every trait at each place."""
    by_place: dict[int, list[list[float]]] = defaultdict(list)
    for group in groups:
        for place, run in enumerate(group):
            if run.complete:
                by_place[place].append(_traits(run))
    if len(by_place) < max(map(len, groups), default=1):
        return []
    # A spread of nothing would make any difference infinite.
    return [
        [(fmean(column), max(pstdev(column), 0.1)) for column in zip(*by_place[place], strict=True)]
        for place in sorted(by_place)
    ]


def _places(runs: list[Run], usual: list[list[tuple[float, float]]]) -> list[int]:
    """Places for the runs of a group that lacks some: in their order, as like their places' usual runs as can be."""
    # best[k]: (unlikeness, places) of the runs so far on places below k.
    best: list[tuple[float, list[int]]] = [(0.0, [])] * (len(usual) + 1)
    for run in runs:
        ahead: list[tuple[float, list[int]]] = [(math.inf, [])]
        for place, traits in enumerate(usual):
            unlikeness, places = best[place]
            here = (unlikeness + _unlikeness(run, traits), [*places, place])
            ahead.append(min(ahead[-1], here))
        best = ahead
    return best[-1][1]


def _unlikeness(run: Run, usual: list[tuple[float, float]]) -> float:
    if not run.complete:
        return 0.0  # Its counts are not the whole run's.
    return sum(
        ((trait - mean) / spread) ** 2 + 2 * math.log(spread)
        for trait, (mean, spread) in zip(_traits(run), usual, strict=True)
    )
