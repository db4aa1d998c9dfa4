"""Small flushes to apply, and the rows that they leave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, select

from records.engine import reading
from records.models import Base
from scrapewatch.measurements import Tier
from scrapewatch.ports import RecordChanges, RowChange
from scrapewatch.time import SECOND

NOON = 1_767_614_400 * SECOND
"""2026-01-05T12:00:00Z."""

TABLES = ("scrape_sessions", "site_executions", "error_groups", "job_postings")

RANKS = {"queued": 0, "running": 1, "paused": 2, "resumed": 3, "completed": 4, "failed": 4, "cancelled": 4}


def at(seconds: float) -> int:
    """Nanoseconds at so many seconds after noon."""
    return NOON + round(seconds * SECOND)


def session(
    session_id: str = "s1",
    seconds: float = 0,
    state: str | None = None,
    reason: str | None = None,
    **rules: Any,
) -> RowChange:
    """An event of a session: a change to ``state``, or an ordinary one; ``rules`` as those of RowChange."""
    time = at(seconds)
    status = "running" if state in (None, "resumed") else state
    opened = "queued_at" if state == "queued" else "started_at"
    return RowChange(
        "scrape_sessions",
        {"session_id": session_id},
        add={"events": 1} | rules.pop("add", {}),
        least={opened: time},
        most={"last_event_at": time} | rules.pop("most", {}),
        states=[[time, -1 if state is None else RANKS[state], status, reason]],
        **rules,
    )


def execution(site: str = "indeed", attempt: int = 1, session_id: str = "s1", **rules: Any) -> RowChange:
    """What happened at an attempt at a site."""
    key = {"session_id": session_id, "site_name": site, "attempt_number": attempt}
    return RowChange("site_executions", key, **rules)


def finished(site: str = "indeed", seconds: float = 60, success: bool = True, **rules: Any) -> RowChange:
    """An attempt at a site ended."""
    latest = {"success": [at(seconds), success]} | rules.pop("latest", {})
    return execution(
        site, least={"started_at": at(0)}, most={"completed_at": at(seconds)}, latest=latest, **rules
    )


def error(kind: str, count: int = 1, site: str = "indeed", session_id: str = "s1") -> RowChange:
    """Errors of one kind."""
    return RowChange(
        "error_groups",
        {"session_id": session_id, "site_name": site, "fingerprint": f"{kind:0>64}"},
        add={"count": count},
        least={"first_seen": at(1)},
        most={"last_seen": at(2)},
        once={"type": kind, "message": f"{kind} happened", "url": "https://example.org/"},
    )


def changes(
    *rows: RowChange,
    tenant: str = "t",
    source: str | None = None,
    windows: Mapping[Tier, Sequence[int]] | None = None,
) -> list[RecordChanges]:
    """One tenant's share of a flush."""
    return [RecordChanges(tenant, source, rows, windows or {})]


@dataclass(frozen=True)
class Rows:
    """What a tenant has: table → rows by column, in the order of their keys, without ids and tenant."""

    tables: Mapping[str, list[dict[str, Any]]]

    def one(self, table: str = "scrape_sessions") -> dict[str, Any]:
        """The only row of ``table``."""
        (row,) = self.tables[table]
        return row


def rows_of(engine: Engine, tenant: str = "t", tables: Iterable[str] = TABLES) -> Rows:
    """The rows of ``tenant``."""
    found = {}
    with reading(engine) as db:
        for name in tables:
            table = Base.metadata.tables[name]
            rows = [dict(row) for row in db.execute(select(table).where(table.c.tenant == tenant)).mappings()]
            for row in rows:
                del row["id"], row["tenant"]
            order = [
                column
                for column in ("session_id", "site_name", "attempt_number", "fingerprint")
                if column in table.c
            ]
            found[name] = sorted(rows, key=lambda row: [str(row[column]) for column in order])
    return Rows(found)
