"""What a run really was."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from records.verdicts import SessionFacts, SiteFacts, Verdict, judge

GOOD = SessionFacts(
    status="completed",
    closed_by="scraper",
    last_event_at=datetime(2026, 1, 5, 12, tzinfo=UTC),
    jobs=40,
    jobs_seen=40,
    pages=20,
    pages_seen=20,
    sites=[
        SiteFacts("indeed", success=True, finished=True, jobs=25, pages=12),
        SiteFacts("linkedin", success=True, finished=True, jobs=15, pages=8),
    ],
    declared_sites=["indeed", "linkedin"],
)
FAILED = SiteFacts("indeed", success=False, finished=True)


def verdict(previous_pages: list[int] | None = None, **facts: Any) -> Verdict:
    found = judge(replace(GOOD, **facts), previous_pages or [])
    assert found is not None
    return found


def test_a_run_with_nothing_wrong_is_healthy() -> None:
    assert verdict().name == "healthy"
    assert verdict().evidence[0].text == "40 jobs from 20 pages at 2 sites, 0 errors."


def test_a_run_that_goes_on_is_not_judged() -> None:
    assert judge(replace(GOOD, closed_by=None, status="running", jobs=0)) is None


@pytest.mark.parametrize(
    ("facts", "name", "rule"),
    [
        ({"pages_blocked": 6}, "blocked", "block_share"),
        ({"error_types": {"403": 3, "captcha": 3}}, "blocked", "block_share"),
        ({"pages": 3, "pages_blocked": 1}, "blocked", "block_share"),
        ({"pages": 0, "errors": 4, "error_types": {"429": 3, "timeout": 1}}, "blocked", "block_errors"),
        (
            {"sites": [replace(FAILED, errors={"403": 1}), replace(FAILED, error_message="HTTP 429")]},
            "blocked",
            "all_sites_refused",
        ),
        ({"jobs": 0}, "empty", "no_jobs"),
        ({"jobs": 0, "pages": 0, "pages_seen": 0}, "empty", "no_jobs"),
        ({"status": "cancelled"}, "truncated", "ended_early"),
        ({"status": "failed", "jobs": 0}, "truncated", "ended_early"),
        ({"reason": "shutdown"}, "truncated", "ended_early"),
        ({"reason": "closespider_timeout"}, "truncated", "ended_early"),
        ({"max_jobs_per_site": 25}, "truncated", "job_limit"),
        ({"jobs_reported": 100}, "truncated", "far_below_reported"),
        ({"pages_seen": 9, "pages_reported": 20}, "truncated", "far_below_reported"),
        ({"sites": [*GOOD.sites, SiteFacts("glassdoor")]}, "truncated", "site_not_finished"),
        ({"declared_sites": ["indeed", "linkedin", "glassdoor"]}, "truncated", "site_not_begun"),
        ({"errors": 3}, "degraded", "error_share"),
        ({"errors": 1, "pages": 0, "pages_seen": 0}, "degraded", "error_share"),
        ({"sites": [*GOOD.sites, FAILED]}, "degraded", "site_failed"),
        (
            {"sites": [replace(GOOD.sites[0], pages=10, pages_blocked=3), GOOD.sites[1]]},
            "degraded",
            "site_blocked",
        ),
        ({"jobs_reported": 41}, "degraded", "below_reported"),
        ({"jobs_seen": 1, "jobs_reported": 9}, "degraded", "below_reported"),
        ({"closed_by": "watch", "status": "failed", "reason": "no event for 6 h"}, "stalled", "abandoned"),
        ({"closed_by": None, "status": "running", "stalled_at": GOOD.last_event_at}, "stalled", "silent"),
    ],
)
def test_each_rule_of_thumb_gives_its_verdict(facts: dict[str, Any], name: str, rule: str) -> None:
    found = verdict(**facts)
    assert (found.name, found.evidence[0].rule) == (name, rule)


@pytest.mark.parametrize(
    "facts",
    [
        {"pages_blocked": 5},
        {"pages": 2, "pages_blocked": 2, "pages_seen": 2},
        {"reason": "finished"},
        {"max_jobs_per_site": 26},
        {"errors": 2},
        {"jobs_seen": 0, "jobs_reported": 40},
        {"sites": [SiteFacts("indeed", jobs=40, pages=20)], "declared_sites": ["indeed", "linkedin"]},
    ],
)
def test_just_below_a_threshold_a_run_is_healthy(facts: dict[str, Any]) -> None:
    assert verdict(**facts).name == "healthy"


def test_fewer_pages_than_usual_need_enough_runs_before() -> None:
    assert verdict([50, 60, 70, 80]).name == "healthy"
    assert verdict([50, 60, 70, 80, 41]).name == "truncated"
    assert verdict([40, 40, 40, 40, 40]).name == "healthy"


def test_the_verdict_that_comes_first_brings_the_evidence_of_the_others_along() -> None:
    found = verdict(jobs=0, pages_blocked=18, errors=9, status="completed", reason="shutdown")
    assert found.name == "blocked"
    assert [piece.rule for piece in found.evidence] == [
        "block_share",
        "no_jobs",
        "ended_early",
        "error_share",
    ]


def test_a_stalled_run_is_not_yet_empty_or_truncated() -> None:
    found = verdict(closed_by=None, status="running", stalled_at=GOOD.last_event_at, jobs=0, pages_blocked=18)
    assert [piece.rule for piece in found.evidence] == ["silent", "block_share"]


def test_evidence_says_what_happened_with_its_figures() -> None:
    (piece,) = verdict(pages_blocked=6).evidence
    assert piece.text == "6 of 20 pages (30%) were block pages or refusals."
    assert piece.figures == {"pages": 20, "blocked": 6, "share": 0.3}
