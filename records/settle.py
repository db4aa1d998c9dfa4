"""The derived columns of a session, which follow from the rest of its row and from its executions: pure, and the same in any order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime

from records.merge import TERMINAL, Row, as_datetime, as_text, moment, names_in
from records.verdicts import SessionFacts, SiteFacts, judge

OPEN = ("queued", "running", "paused")
"""The states of a session that goes on."""


def settle_execution(execution: Row) -> None:
    """Set the derived columns of a site execution."""
    execution["duration_seconds"] = _seconds(execution["started_at"], execution["completed_at"])


def settle_session(
    session: Row, executions: Sequence[Row], errors: Mapping[tuple[str, str], int] | None = None
) -> None:
    """Set the derived columns of ``session``, and its verdict where it has ended or is stalled.

    ``errors`` counts its errors by (site, type); it is only looked at for a verdict.
    """
    _settle_status(session)
    _settle_totals(session, executions)
    _settle_verdict(session, executions, errors or {})


def heard_from(session: Row) -> None:
    """Lift what the watch said of ``session``: a newer event came."""
    session["stalled_at"] = None
    if session["closed_by"] == "watch":
        session["closed_by"] = None


def _settle_status(session: Row) -> None:
    said, ended = session["reported_status"], session["status_rank"] == TERMINAL
    if ended:
        session["closed_by"], session["stalled_at"] = "scraper", None
    elif session["closed_by"] == "scraper":
        session["closed_by"] = None
    if session["closed_by"] == "watch":
        session["status"] = "failed"
        session["completed_at"] = session["last_event_at"]
    else:
        session["status"] = said or "running"
        session["status_reason"] = session["reported_reason"]
        session["completed_at"] = moment(session["status_at"]) if ended else None
        if said == "queued" and (session["active_at"] or 0) >= session["status_at"]:
            # Work was seen since: it runs, although nobody said that it started.
            session["status"], session["status_reason"] = "running", None
    session["begun_at"] = (
        session["started_at"] or session["queued_at"] or session["last_event_at"] or session["begun_at"]
    )


def _settle_totals(session: Row, executions: Sequence[Row]) -> None:
    jobs = pages = errors = 0
    for execution in executions:
        jobs += _greater(execution["jobs_scraped"], execution["jobs_reported"])
        pages += _greater(execution["pages_processed"], execution["pages_reported"])
        errors += _greater(execution["errors_count"], execution["errors_reported"])
    session["total_jobs_found"] = max(_greater(session["jobs_seen"], session["jobs_reported"]), jobs)
    session["total_pages"] = max(_greater(session["pages_processed"], session["pages_reported"]), pages)
    session["errors_count"] = max(_greater(session["errors_seen"], session["errors_reported"]), errors)
    if session["closed_by"] is None:
        session["duration_seconds"] = None
    else:
        measured = _seconds(session["started_at"], session["completed_at"])
        known = [length for length in (measured, session["duration_reported"]) if length is not None]
        session["duration_seconds"] = max(known, default=None)
    last = _last_attempts(executions)
    names = names_in(session["sites"])
    session["total_sites"] = len(last.keys() | names) if names else len(last)
    ends = [execution["success"] for execution in last.values()]
    session["successful_sites"], session["failed_sites"] = ends.count(1), ends.count(0)


def _greater(seen: int, reported: int | None) -> int:
    return seen if reported is None or reported <= seen else reported


def _settle_verdict(session: Row, executions: Sequence[Row], errors: Mapping[tuple[str, str], int]) -> None:
    if session["closed_by"] is None and session["stalled_at"] is None:
        session["verdict"], session["verdict_evidence"] = None, "[]"
        return
    verdict = judge(_facts(session, executions, errors))
    assert verdict is not None, "it has ended or is stalled"  # noqa: S101
    session["verdict"] = verdict.name
    session["verdict_evidence"] = as_text([asdict(piece) for piece in verdict.evidence])


def _facts(session: Row, executions: Sequence[Row], errors: Mapping[tuple[str, str], int]) -> SessionFacts:
    return SessionFacts(
        status=session["status"],
        reason=session["status_reason"],
        closed_by=session["closed_by"],
        stalled_at=_when(session["stalled_at"]),
        last_event_at=_when(session["last_event_at"]),
        jobs=session["total_jobs_found"],
        jobs_seen=session["jobs_seen"],
        jobs_reported=session["jobs_reported"],
        pages=session["total_pages"],
        pages_seen=session["pages_processed"],
        pages_reported=session["pages_reported"],
        pages_blocked=session["pages_blocked"],
        errors=session["errors_count"],
        error_types=_by_type(errors),
        max_jobs_per_site=session["max_jobs_per_site"],
        sites=_sites(executions, errors),
        declared_sites=names_in(session["sites"]),
    )


def _sites(executions: Sequence[Row], errors: Mapping[tuple[str, str], int]) -> list[SiteFacts]:
    sites = []
    for name, last in sorted(_last_attempts(executions).items()):
        attempts = [execution for execution in executions if execution["site_name"] == name]
        sites.append(
            SiteFacts(
                name=name,
                success=None if last["success"] is None else bool(last["success"]),
                finished=last["completed_at"] is not None,
                jobs=sum(_greater(e["jobs_scraped"], e["jobs_reported"]) for e in attempts),
                pages=sum(_greater(e["pages_processed"], e["pages_reported"]) for e in attempts),
                pages_blocked=sum(e["pages_blocked"] for e in attempts),
                errors={kind: count for (site, kind), count in errors.items() if site == name},
                error_message=last["error_message"],
            )
        )
    return sites


def _by_type(errors: Mapping[tuple[str, str], int]) -> dict[str, int]:
    total: dict[str, int] = {}
    for (_, kind), count in errors.items():
        total[kind] = total.get(kind, 0) + count
    return total


def _last_attempts(executions: Iterable[Row]) -> dict[str, Row]:
    last: dict[str, Row] = {}
    for execution in executions:
        known = last.get(execution["site_name"])
        if known is None or execution["attempt_number"] > known["attempt_number"]:
            last[execution["site_name"]] = execution
    return last


def _seconds(start: str | None, stop: str | None) -> float | None:
    if start is None or stop is None:
        return None
    return max((as_datetime(stop) - as_datetime(start)).total_seconds(), 0.0)


def _when(text: str | None) -> datetime | None:
    return None if text is None else as_datetime(text)
