from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, get_args

import hypothesis
import pytest
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from scrapewatch import examples
from scrapewatch.events import METRICS, TYPES, validate
from scrapewatch.time import to_ns

# Written down anew from the specification, so that a type or field which goes missing is noticed.
SPECIFIED = {
    "session_queued": "search_term location sites max_jobs_per_site max_concurrency source schedule",
    "session_started": "search_term location sites max_jobs_per_site max_concurrency source schedule",
    "session_paused": "reason",
    "session_resumed": "reason",
    "session_finished": "status reason jobs pages errors duration",
    "site_started": "site attempt",
    "site_finished": "site attempt success error_message jobs pages errors duration",
    "job_scraped": "site count saved duplicate dropped invalid attempt job",
    "page_processed": "site attempt duration status bytes blocked",
    "error_occurred": "site type message url attempt",
    "circuit_breaker": "site state failures successes last_failure_time",
    "queue": "site depth pending active_scrapers",
    "resources": "memory_mb cpu_percent",
    "proxy": "provider proxy requests failures bans latency bytes cost",
    "data_quality": "site items valid duplicates field_coverage",
    "cost": "site amount currency kind",
    "progress": "site done total",
    "custom": "name value unit labels",
}
OWN = {"host", "service_check", "collector"}

VALUES: dict[str, type[BaseModel]] = {
    get_args(kind.model_fields["metric"].annotation)[0]: kind.model_fields["value"].annotation  # type: ignore[misc]
    for kind in TYPES
}
EVENTS = sorted(examples.EVENTS)


def event(metric: str, **value: Any) -> dict[str, Any]:
    return {"session_id": "s", "metric": metric, "value": value}


def faults(item: Any) -> list[tuple[str, ...]]:
    """Where ``item`` is wrong, without the tag of the union."""
    with pytest.raises(ValidationError) as caught:
        validate(item)
    return [tuple(str(part) for part in error["loc"][1:]) for error in caught.value.errors()]


def test_every_row_of_the_specification_is_a_type_of_event() -> None:
    assert set(METRICS) == set(SPECIFIED) | OWN
    for metric, fields in SPECIFIED.items():
        assert set(fields.split()) <= set(VALUES[metric].model_fields), metric


@pytest.mark.parametrize("metric", METRICS)
def test_the_example_of_a_type_has_every_field(metric: str) -> None:
    example = examples.EVENTS[metric]
    assert set(example["value"]) == set(VALUES[metric].model_fields)
    if metric == "job_scraped":
        from scrapewatch.events import Posting

        assert set(example["value"]["job"]) == set(Posting.model_fields)


@pytest.mark.parametrize("metric", EVENTS)
def test_a_type_is_accepted_with_all_its_fields_and_keeps_them(metric: str) -> None:
    example = examples.EVENTS[metric]
    found = validate(example)
    assert found["metric"] == metric
    assert found["session_id"] == example.get("session_id")
    assert found["event_id"] == f"{metric}-1"
    assert found["time"] == to_ns(datetime(2026, 1, 5, 8, tzinfo=UTC))
    moments = {"last_failure_time", "job"}
    assert {name: kept for name, kept in found["value"].items() if name not in moments} == {
        name: given for name, given in example["value"].items() if name not in moments
    }


@pytest.mark.parametrize("metric", EVENTS)
def test_a_type_is_accepted_with_its_fewest_fields(metric: str) -> None:
    full = examples.EVENTS[metric]["value"]
    fewest = {name: full[name] for name, field in VALUES[metric].model_fields.items() if field.is_required()}
    found = validate(event(metric, **fewest))
    assert found["time"] is None
    assert found["event_id"] is None
    for name, given in fewest.items():
        assert found["value"][name] == given


@pytest.mark.parametrize("metric", EVENTS)
def test_a_type_is_rejected_without_a_field_it_needs(metric: str) -> None:
    full = examples.EVENTS[metric]["value"]
    for name, field in VALUES[metric].model_fields.items():
        if field.is_required():
            lacking = {key: given for key, given in full.items() if key != name}
            assert faults(event(metric, **lacking)) == [("value", name)]


def test_a_type_whose_value_may_be_empty_may_leave_it_out() -> None:
    for metric in ("session_queued", "session_started", "session_paused", "session_resumed"):
        assert validate({"session_id": "s", "metric": metric})["value"] == {}
    finished = validate({"session_id": "s", "metric": "session_finished"})
    assert finished["value"] == {"status": "completed"}


def test_the_historic_body_of_the_orchestrator_is_accepted() -> None:
    body = (
        '{"session_id": "s1", "metric": "job_scraped", "value": {"site": "indeed", "count": 1}, '
        '"timestamp": "2026-01-05T10:00:00Z"}'
    )
    assert validate(json.loads(body)) == {
        "session_id": "s1",
        "metric": "job_scraped",
        "value": {"site": "indeed", "count": 1},
        "time": to_ns(datetime(2026, 1, 5, 10, tzinfo=UTC)),
        "event_id": None,
    }


def test_what_is_not_known_is_passed_over() -> None:
    given = {**event("job_scraped", site="indeed", colour="red"), "version": 9}
    assert validate(given)["value"] == {"site": "indeed", "count": 1}


def test_times_of_a_posting_and_a_breaker_are_nanoseconds() -> None:
    moment = to_ns(datetime(2026, 1, 4, tzinfo=UTC))
    job = validate(event("job_scraped", site="indeed", job={"posted_at": "2026-01-04T00:00:00Z"}))
    assert job["value"]["job"] == {"posted_at": moment}
    breaker = event("circuit_breaker", site="a", state="open", last_failure_time="2026-01-04T01:00:00+01:00")
    assert validate(breaker)["value"]["last_failure_time"] == moment


def test_a_salary_in_text_goes_by_either_name() -> None:
    for name in ("salary", "salary_text"):
        found = validate(event("job_scraped", site="indeed", job={name: "$120k - $150k"}))
        assert found["value"]["job"] == {"salary": "$120k - $150k"}


def test_an_error_may_be_typed_by_the_number_of_its_status() -> None:
    assert validate(event("error_occurred", site="indeed", type=403))["value"]["type"] == "403"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-05T10:00:00Z", datetime(2026, 1, 5, 10, tzinfo=UTC)),
        ("2026-01-05T10:00:00.123456Z", datetime(2026, 1, 5, 10, 0, 0, 123456, tzinfo=UTC)),
        ("2026-01-05T10:00:00+02:00", datetime(2026, 1, 5, 8, tzinfo=UTC)),
        ("2026-01-05T10:00:00", datetime(2026, 1, 5, 10, tzinfo=UTC)),
    ],
)
def test_a_timestamp_is_read_as_utc_unless_it_says_otherwise(text: str, expected: datetime) -> None:
    found = validate({**event("progress", done=1), "timestamp": text})
    assert found["time"] == to_ns(expected)


@pytest.mark.parametrize(
    "timestamp",
    [
        "",
        "now",
        "1767607200",
        "-1",
        True,
        [],
        {},
        "2026-13-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
    ],
)
def test_what_is_no_timestamp_is_rejected_as_one(timestamp: Any) -> None:
    assert faults({**event("progress", done=1), "timestamp": timestamp}) == [("timestamp",)]


@pytest.mark.parametrize("moment", ["1.5e9", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_a_time_that_cannot_be_kept_is_rejected_where_it_stands(moment: str) -> None:
    assert faults({**event("progress", done=1), "timestamp": moment}) == [("timestamp",)]
    posting = event("job_scraped", site="a", job={"posted_at": moment})
    assert faults(posting) == [("value", "job", "posted_at")]
    breaker = event("circuit_breaker", site="a", state="open", last_failure_time=moment)
    assert faults(breaker) == [("value", "last_failure_time")]


@pytest.mark.parametrize(
    ("item", "where"),
    [
        (event("custom", name="a", value=math.nan), ("value", "value")),
        (event("custom", name="a", value=math.inf), ("value", "value")),
        (event("custom", name="a", value="1"), ("value", "value")),
        (event("custom", name="a", value=True), ("value", "value")),
        (event("custom", name="a", value=10**400), ("value", "value")),
        (event("page_processed", site="a", duration=math.nan), ("value", "duration")),
        (event("page_processed", site="a", duration=-0.1), ("value", "duration")),
        (event("page_processed", site="a", status="200"), ("value", "status")),
        (event("page_processed", site="a", blocked=1), ("value", "blocked")),
        (event("page_processed", site="a", count=0), ("value", "count")),
        (event("job_scraped", site="a", count=1.0), ("value", "count")),
        (event("job_scraped", site="a", count="1"), ("value", "count")),
        (event("job_scraped", site="a", count=True), ("value", "count")),
        (event("job_scraped", site="a", count=-1), ("value", "count")),
        (event("job_scraped", site="a", count=10**30), ("value", "count")),
        (event("job_scraped", site=7), ("value", "site")),
        (event("job_scraped", site=""), ("value", "site")),
        (event("job_scraped", site="  "), ("value", "site")),
        (event("job_scraped", site="a" * 101), ("value", "site")),
        (event("job_scraped", site="in\0deed"), ("value", "site")),
        (event("job_scraped", site="\ud800"), ("value", "site")),
        (event("job_scraped", site="a", job={"title": "\udfff"}), ("value", "job", "title")),
        (event("job_scraped", site="a", job={"skills": ["a", "\0"]}), ("value", "job", "skills", "1")),
        (event("session_started", sites=["a", ""]), ("value", "sites", "1")),
        (event("session_finished", status="done"), ("value", "status")),
        (event("circuit_breaker", site="a", state="ajar"), ("value", "state")),
        (event("cost", amount=1, kind="bribe"), ("value", "kind")),
        (
            event("data_quality", site="a", items=1, field_coverage={"t": 1.1}),
            ("value", "field_coverage", "t"),
        ),
        (event("custom", name="a", value=1, labels=dict.fromkeys("abcdef", "x")), ("value", "labels")),
        ({**event("progress", done=1), "session_id": "\0"}, ("session_id",)),
        ({**event("progress", done=1), "session_id": ""}, ("session_id",)),
        ({**event("progress", done=1), "session_id": 5}, ("session_id",)),
        ({**event("progress", done=1), "event_id": "x" * 201}, ("event_id",)),
        ({"metric": "progress", "value": {"done": 1}}, ("session_id",)),
        ({"session_id": "s", "metric": "progress", "value": []}, ("value",)),
        ({"session_id": "s", "metric": "progress", "value": None}, ("value",)),
        ({"session_id": "s", "metric": "progress"}, ("value",)),
    ],
    ids=lambda part: "-".join(part) if isinstance(part, tuple) else None,
)
def test_what_is_wrong_is_rejected_where_it_stands(item: Any, where: tuple[str, ...]) -> None:
    assert faults(item) == [where]


@pytest.mark.parametrize(
    "item",
    [
        event("no_such_thing"),
        event("JOB_SCRAPED"),
        {**event("cost"), "metric": ["cost"]},
        {"session_id": "s"},
        {},
        [],
        None,
        "job_scraped",
        7,
    ],
)
def test_what_has_no_known_type_is_rejected_as_a_whole(item: Any) -> None:
    assert faults(item) == [()]


# What JSON can hold, as Python's reader makes it of hostile bodies: lone surrogates, NaN and numbers beyond every range.
_text = st.text(st.characters(codec=None), max_size=20)
_scalar = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**300, max_value=10**301),
    st.floats(),
    _text,
    st.sampled_from(["2026-01-05T10:00:00Z", "0001-01-01", "NaN", "1e999", "\0", "\ud800"]),
)
_json = st.recursive(
    _scalar,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=12,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*at, index))


@st.composite
def spoilt_events(draw: st.DrawFn) -> Any:
    """An example with one part of it replaced by anything."""
    item = copy.deepcopy(dict(examples.EVENTS[draw(st.sampled_from(EVENTS))]))
    at = draw(st.sampled_from(list(places(item))))
    replacement = draw(_json)
    if not at:
        return replacement
    inside: Any = item
    for key in at[:-1]:
        inside = inside[key]
    inside[at[-1]] = replacement
    return item


@hypothesis.given(_json | spoilt_events())
def test_any_json_value_is_an_event_or_a_validation_error(item: Any) -> None:
    try:
        found = validate(item)
    except ValidationError as error:
        assert error.errors(include_url=False, include_input=False, include_context=False)
    else:
        json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
        assert "\0" not in json.dumps(found, ensure_ascii=False)
