"""The fast path takes nothing that the models would refuse, and makes of it what they make of it."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector.cardinality import TagValues
from collector.decode import METRIC_OF, STRUCTS, as_message, decode, is_clean, pack, time_of, unpack
from collector.ingest import MalformedBody, Sifted, TooManyEvents, parse, parse_lines, sift, sift_items
from scrapewatch import examples
from scrapewatch.events import METRICS, TYPES
from scrapewatch.time import DAY, SECOND, to_rfc3339

NOW = 1_800_000_000 * SECOND
MODELS = dict(zip(METRICS, TYPES, strict=True))


def values() -> TagValues:
    return TagValues(most_values=10**6, most_sessions=10**6)


# --- bodies that are nearly events

texts = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            "indeed",
            " indeed",
            "indeed\t",
            "\u2003x",
            "a\u0000b",
            "x" * 100,
            "x" * 101,
            "x" * 501,
            "😀" * 100,
        ]
    ),
    st.text(max_size=8),
)
numbers = st.one_of(
    st.integers(-2, 1_000),
    st.sampled_from(
        [10**12, 10**12 + 1, 10**19, 10**400, 0.0, -0.0, 1.0, 1.5, 1e15, 1e16, 1e300, 5e-324, True]
    ),
    st.floats(allow_nan=True),
)
moments = st.one_of(
    st.integers(NOW - 60 * SECOND, NOW).map(to_rfc3339),
    st.sampled_from(
        [
            "2027-01-15T07:59:00.123456789Z",
            "2027-01-15T07:59:00.9999999Z",
            "2027-01-15T07:59:00",
            "2027-01-15 07:59:00+01:00",
            "2027-01-15T07:59Z",
            "2027-01-15",
            "1800000000",
            "0001-01-01T00:00:00+23:00",
            "2600-01-01T00:00:00Z",
            "not a time",
            1_799_999_990,
            1_799_999_990.5,
            True,
            None,
        ]
    ),
)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts, moments),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@st.composite
def nearly_events(draw: st.DrawFn) -> dict[str, Any]:
    """An example of the documentation with a few things changed."""
    metric = draw(st.sampled_from(METRICS))
    event = json.loads(json.dumps(examples.EVENTS[metric]))
    event["timestamp"] = draw(moments) if draw(st.booleans()) else None
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.sampled_from(["event", "value", "value"]))
        into = event if place == "event" else event.get("value")
        if not isinstance(into, dict):
            continue
        known = list(MODELS[metric].model_fields) if place == "event" else _fields_of(metric)
        name = draw(st.sampled_from([*known, "unheard_of"]))
        if name == "metric":
            continue
        if draw(st.integers(0, 4)) == 0:
            into.pop(name, None)
        else:
            into[name] = draw(st.one_of(texts, numbers, moments, anything))
    return dict(event)


def _fields_of(metric: str) -> list[str]:
    value: Any = MODELS[metric].model_fields["value"].annotation
    return list(value.model_fields)


def as_json(items: Any) -> bytes:
    # Python writes what JSON does not know (NaN, half surrogate pairs), as careless senders do.
    return json.dumps(items, ensure_ascii=True).encode()


def shown(sifted: Sifted) -> Any:
    return (
        [as_message("t", event, time) for event, time in zip(sifted.events, sifted.times, strict=True)],
        sifted.rejected,
    )


def by_the_models(body: bytes, *, backfill: bool) -> Any:
    return shown(sift_items(parse(body), values(), received_at=NOW, backfill=backfill))


@settings(max_examples=600, deadline=None)
@given(st.lists(nearly_events(), max_size=3), st.booleans())
@example([{"session_id": "s", "metric": "job_scraped", "value": {"site": "a", "count": 1.0}}], False)
@example([{"session_id": "s", "metric": "job_scraped", "value": {"site": " a"}}], False)
@example([{"session_id": "a\0b", "metric": "job_scraped", "value": {"site": "a"}}], False)
@example([{"session_id": "\ud800", "metric": "job_scraped", "value": {"site": "a"}}], False)
def test_the_fast_path_takes_and_refuses_what_the_models_do(events: list[Any], backfill: bool) -> None:
    body = as_json(events)
    found = shown(sift(body, values(), received_at=NOW, backfill=backfill))
    assert found == by_the_models(body, backfill=backfill)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(nearly_events(), anything), max_size=3))
def test_lines_are_taken_as_a_list_is(items: list[Any]) -> None:
    body = b"\n".join(as_json(item) for item in items)
    found = shown(sift(body, values(), received_at=NOW, lines=True))
    assert found == shown(sift_items(parse_lines(body), values(), received_at=NOW))


@settings(max_examples=500, deadline=None)
@given(nearly_events(), st.data())
def test_bytes_that_were_tampered_with_are_taken_by_both_or_by_neither(
    event: Any, data: st.DataObject
) -> None:
    body = bytearray(as_json([event]))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        what = data.draw(
            st.sampled_from(
                [b"", b"\xff", b"\xed\xa0\x80", b"\\", b'"', b"{", b"}", b",", b"0", b"\n", b"\x00", b"[]"]
            )
        )
        body[place : place + data.draw(st.integers(0, 2))] = what
    try:
        expected = by_the_models(bytes(body), backfill=False)
    except MalformedBody:
        with pytest.raises(MalformedBody):
            sift(bytes(body), values(), received_at=NOW)
        return
    assert shown(sift(bytes(body), values(), received_at=NOW)) == expected


@pytest.mark.parametrize("metric", METRICS)
def test_every_example_of_the_documentation_takes_the_fast_path(metric: str) -> None:
    body = orjson.dumps([examples.EVENTS[metric]])
    (event,) = decode(body) or [None]
    assert METRIC_OF[type(event)] == metric
    assert is_clean(event.value)
    assert set(STRUCTS[metric].__struct_fields__) | {"metric"} == set(MODELS[metric].model_fields)


def test_keys_that_nobody_knows_do_not_leave_the_fast_path() -> None:
    body = b'[{"session_id":"s","metric":"job_scraped","extra":{"a":[1,{}]},"value":{"site":"a","shade":"\\u00fc\xc3\xbc"}}]'
    assert decode(body) is not None
    assert decode(body.replace(b"\xc3\xbc", b"\xff")) is None


@given(st.lists(nearly_events(), max_size=5))
@settings(max_examples=100, deadline=None)
def test_what_the_spool_packs_is_what_it_unpacks(events: list[Any]) -> None:
    sifted = sift(as_json(events), values(), received_at=NOW)
    times, back = unpack(pack(sifted.times, sifted.events))
    assert (times, back) == (list(sifted.times), list(sifted.events))


def test_a_time_without_a_zone_is_utc_and_a_far_one_is_refused() -> None:
    event = {
        "session_id": "s",
        "metric": "job_scraped",
        "value": {"site": "a"},
        "timestamp": "2027-01-15T07:59:00",
    }
    (found,) = decode(as_json([event])) or [None]
    assert time_of(found.timestamp) == NOW - 60 * SECOND
    late = sift(as_json([event]), values(), received_at=NOW + 8 * DAY)
    assert not late.events and late.rejected[0].field == "timestamp"


def test_too_many_events_are_refused_as_a_whole() -> None:
    body = as_json([{"session_id": "s", "metric": "job_scraped", "value": {"site": "a"}}] * 3)
    with pytest.raises(TooManyEvents, match="send up to 2"):
        sift(body, values(), received_at=NOW, most=2)


# --- values of tags


def job(site: str, session: str = "s") -> dict[str, Any]:
    return {"session_id": session, "metric": "job_scraped", "value": {"site": site}}


def test_values_of_a_tag_beyond_the_limit_are_refused_item_by_item_and_known_ones_pass() -> None:
    known = TagValues(most_values=3, most_sessions=100)
    first = sift(as_json([job(f"site {k}") for k in range(5)]), known, received_at=NOW)
    assert [event.value.site for event in first.events] == ["site 0", "site 1", "site 2"]
    assert [(item.index, item.field) for item in first.rejected] == [(3, "value.site"), (4, "value.site")]
    again = sift(as_json([job("site 1"), job("site 9")]), known, received_at=NOW + SECOND)
    assert (len(again.events), len(again.rejected)) == (1, 1)


def test_sessions_have_a_limit_of_their_own() -> None:
    known = TagValues(most_values=100, most_sessions=2)
    found = sift(as_json([job("a", f"session {k}") for k in range(4)]), known, received_at=NOW)
    assert (len(found.events), [item.field for item in found.rejected]) == (2, ["session_id"] * 2)


def test_values_that_were_not_met_for_two_days_make_room_and_those_in_use_stay() -> None:
    known = TagValues(most_values=2, most_sessions=100)
    for day, sites in enumerate((["a", "b"], ["a"], ["a"], ["a", "c"])):
        found = sift(as_json([job(site) for site in sites]), known, received_at=NOW + day * DAY + day)
        assert len(found.events) == len(sites), day
    assert sift(as_json([job("b")]), known, received_at=NOW + 3 * DAY + 4).rejected


def test_labels_coverage_and_mounts_are_bounded_too() -> None:
    known = TagValues(most_values=2, most_sessions=100)
    figures = [
        {"session_id": "s", "metric": "custom", "value": {"name": "n", "value": 1, "labels": {"k": str(k)}}}
        for k in range(3)
    ]
    assert [item.field for item in sift(as_json(figures), known, received_at=NOW).rejected] == [
        "value.labels"
    ]
    coverage = {"session_id": "s", "metric": "data_quality", "value": {"site": "a", "items": 1}}
    coverage["value"]["field_coverage"] = {f"f{k}": 0.5 for k in range(3)}  # type: ignore[index]
    assert [item.field for item in sift(as_json([coverage]), known, received_at=NOW).rejected] == [
        "value.field_coverage"
    ]


def test_a_large_body_is_taken_as_a_small_one_is() -> None:
    events = [
        {"session_id": "s", "metric": "error_occurred", "value": {"site": "a", "message": "x" * 5_000}}
    ] * 100
    assert shown(sift(as_json(events), values(), received_at=NOW)) == by_the_models(
        as_json(events), backfill=False
    )
    broken = as_json(events)[:-1] + b',{"session_id":1}]'
    assert shown(sift(broken, values(), received_at=NOW)) == by_the_models(broken, backfill=False)
