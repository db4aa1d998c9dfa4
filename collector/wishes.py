"""Wishes on the way back to scrapers: the answer to a session's events carries the one for it.

They are read from the records once a second, so that an answer costs no more than a look at a mapping that is nearly always empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from collector.decode import Event
from scrapewatch.wishes import FULFILLED_BY, Wish

EVERY: Final = 1.0
"""Seconds between looks at the records."""

_NOTHING: Final[Mapping[str, str]] = {}


class Wishes:
    """The wishes that wait for their sessions; ``read`` gets them from the records."""

    def __init__(self, read: Callable[[], Sequence[Wish]]) -> None:
        self._read = read
        self._waiting: dict[tuple[str, str], Wish] = {}
        self._done: dict[tuple[str, str], int] = {}

    def refresh(self) -> None:
        """Look at the records, from one thread.

        Raises:
            StoreUnavailable: they do not answer; what was known stays.
        """
        found = {(wish.tenant, wish.session_id): wish for wish in self._read()}
        # The records learn a moment later that a wish was fulfilled.
        self._done = {
            key: at for key, at in self._done.items() if (wish := found.get(key)) and wish.wished_at == at
        }
        self._waiting = {key: wish for key, wish in found.items() if key not in self._done}

    def heed(self, tenant: str, events: Iterable[Event]) -> Mapping[str, str]:
        """The wishes for the sessions of ``events``, which came just now: session → wish. What the events fulfil is none any more."""
        if not self._waiting:
            return _NOTHING
        found: dict[str, str] = {}
        for event in events:
            key = (tenant, event.session_id)
            wish = self._waiting.get(key)
            if wish is None:
                continue
            if wish.wish in FULFILLED_BY.get(event.__struct_config__.tag, ()):
                self._done[key] = wish.wished_at
                self._waiting.pop(key, None)
                found.pop(event.session_id, None)
            else:
                found[event.session_id] = wish.wish
        return found
