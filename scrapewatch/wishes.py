"""What users wish scrapers to do with a session: the answer to its next events tells, until it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

ENDED: Final = frozenset({"completed", "failed", "cancelled"})
"""Statuses of sessions that no wish can change any more, and that fulfil any."""

STATUS_WISHED: Final[Mapping[str, str]] = {"pause": "paused", "resume": "running", "cancel": "cancelled"}
"""Wish → the status that fulfils it."""

FULFILLED_BY: Final[Mapping[str, frozenset[str]]] = {
    "session_started": frozenset({"resume"}),
    "session_resumed": frozenset({"resume"}),
    "session_paused": frozenset({"pause"}),
    "session_finished": frozenset(STATUS_WISHED),
}
"""Metric of an event → the wishes that it fulfils."""


@dataclass(frozen=True, slots=True)
class Wish:
    """The ``wish`` (pause, resume, cancel) for a session; ``wished_at`` in ns tells it from others."""

    tenant: str
    session_id: str
    wish: str
    wished_at: int


def is_fulfilled(wish: str, status: str | None) -> bool:
    """Whether a session of ``status`` (None: there is none any more) leaves nothing of ``wish`` to be done."""
    return status is None or status in ENDED or status == STATUS_WISHED[wish]
