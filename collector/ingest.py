"""Ingest: a request's body becomes valid events, and for each of the others the reason why it is none. Nothing here echoes input."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import orjson
from pydantic import ValidationError

from collector.cardinality import TagValues
from collector.decode import Event, decode, from_model, is_clean, take_times
from scrapewatch.events import FIELD_NAMES, validate
from scrapewatch.measurements import LIVE_AGE
from scrapewatch.problems import InvalidInput
from scrapewatch.time import DAY, MINUTE

AHEAD_ALLOWED: Final = 5 * MINUTE
"""How far a scraper's clock may be ahead."""

OLDEST_HISTORY: Final = 50 * 365 * DAY


class MalformedBody(InvalidInput):
    """The body is not JSON at all."""


class TooManyEvents(InvalidInput):
    """The body has more events than a request may have."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """An item that was not accepted: its ``index`` in the body, the ``field`` at fault and the ``reason``."""

    index: int
    field: str
    reason: str

    def as_json(self) -> dict[str, Any]:
        """As the answer shows it."""
        return {"index": self.index, "field": self.field, "reason": self.reason}


class Sifted(msgspec.Struct, frozen=True):
    """The items of a request: valid ``events`` with their ``times`` (ns), and the others."""

    events: Sequence[Event]
    times: Sequence[int]
    rejected: Sequence[Rejection]


def parse(body: bytes) -> list[Any]:
    """The items of a body: a JSON array, or one object.

    What strict JSON forbids inside an item (NaN, numbers beyond range, half surrogate pairs) is let through here, so that only that
    item is rejected, and not its neighbours.

    Raises:
        MalformedBody: it is not JSON in UTF-8, is nested too deeply, or has an integer of thousands of digits.
    """
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            found = json.loads(body.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise MalformedBody("the body is not UTF-8") from error
        except json.JSONDecodeError as error:
            raise MalformedBody(
                f"the body is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
            ) from error
        except (RecursionError, ValueError) as error:
            raise MalformedBody(
                "the body is nested too deeply or has a number of thousands of digits"
            ) from error
    return found if isinstance(found, list) else [found]


def parse_lines(body: bytes) -> list[Any]:
    """The items of a body of NDJSON: one a line, blank lines passed over.

    Raises:
        MalformedBody: a line is not JSON; says which.
    """
    items: list[Any] = []
    for number, line in enumerate(body.split(b"\n"), start=1):
        if not line or line.isspace():
            continue
        try:
            (item,) = parse(b"[" + line + b"]")
        except MalformedBody as error:
            raise MalformedBody(f"line {number}: {error}") from error
        except ValueError as error:
            raise MalformedBody(f"line {number} is not one JSON value") from error
        items.append(item)
    return items


def sift(
    body: bytes,
    values: TagValues,
    *,
    received_at: int,
    backfill: bool = False,
    lines: bool = False,
    most: int = 10_000,
) -> Sifted:
    """The valid events of ``body`` with their times, and why its other items are none.

    An event without a time gets ``received_at`` (ns). A time more than five minutes ahead is rejected, and so is one older than a week
    unless ``backfill``. ``values`` are the tags' values that the tenant uses.

    Raises:
        MalformedBody: it is not JSON (with ``lines``: one value a line).
        TooManyEvents: it has more than ``most``.
    """
    oldest = received_at - (OLDEST_HISTORY if backfill else LIVE_AGE)
    events = decode(body, lines=lines)
    if events is not None:
        check_number(len(events), most)
        times = _times(events, received_at, oldest)
        if times is not None:
            unknown = values.unknown(events, received_at)
            if all(is_clean(events[index].value) for index in unknown):
                return _admit(Sifted(events, times, []), range(len(events)), unknown, values)
    items = parse_lines(body) if lines else parse(body)
    check_number(len(items), most)
    return sift_items(items, values, received_at=received_at, backfill=backfill)


def sift_items(
    items: Sequence[Any], values: TagValues, *, received_at: int, backfill: bool = False
) -> Sifted:
    """The same for items that are Python objects already, one by one and by the models of :mod:`scrapewatch.events`."""
    events: list[Event] = []
    times: list[int] = []
    places: list[int] = []
    rejected: list[Rejection] = []
    oldest = received_at - (OLDEST_HISTORY if backfill else LIVE_AGE)
    for index, item in enumerate(items):
        try:
            event = validate(item)
        except ValidationError as error:
            rejected.append(_rejection(index, error))
            continue
        time = received_at if event["time"] is None else event["time"]
        reason = None
        if time > received_at + AHEAD_ALLOWED:
            reason = "is more than 5 minutes ahead; check the clock of the scraper's machine"
        elif time < oldest:
            reason = (
                "is older than 50 years"
                if backfill
                else "is older than 7 days; send history with ?backfill=true"
            )
        if reason is not None:
            rejected.append(Rejection(index, "timestamp", reason))
            continue
        events.append(from_model(event))
        times.append(time)
        places.append(index)
    unknown = values.unknown(events, received_at)
    return _admit(Sifted(events, times, rejected), places, unknown, values)


def check_number(found: int, most: int) -> None:
    """Pass a number of events that a request may have.

    Raises:
        TooManyEvents: ``found`` is more than ``most``.
    """
    if found > most:
        raise TooManyEvents(f"the body has {found} events; send up to {most} at once")


def _times(events: Sequence[Event], received_at: int, oldest: int) -> list[int] | None:
    """The time of each event; None when one is out of the range in which times are taken."""
    times = take_times(events, received_at)
    if times and (min(times) < oldest or max(times) > received_at + AHEAD_ALLOWED):
        return None
    return times


def _admit(sifted: Sifted, places: Sequence[int], unknown: Sequence[int], values: TagValues) -> Sifted:
    """``sifted`` without those that have a value of a tag too many; ``places`` are where the events stood in the body."""
    refused: dict[int, Rejection] = {}
    for index in unknown:
        refusal = values.admit(sifted.events[index])
        if refusal is not None:
            refused[index] = Rejection(places[index], *refusal)
    if not refused:
        return sifted
    kept = [index for index in range(len(sifted.events)) if index not in refused]
    return Sifted(
        [sifted.events[index] for index in kept],
        [sifted.times[index] for index in kept],
        sorted([*sifted.rejected, *refused.values()], key=lambda rejection: rejection.index),
    )


def _rejection(index: int, error: ValidationError) -> Rejection:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    kind: str = first["type"]
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return Rejection(index, "metric", "is no type of event; docs/events.md lists them")
    if not first["loc"]:
        return Rejection(index, "", "is no JSON object")
    # The first part is the tag of the union; a key of a mapping is input, and is not echoed.
    path = [str(part) for part in first["loc"][1:] if isinstance(part, int) or part in FIELD_NAMES]
    return Rejection(index, ".".join(path), str(first["msg"]).removeprefix("Value error, "))
