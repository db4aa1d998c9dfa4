"""Sessions as this process last left them, so that the rows of those at work are not read again with every flush."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from records.merge import Row
from records.rows import Key, Known, Rows
from scrapewatch.problems import StoreUnavailable

MOST_ROWS = 10_000
"""Rows that are remembered, of some 2 KB each."""


@dataclass(slots=True)
class KnownSession(Known):
    """A session with all its executions, by key, as they were at ``version``."""

    version: Any = None
    executions: dict[Key, Known] = field(default_factory=dict)


class KnownSessions:
    """The sessions that were written to of late, with their executions.

    What is remembered is only used while the database says that nobody else wrote to it since (:meth:`records.rows.Rows.lock`), so
    whoever changes executions in another way must touch their session's row, too. One transaction at a time may use it, and
    :meth:`forget_all` must be called when that fails.
    """

    def __init__(self) -> None:
        self._held: dict[Key, KnownSession] = {}

    def claim(
        self, db: Connection, sessions: Rows, executions: Rows, keys: Iterable[Key], first: Mapping[str, Any]
    ) -> dict[Key, KnownSession]:
        """The sessions under ``keys``, locked; those that were not there are made, with the values of ``first``.

        Raises:
            StoreUnavailable: one was deleted meanwhile.
        """
        keys = list(keys)
        sessions.make(db, [key for key in keys if key not in self._held], first)
        versions = sessions.lock(db, keys)
        held = {key: self._held.pop(key, None) for key in keys}
        stale = [key for key, known in held.items() if known is None or known.version != versions.get(key)]
        found = sessions.find(db, stale)
        if len(versions) < len(keys) or len(found) < len(stale):
            raise StoreUnavailable("a record was deleted while it was written to", retry_after=0.1)
        claimed = {key: known for key, known in held.items() if known is not None}
        for key, before in found.items():
            claimed[key] = KnownSession(before, sessions.row(before), versions[key])
        for key, before in executions.find(db, stale).items():
            claimed[key[:2]].executions[key] = Known(before, executions.row(before))
        return claimed

    def keep(self, sessions: Mapping[Key, KnownSession]) -> None:
        """Remember ``sessions`` – the last ones longest – but for those with executions whose ids are not known yet."""
        for key, session in sessions.items():
            if all(execution.before is not None for execution in session.executions.values()):
                self._held[key] = session
        rows = sum(1 + len(session.executions) for session in self._held.values())
        for key in list(self._held):
            if rows <= MOST_ROWS:
                break
            rows -= 1 + len(self._held.pop(key).executions)

    def forget_all(self) -> None:
        """Remember nothing."""
        self._held.clear()


def rows_of(session: KnownSession) -> Sequence[Row]:
    """The executions of ``session``."""
    return [execution.row for execution in session.executions.values()]
