"""How many different values of a tag a tenant may use: each is a series in the store, and a store drowns in series.

What was met is kept in memory for one to two days, so that sites which come and go do not use up the limit for good.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from collector.decode import PLANS, Event
from scrapewatch.time import DAY

SESSION: Final = "session_id"

# Texts that are no tags, or are brought to few values before they become one: they are only looked at once.
_NO_TAGS: Final = frozenset({"type", "sites"})
_MOST_REMEMBERED: Final = 10_000


class TagValues:
    """The values of tags of one tenant.

    Args:
        most_values: different values of one tag.
        most_sessions: different sessions.
    """

    def __init__(self, *, most_values: int, most_sessions: int) -> None:
        self._most_values = most_values
        self._most_sessions = most_sessions
        self._since: int | None = None
        self._before: dict[str, set[Any]] = {}
        self._known: dict[str, set[Any]] = {}
        self._plans: dict[type, tuple[tuple[tuple[str, set[Any]], ...], tuple[str, ...]]] = {}
        self._turn({})

    def unknown(self, events: Sequence[Event], now: int) -> list[int]:
        """Which of ``events`` have something that was not met before, or that is not looked at here: see :meth:`admit`."""
        if self._since is None or now - self._since > DAY:
            self._since = now
            self._turn(self._known)
        sessions, plans = self._known[SESSION], self._plans
        found: list[int] = []
        for index, event in enumerate(events):
            names, nested = plans[type(event)]
            if event.session_id in sessions:
                value = event.value
                for name, known in names:
                    if getattr(value, name) not in known:
                        break
                else:
                    for name in nested:
                        if getattr(value, name):
                            break
                    else:
                        continue
            found.append(index)
        return found

    def admit(self, event: Event) -> tuple[str, str] | None:
        """Note the values of ``event``, which is clean; the field at fault and the reason when it has one too many."""
        for tag, value, field in _values(event):
            known = self._known.setdefault(tag, {None})
            if value in known:
                continue
            if tag in _NO_TAGS:
                if len(known) < _MOST_REMEMBERED:
                    known.add(value)
                continue
            most = self._most_sessions if tag == SESSION else self._most_values
            before = self._before.get(tag, set())
            # None, which is no value, is in every set.
            if value not in before and len(known) + len(before) > most and len(known | before) > most:
                return field, f"has more than {most} different values; use few, and put what varies elsewhere"
            known.add(value)
        return None

    def _turn(self, before: dict[str, set[Any]]) -> None:
        self._before = before
        self._known = {name: {None} for names, _ in PLANS.values() for name in names}
        self._known[SESSION] = {None}
        self._plans = {
            kind: (tuple((name, self._known[name]) for name in names), nested)
            for kind, (names, nested) in PLANS.items()
        }


def _values(event: Event) -> Iterator[tuple[str, Any, str]]:
    """Tag, value and field of all that becomes a tag."""
    yield SESSION, event.session_id, SESSION
    value = event.value
    names, nested = PLANS[type(event)]
    for name in names:
        yield name, getattr(value, name), f"value.{name}"
    for name in nested:
        found = getattr(value, name)
        if name == "labels" and found:
            yield name, ",".join(f"{key}={label}" for key, label in sorted(found.items())), "value.labels"
        elif name == "field_coverage":
            for key in found:
                yield name, key, "value.field_coverage"
        elif name == "disks":
            for disk in found:
                yield name, disk.mount, "value.disks"
        elif name == "interfaces":
            for interface in found:
                yield name, interface.name, "value.interfaces"
