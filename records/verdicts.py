"""What a run really was, whatever it says of itself: a rule of thumb for each verdict, with its evidence.

The rules are tried in the order of precedence, which is the order of what a person would look at first:

1. **stalled** – nothing was heard of it for long; what it was doing when it went silent comes as further evidence.
2. **blocked** – the sites turned it away. Before "empty", because it says why there is nothing.
3. **empty** – it ended green, and found nothing.
4. **truncated** – it ended before it was done, so that what it found is a part.
5. **degraded** – it did its work, with losses.
6. **healthy** – none of these.

``missing`` is said of a run that did not come; there is nothing here to judge.

All thresholds are named at the top. The evidence of the verdict comes first, then that of the rules below it which hold too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any

BLOCKED_SHARE = 0.3
"""Blocked: at least this share of the pages were block pages or answered with 403, 429 or a captcha …"""
BLOCKED_MIN_PAGES = 3
"""… of at least so many pages (or so many such errors, where no page was reported)."""
BLOCK_ERRORS = frozenset({"403", "429", "captcha"})
"""Types of errors by which a site turns a scraper away."""
ERROR_SHARE = 0.1
"""Degraded: more errors than this share of the pages."""
SEEN_SHARE = 0.5
"""Truncated: less than this share of what the scraper says it found was ever reported to us …"""
SEEN_MIN_REPORTED = 10
"""… of at least so many."""
FEWER_PAGES = 0.5
"""Truncated: fewer pages than this share of the median of the runs before …"""
FEWER_PAGES_MIN_RUNS = 5
"""… which must be at least so many."""

_ENDED_EARLY = re.compile(
    r"shut ?down|closespider|memusage|limit|time[d_ -]?out|interrupt|kill|abort|signal|max_|quota|budget",
    re.I,
)


@dataclass(frozen=True, slots=True)
class SiteFacts:
    """One site of a session: the last attempt's ``success``, and the sums over its attempts.

    ``errors`` are counted by type where types are known.
    """

    name: str
    success: bool | None = None
    finished: bool = False
    jobs: int = 0
    pages: int = 0
    pages_blocked: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    error_message: str | None = None


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What is known of a session; ``jobs``, ``pages`` and ``errors`` are reconciled totals, ``*_seen`` what events told."""

    status: str
    reason: str | None = None
    closed_by: str | None = None
    stalled_at: datetime | None = None
    last_event_at: datetime | None = None
    jobs: int = 0
    jobs_seen: int = 0
    jobs_reported: int | None = None
    pages: int = 0
    pages_seen: int = 0
    pages_reported: int | None = None
    pages_blocked: int = 0
    errors: int = 0
    error_types: Mapping[str, int] = field(default_factory=dict)
    max_jobs_per_site: int | None = None
    sites: Sequence[SiteFacts] = ()
    declared_sites: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why: the ``rule``, a sentence for people, and the figures it rests on."""

    rule: str
    text: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One of healthy, degraded, blocked, empty, truncated, stalled; and why."""

    name: str
    evidence: Sequence[Evidence]


def judge(session: SessionFacts, previous_pages: Sequence[int] = ()) -> Verdict | None:
    """The verdict on a session; None while it goes on and nothing is wrong.

    ``previous_pages`` are the pages of earlier runs of the same kind, where the caller knows them.
    """
    if session.stalled_at is None and session.closed_by is None:
        return None
    rules = {
        "stalled": _stalled(session),
        "blocked": _blocked(session),
        "empty": _empty(session),
        "truncated": _truncated(session, previous_pages),
        "degraded": _degraded(session),
    }
    if session.closed_by is None:
        # It may yet go on: only that it is silent, and what was wrong before, can be said.
        rules["empty"] = rules["truncated"] = []
    holding = [name for name, evidence in rules.items() if evidence]
    if not holding:
        return Verdict("healthy", [_healthy(session)])
    return Verdict(holding[0], [piece for name in holding for piece in rules[name]])


def _stalled(session: SessionFacts) -> list[Evidence]:
    last = f"{session.last_event_at:%Y-%m-%d %H:%M:%S} UTC" if session.last_event_at else "an unknown time"
    if session.closed_by == "watch":
        text = f"Its last event came at {last}; given up: {session.reason or 'silent for too long'}."
        return [Evidence("abandoned", text, {"last_event_at": _rfc3339(session.last_event_at)})]
    if session.stalled_at is not None:
        text = f"Nothing was heard of it since {last}, although it did not say that it ended."
        return [Evidence("silent", text, {"last_event_at": _rfc3339(session.last_event_at)})]
    return []


def _blocked(session: SessionFacts) -> list[Evidence]:
    found = []
    at_sites = sum(_refusals(site) for site in session.sites)
    refusals = max(session.pages_blocked, _refusing(session.error_types), at_sites)
    figures: dict[str, Any] = {"pages": session.pages, "blocked": refusals}
    if session.pages >= BLOCKED_MIN_PAGES and refusals / session.pages >= BLOCKED_SHARE:
        share = min(refusals / session.pages, 1.0)
        text = f"{refusals} of {session.pages} pages ({share:.0%}) were block pages or refusals."
        found.append(Evidence("block_share", text, {**figures, "share": round(share, 4)}))
    elif session.pages == 0 and refusals >= BLOCKED_MIN_PAGES and 2 * refusals >= session.errors:
        text = (
            f"{refusals} of its {max(session.errors, refusals)} errors were refusals (403, 429 or a captcha)."
        )
        found.append(Evidence("block_errors", text, {**figures, "errors": session.errors}))
    if session.sites and all(site.success is False and _turned_away(site) for site in session.sites):
        names = ", ".join(site.name for site in session.sites)
        text = f"Every site turned it away: {names}."
        found.append(Evidence("all_sites_refused", text, {"sites": [site.name for site in session.sites]}))
    return found


def _empty(session: SessionFacts) -> list[Evidence]:
    if session.status != "completed" or session.jobs > 0:
        return []
    if session.pages:
        text = f"It ended as completed, and found no job on {session.pages} pages."
    else:
        text = "It ended as completed, without a page and without a job."
    return [Evidence("no_jobs", text, {"jobs": 0, "pages": session.pages})]


def _truncated(session: SessionFacts, previous_pages: Sequence[int]) -> list[Evidence]:
    found = []
    reason = f" ({session.reason})" if session.reason else ""
    if session.closed_by != "watch":
        if session.status in ("cancelled", "failed"):
            found.append(
                Evidence(
                    "ended_early",
                    f"It was {session.status}{reason}.",
                    {"status": session.status, "reason": session.reason},
                )
            )
        elif session.reason and _ENDED_EARLY.search(session.reason):
            text = f"It ended by a limit and not because it was done{reason}."
            found.append(Evidence("ended_early", text, {"status": session.status, "reason": session.reason}))
    if session.max_jobs_per_site:
        for site in session.sites:
            if site.jobs >= session.max_jobs_per_site:
                text = (
                    f"{site.name} reached its limit of {session.max_jobs_per_site} jobs: there may be more."
                )
                found.append(Evidence("job_limit", text, {"site": site.name, "jobs": site.jobs}))
    found += _below_reported(session, far=True)
    found += _unfinished_sites(session)
    if session.status == "completed" and len(previous_pages) >= FEWER_PAGES_MIN_RUNS:
        usual = median(previous_pages)
        if session.pages < FEWER_PAGES * usual:
            text = f"It saw {session.pages} pages, where {usual:.0f} are usual."
            found.append(Evidence("fewer_pages", text, {"pages": session.pages, "usual": usual}))
    return found


def _unfinished_sites(session: SessionFacts) -> list[Evidence]:
    if session.status != "completed" or not any(site.finished for site in session.sites):
        return []  # a scraper that never says that a site is done has told nothing by not saying it
    begun = {site.name for site in session.sites}
    open_ones = [site.name for site in session.sites if not site.finished]
    never = [name for name in session.declared_sites if name not in begun]
    found = []
    if open_ones:
        text = f"It ended as completed, but did not finish {', '.join(open_ones)}."
        found.append(Evidence("site_not_finished", text, {"sites": open_ones}))
    if never:
        text = f"It ended as completed, but never began {', '.join(never)}."
        found.append(Evidence("site_not_begun", text, {"sites": never}))
    return found


def _degraded(session: SessionFacts) -> list[Evidence]:
    found = []
    if session.errors:
        share = session.errors / max(session.pages, session.errors)
        if share > ERROR_SHARE:
            text = f"{session.errors} errors on {session.pages} pages ({share:.0%})."
            figures: dict[str, Any] = {"errors": session.errors, "pages": session.pages}
            found.append(Evidence("error_share", text, {**figures, "share": round(share, 4)}))
    for site in session.sites:
        refusals = _refusals(site)
        if site.success is False:
            message = f": {site.error_message}" if site.error_message else ""
            found.append(Evidence("site_failed", f"{site.name} failed{message[:300]}.", {"site": site.name}))
        if site.pages >= BLOCKED_MIN_PAGES and refusals / site.pages >= BLOCKED_SHARE:
            text = f"{site.name} turned it away on {refusals} of {site.pages} pages."
            figures = {"site": site.name, "blocked": refusals, "pages": site.pages}
            found.append(Evidence("site_blocked", text, figures))
    return found + _below_reported(session, far=False)


def _below_reported(session: SessionFacts, *, far: bool) -> list[Evidence]:
    """Where events told of less than the scraper counted: ``far`` less, or only somewhat."""
    found = []
    for what, seen, reported in (
        ("jobs", session.jobs_seen, session.jobs_reported or 0),
        ("pages", session.pages_seen, session.pages_reported or 0),
    ):
        # A scraper that reports nothing but totals (seen is 0) is not cut off.
        if 0 < seen < reported and far == (reported >= SEEN_MIN_REPORTED and seen < SEEN_SHARE * reported):
            rule = "far_below_reported" if far else "below_reported"
            text = f"It counted {reported} {what}, but events told of {seen} only."
            found.append(Evidence(rule, text, {"what": what, "seen": seen, "reported": reported}))
    return found


def _healthy(session: SessionFacts) -> Evidence:
    where = f" at {len(session.sites)} sites" if len(session.sites) > 1 else ""
    text = f"{session.jobs} jobs from {session.pages} pages{where}, {session.errors} errors."
    return Evidence(
        "nothing_wrong", text, {"jobs": session.jobs, "pages": session.pages, "errors": session.errors}
    )


def _refusals(site: SiteFacts) -> int:
    # A scraper may report a refusal as a page, as an error or as both: the greater is the number of refusals.
    return max(site.pages_blocked, _refusing(site.errors))


def _refusing(errors: Mapping[str, int]) -> int:
    return sum(errors.get(kind, 0) for kind in BLOCK_ERRORS)


def _turned_away(site: SiteFacts) -> bool:
    if 2 * _refusals(site) < site.pages:
        return False  # most of its pages came
    errors = sum(site.errors.values())
    if errors:
        return 2 * _refusals(site) >= errors
    return site.pages_blocked > 0 or bool(
        re.search(r"\b(403|429)\b|captcha|blocked", site.error_message or "", re.I)
    )


def _rfc3339(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
