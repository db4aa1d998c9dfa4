"""Decoding on the fast path: a body's bytes become event structs in one step, without a Python object more than is kept.

The structs are made from the models of :mod:`scrapewatch.events`, field by field and bound by bound, so there is one schema. They are the
form of an event from here to the fold. What they do not take as a whole (a name with spaces around it, a number for a time, anything
invalid) is no error here: the models decide, item by item, and say what is wrong. So the two cannot differ, as long as whatever the
structs take is what the models make of it – which a property test holds them to.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import annotated_types
import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, StringConstraints
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from scrapewatch.events import TYPES, Described
from scrapewatch.time import to_datetime, to_ns

Event = Any
"""A struct of :data:`STRUCTS`: ``session_id``, ``timestamp``, ``event_id`` and ``value``, itself a struct with the model's fields.

In the spool also a text: a line that passes through as it came (:mod:`collector.external`). Those have no times beside them.
"""

IN_ONE_GO: Final = 256_000
"""Bytes up to which a body is decoded in one step. It holds the interpreter: a larger one belongs on a thread, and others get turns."""

_PLAIN: Final = frozenset({str, int, float, bool})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_YEARS: Final = range(1900, 2200)  # what 64 bits of nanoseconds since 1970 hold, as in the models

# What a model checks beyond bounds, and how it is met here: a text with a NUL is seen in the body's bytes, half surrogate pairs are no
# JSON for msgspec, moments are read by the same parser and checked below, a number for an error's type is left to the model.
_MET_OTHERWISE: Final = frozenset({"_plain", "_moment", "_utc", "_error_type"})


def _bounds(found: Sequence[Any]) -> tuple[dict[str, Any], bool]:
    """Bounds for msgspec out of pydantic's metadata, and whether the text is stripped.

    Raises:
        TypeError: a constraint is not known here: the structs would take what the models refuse.
    """
    bounds: dict[str, Any] = {}
    stripped = False
    for item in found:
        match item:
            case FieldInfo():
                inner, inner_stripped = _bounds(item.metadata)
                bounds |= inner
                stripped |= inner_stripped
            case StringConstraints():
                bounds |= {
                    name: value
                    for name in ("min_length", "max_length")
                    if (value := getattr(item, name)) is not None
                }
                stripped |= bool(item.strip_whitespace)
            case annotated_types.Ge():
                bounds["ge"] = item.ge
            case annotated_types.Le():
                bounds["le"] = item.le
            case annotated_types.MinLen():
                bounds["min_length"] = item.min_length
            case annotated_types.MaxLen():
                bounds["max_length"] = item.max_length
            case BeforeValidator() | AfterValidator() if getattr(item.func, "__name__", "") in _MET_OTHERWISE:
                pass
            case Described():
                pass
            case _ if type(item).__name__ in ("Strict", "AllowInfNan", "_PydanticGeneralMetadata"):
                pass  # msgspec is strict, and JSON has no infinity
            case _:
                raise TypeError(
                    f"{item!r} is no constraint that the fast path knows: teach it, or it takes too much"
                )
    return bounds, stripped


_made: dict[type[BaseModel], type[msgspec.Struct]] = {}
_stripped: dict[type[msgspec.Struct], list[str]] = {}
_moments: dict[type[msgspec.Struct], list[str]] = {}


def _type_of(annotation: Any, metadata: Sequence[Any], stripped: list[bool]) -> Any:
    """The type for msgspec; notes in ``stripped`` whether a text in it would be stripped."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _type_of(arguments[0], [*arguments[1:], *metadata], stripped)
    if origin in (typing.Union, types.UnionType):
        inner = [None if part is types.NoneType else _type_of(part, metadata, stripped) for part in arguments]
        return typing.Union[tuple(inner)]  # noqa: UP007 - made at run time
    if origin in (list, dict):
        annotation = origin[tuple(_type_of(part, (), stripped) for part in arguments)]
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _struct(annotation)
    bounds, strips = _bounds(metadata)
    stripped.append(strips)
    return Annotated[annotation, msgspec.Meta(**bounds)] if bounds else annotation


def _struct(model: type[BaseModel], **options: Any) -> type[msgspec.Struct]:
    """The struct of ``model``: fields of the same names, types, bounds and defaults."""
    if model in _made:
        return _made[model]
    fields: list[Any] = []
    names: list[str] = []
    moments: list[str] = []
    for name, field in model.model_fields.items():
        if name == "metric":
            continue  # the tag
        stripped: list[bool] = []
        kind = _type_of(field.annotation, field.metadata, stripped)
        if any(stripped):
            names.append(name)
        if datetime in (kind, *typing.get_args(kind)):
            moments.append(name)
        if field.default_factory is not None:
            empty: Any = field.default_factory
            if isinstance(empty, type) and issubclass(empty, BaseModel):
                empty = _struct(empty)
            fields.append((name, kind, msgspec.field(default_factory=empty)))
        elif field.default is PydanticUndefined:
            fields.append((name, kind))
        else:
            fields.append((name, kind, field.default))
    made = msgspec.defstruct(
        model.__name__,
        fields,
        kw_only=True,
        omit_defaults=True,
        gc=False,
        eq=True,
        module=__name__,
        **options,
    )
    _made[model] = made
    _stripped[made] = names
    _moments[made] = moments
    return made


def _metric(model: type[BaseModel]) -> str:
    return str(typing.get_args(model.model_fields["metric"].annotation)[0])


STRUCTS: Final[Mapping[str, type[msgspec.Struct]]] = {
    _metric(model): _struct(model, tag_field="metric", tag=_metric(model)) for model in TYPES
}
"""The struct of each event type, by its name."""

METRIC_OF: Final[Mapping[type, str]] = {struct: metric for metric, struct in STRUCTS.items()}
"""The name of an event's type."""

_union: Any = typing.Union[tuple(STRUCTS.values())]  # noqa: UP007 - made at run time
_list = msgspec.json.Decoder(list[_union])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_one = msgspec.json.Decoder(_union)
_unpacker = msgspec.msgpack.Decoder(tuple[list[int], list[_union | str]])
_packer = msgspec.msgpack.Encoder()

_VALUES: Final[Mapping[type, type[msgspec.Struct]]] = {
    struct: typing.get_type_hints(struct)["value"] for struct in STRUCTS.values()
}


def _plan(value: type[msgspec.Struct]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    hints = typing.get_type_hints(value)
    nested = {
        name
        for name, kind in hints.items()
        if any(_is_nested(part) for part in (kind, *typing.get_args(kind)))
    }
    nested.update(_moments[value])
    return tuple(name for name in _stripped[value] if name not in nested), tuple(sorted(nested))


def _is_nested(kind: Any) -> bool:
    if typing.get_origin(kind) is Annotated:
        kind = typing.get_args(kind)[0]
    return typing.get_origin(kind) in (list, dict) or (
        isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    )


PLANS: Final[Mapping[type, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    struct: _plan(value) for struct, value in _VALUES.items()
}
"""For each type of event the fields of its value that are names, and those that hold more than one thing or a moment."""


def is_clean(value: Any) -> bool:
    """Whether the models would take what stands in a struct as it is: names without spaces around them, moments within range."""
    kind = type(value)
    for name in _stripped[kind]:
        if not _is_clean_name(getattr(value, name)):
            return False
    for name in _moments[kind]:
        moment = getattr(value, name)
        if moment is not None and moment.year not in _YEARS:
            return False
    for name in kind.__struct_fields__:
        found = getattr(value, name)
        for part in found if isinstance(found, list) else (found,):
            if isinstance(part, msgspec.Struct) and not is_clean(part):
                return False
    return True


def _is_clean_name(found: Any) -> bool:
    if isinstance(found, str):
        return bool(found) and not (found[0].isspace() or found[-1].isspace()) and found == found.strip()
    if isinstance(found, dict):
        return all(_is_clean_name(part) for item in found.items() for part in item)
    return all(_is_clean_name(part) for part in found) if isinstance(found, list) else True


def decode(body: bytes, *, lines: bool = False) -> list[Event] | None:
    """The events of ``body``, a JSON list or one object, or with ``lines`` one object a line; None: look at it item by item."""
    if b"\\u0000" in body or not _is_utf8(body):
        return None
    try:
        if lines:
            return [_one.decode(line) for line in body.split(b"\n") if line and not line.isspace()]
        if body[:1] == b"{":
            return [_one.decode(body)]
        if len(body) > IN_ONE_GO:
            return [_one.decode(item) for item in _items.decode(body)]
        return _list.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _is_utf8(body: bytes) -> bool:
    # msgspec does not look into what it skips.
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def from_model(event: Mapping[str, Any]) -> Event:
    """The struct of an event that the models took (see :func:`scrapewatch.events.validate`)."""
    value = dict(event["value"])
    if "last_failure_time" in value:
        value["last_failure_time"] = to_datetime(value["last_failure_time"])
    if "posted_at" in value.get("job", ()):
        value["job"] = {**value["job"], "posted_at": to_datetime(value["job"]["posted_at"])}
    return msgspec.convert(
        {
            "metric": event["metric"],
            "session_id": event["session_id"],
            "event_id": event["event_id"],
            "value": value,
        },
        _union,
    )


def pack(times: Sequence[int], events: Sequence[Event]) -> bytes:
    """Events and their times as the spool keeps them."""
    return _packer.encode((times, events))


def unpack(packed: bytes) -> tuple[list[int], list[Event]]:
    """What :func:`pack` made.

    Raises:
        msgspec.MsgspecError: it made none such.
    """
    return _unpacker.decode(packed)


def are_lines(events: Sequence[Event]) -> bool:
    """Whether ``events``, which came together, are lines that pass through."""
    return len(events) > 0 and type(events[0]) is str


def as_message(tenant: str, event: Event, time: int) -> dict[str, Any]:
    """``event`` as the live hub publishes it: JSON values (``time`` in ns, moments as RFC 3339), without what is not known."""
    value: dict[str, Any] = {}
    read = event.value
    for name in read.__struct_fields__:
        found = getattr(read, name)
        if type(found) in _PLAIN:
            value[name] = found
        elif found is not None and found != [] and found != {}:
            value[name] = msgspec.to_builtins(found)
    return {
        "tenant": tenant,
        "session_id": event.session_id,
        "metric": METRIC_OF[type(event)],
        "value": value,
        "time": time,
        "event_id": event.event_id,
    }


def take_times(events: Sequence[Event], missing: int) -> list[int]:
    """The time of each of ``events`` in ns, ``missing`` where it has none; it is in them no more, so that it is kept only once."""
    times: list[int] = []
    for event in events:
        moment = event.timestamp
        if moment is None:
            times.append(missing)
            continue
        event.timestamp = None
        if moment.tzinfo is UTC:
            since = moment - _EPOCH
            times.append(
                since.days * 86_400_000_000_000 + since.seconds * 1_000_000_000 + since.microseconds * 1_000
            )
        else:
            times.append(time_of(moment))
    return times


def time_of(moment: datetime) -> int:
    """``moment`` in ns; UTC where it names no zone."""
    return to_ns(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
