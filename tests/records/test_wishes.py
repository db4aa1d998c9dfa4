"""Wishes for sessions in the records: the newest is kept until the session is what was wished."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from records.queries import RecordQueries
from records.store import SqlRecords
from records.wishes import make, pending
from scrapewatch.problems import Conflict, NotFound
from tests.records.flushes import RANKS, changes, session

FLUSHES = iter(range(1, 1_000))


def become(records: SqlRecords, state: str | None, *, session_id: str = "s1") -> None:
    """Let a session of the tenant ``t`` report a state, later than those before."""
    number = next(FLUSHES)
    assert records.apply(records.lease_collector("a"), number, changes(session(session_id, number, state)))


def wishes(records: SqlRecords) -> list[tuple[str, str, str]]:
    return [(wish.tenant, wish.session_id, wish.wish) for wish in records.wishes()]


@pytest.fixture
def tenant(records: SqlRecords) -> str:
    """The tenant of a session ``s1`` that runs."""
    become(records, None)
    return changes(session())[0].tenant


@pytest.mark.parametrize(
    ("wish", "others", "state"),
    [
        ("pause", ["queued", "resumed"], "paused"),
        ("cancel", ["paused", "resumed"], "cancelled"),
        ("pause", [], "completed"),
        ("cancel", [], "failed"),
    ],
)
def test_a_wish_waits_until_the_session_is_so_or_ended(
    records: SqlRecords, engine: Engine, tenant: str, wish: str, others: list[str], state: str
) -> None:
    assert state in RANKS
    assert make(engine, tenant, "s1", wish) is not None
    for other in others:
        become(records, other)
        assert wishes(records) == [(tenant, "s1", wish)]
    assert RecordQueries(engine).session(tenant, "s1").wish == wish
    become(records, state)
    assert wishes(records) == []
    assert RecordQueries(engine).session(tenant, "s1").wish is None


def test_a_newer_wish_takes_the_place_of_an_older_and_the_same_again_changes_nothing(
    records: SqlRecords, engine: Engine, tenant: str
) -> None:
    first = make(engine, tenant, "s1", "pause")
    assert make(engine, tenant, "s1", "pause") == first
    second = make(engine, tenant, "s1", "cancel")
    assert first is not None and second is not None and second.wished_at > first.wished_at
    assert pending(engine) == [second]


def test_who_wishes_what_is_so_takes_the_other_wish_back(
    records: SqlRecords, engine: Engine, tenant: str
) -> None:
    assert make(engine, tenant, "s1", "pause") is not None
    assert make(engine, tenant, "s1", "resume") is None
    assert wishes(records) == []


def test_a_session_that_is_not_known_or_has_ended_cannot_be_wished_for(
    records: SqlRecords, engine: Engine, tenant: str
) -> None:
    for other, session_id in ((tenant, "s2"), ("another", "s1"), (tenant, "s1\0")):
        with pytest.raises(NotFound):
            make(engine, other, session_id, "pause")
    become(records, "completed")
    with pytest.raises(Conflict, match="it is completed"):
        make(engine, tenant, "s1", "cancel")
