"""What clients ask to be told: in the query of an address, or by messages over a WebSocket. Nothing here echoes input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from api.live.stream import CHANNELS, Interest, Want
from scrapewatch.events import METRICS
from scrapewatch.problems import InvalidInput

DEFAULT: Final = "sessions,system,alerts"
"""The channels of who names none: all but the flood of single events."""

MOST_WANTS: Final = 50
"""Subscriptions of one client."""

_LONGEST: Final = 200
_KEYS: Final = ("session_id", "site", "metric")


def interest_of(query: Mapping[str, str]) -> Interest:
    """What the parameters ``channels`` (by commas), ``session_id``, ``site`` and ``metric`` ask for.

    Raises:
        InvalidInput: they ask for nothing that there is.
    """
    narrowed = {key: query[key] for key in _KEYS if query.get(key)}
    named = query.get("channels", "events" if "metric" in narrowed else DEFAULT)
    channels = [name.strip() for name in named[: 10 * _LONGEST].split(",") if name.strip()]
    return Interest(frozenset(_want(channel, narrowed, "query.channels") for channel in channels))


def changed(interest: Interest, asked: Mapping[str, Any]) -> Interest:
    """``interest`` after the message ``asked``: ``subscribe`` or ``unsubscribe`` with a ``channel`` and what narrows it.

    Raises:
        InvalidInput: it asks for nothing that there is, or for too much.
    """
    want = _want(asked.get("channel"), asked, "channel")
    if asked["type"] == "subscribe":
        wants = interest.wants | {want}
    elif want == Want(want.channel):
        wants = frozenset(known for known in interest.wants if known.channel != want.channel)
    else:
        wants = interest.wants - {want}
    if len(wants) > MOST_WANTS:
        raise InvalidInput(f"a client may have {MOST_WANTS} subscriptions", "channel")
    return Interest(wants)


def as_json(interest: Interest) -> list[dict[str, str]]:
    """The subscriptions of ``interest``, sorted."""
    told = []
    for want in interest.wants:
        narrowed = {key: value for key in _KEYS if (value := getattr(want, key)) is not None}
        told.append({"channel": want.channel, **narrowed})
    return sorted(told, key=lambda each: (CHANNELS.index(each["channel"]), list(each.items())))


def said(text: str | None) -> Mapping[str, Any]:
    """What a client says: the object in ``text``, or an empty one. The bare text ``ping`` is a ping, too."""
    if text is None or len(text) > 10 * _LONGEST:
        return {}
    if text == "ping":
        return {"type": "ping"}
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _want(channel: Any, asked: Mapping[str, Any], field: str) -> Want:
    """The subscription to ``channel``, narrowed by what of ``asked`` it can be narrowed by."""
    if channel not in CHANNELS:
        raise InvalidInput(f"a channel is one of {', '.join(CHANNELS)}", field)
    narrowed: dict[str, str] = {}
    for key in _KEYS:
        value = asked.get(key)
        if value is None or channel == "system" or (key == "metric" and channel != "events"):
            continue
        if not isinstance(value, str) or not 1 <= len(value) <= _LONGEST:
            raise InvalidInput(f"must be a text of 1 to {_LONGEST} characters", key)
        narrowed[key] = value
    if narrowed.get("metric", METRICS[0]) not in METRICS:
        raise InvalidInput("is no metric; docs/events.md lists them", "metric")
    return Want(channel, **narrowed)
