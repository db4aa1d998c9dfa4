"""What was encoded is what InfluxDB reads, and a bound parameter is what it was, whatever they are made of."""

from __future__ import annotations

import csv
import io
import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import urllib3
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from influxdb_client._sync.api_client import ApiClient
from influxdb_client.client._base import _BaseQueryApi

from influx.externs import Duration, Literal, Pattern, Time, extern
from scrapewatch.line_protocol import Point, Value, encode, tag_value
from scrapewatch.time import now_ns, to_ns
from tests.influxd import Influxd
from tests.line_texts import texts

BUCKET = "setup"
HTTP = urllib3.PoolManager()

times = itertools.count(now_ns())
points = st.builds(
    lambda name, tags, fields: Point(name, tags, fields, next(times)),
    # Letters in front, since there is no escape for the # that makes a line a comment, and _field or time are reserved.
    texts.map(lambda text: f"m{text}"),
    st.dictionaries(texts.map(lambda text: f"tag{text}"), texts, max_size=3),
    st.fixed_dictionaries(
        {},
        optional={
            "int": st.integers(-(2**63), 2**63 - 1),
            "float": st.floats(allow_nan=False, allow_infinity=False),
            "bool": st.booleans(),
            "text": texts,
        },
    ).filter(bool),
)


def query(influxd: Influxd, flux: str, **bound: dict[str, Literal]) -> list[list[str]]:
    answer = HTTP.request(
        "POST",
        f"{influxd.url}/api/v2/query?org={influxd.org}",
        headers={"Authorization": f"Token {influxd.token}", "Content-Type": "application/json"},
        body=json.dumps(
            {"query": flux, "type": "flux", "extern": extern(**bound), "dialect": {"annotations": []}}
        ),
    )
    assert answer.status == 200, answer.data
    return list(csv.reader(io.StringIO(answer.data.decode(), newline="")))


def as_read(influxd: Influxd, start: int, stop: int) -> list[Point]:
    """The points from ``start`` to ``stop``, as InfluxDB understood them."""
    # Values as JSON: InfluxDB's CSV does not keep the line breaks of a text as they are.
    flux = """
        import "json"

        from(bucket: params.bucket)
            |> range(start: v.start, stop: v.stop)
            |> drop(columns: ["_start", "_stop"])
            |> map(fn: (r) => ({r with _time: int(v: r._time), _value: string(v: json.encode(v: r._value))}))
    """
    found: dict[int, tuple[str, dict[str, str], dict[str, Value]]] = {}
    header: list[str] = []
    for row in query(influxd, flux, v={"start": Time(start), "stop": Time(stop)}, params={"bucket": BUCKET}):
        if not row:  # a blank row, and the next names the columns anew
            header = []
        elif not header:
            header = row
        else:
            cells = dict(zip(header, row, strict=True))
            tags = {name: text for name, text in cells.items() if name.startswith("tag") and text}
            _, _, fields = found.setdefault(int(cells["_time"]), (cells["_measurement"], tags, {}))
            value = json.loads(cells["_value"])
            fields[cells["_field"]] = float(value) if cells["_field"] == "float" else value
    return [Point(*found[time], time) for time in sorted(found)]


def as_kept(point: Point) -> Point:
    """``point`` with its names and tags as they can be kept."""
    tags = {tag_value(key): tag_value(text) for key, text in point.tags.items() if tag_value(text)}
    return Point(tag_value(point.measurement), tags, point.fields, point.time)


def no_two_keys_alike(point: Point) -> bool:
    return len({tag_value(key) for key in point.tags}) == len(point.tags)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(points.filter(no_two_keys_alike), min_size=10, max_size=40))
def test_influxd_reads_every_point_as_it_was_encoded(influxd: Influxd, written: list[Point]) -> None:
    answer = HTTP.request(
        "POST",
        f"{influxd.url}/api/v2/write?org={influxd.org}&bucket={BUCKET}&precision=ns",
        headers={"Authorization": f"Token {influxd.token}"},
        body="\n".join(encode(point) for point in written).encode(),
    )
    assert answer.status == 204, answer.data
    written.sort(key=lambda point: point.time)
    read = as_read(influxd, written[0].time, written[-1].time + 1)
    assert read == [as_kept(point) for point in written]


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts)
@example('") |> yield() //')
def test_a_bound_text_is_a_text_to_influxd_whatever_it_holds(influxd: Influxd, text: str) -> None:
    flux = 'import "array" import "json" array.from(rows: [{text: string(v: json.encode(v: params.text))}])'
    [_, row, *_] = query(influxd, flux, params={"text": text})
    assert json.loads(row[-1]) == text


def test_bound_times_and_lengths_are_exact_to_the_nanosecond(influxd: Influxd) -> None:
    flux = 'import "array" array.from(rows: [{at: int(v: v.at), long: int(v: v.long)}])'
    for ns in (0, 1, 1_795_372_343_019_555_142, 1_000_000_000, 999_999_999):
        [header, row, *_] = query(influxd, flux, v={"at": Time(ns), "long": Duration(ns)})
        assert dict(zip(header, row, strict=True))["at"] == str(ns)
        assert dict(zip(header, row, strict=True))["long"] == str(ns)


def test_a_bound_pattern_is_a_pattern(influxd: Influxd) -> None:
    flux = 'import "array" array.from(rows: [{yes: "h01" =~ params.p, no: "h011" =~ params.p, odd: "a/b" =~ params.q}])'
    [header, row, *_] = query(influxd, flux, params={"p": Pattern("^(h[0-9]{2}|ok)$"), "q": Pattern("^a/b$")})
    assert dict(zip(header, row, strict=True)) | {"": "", "result": "", "table": ""} == {
        "": "",
        "result": "",
        "table": "",
        "yes": "true",
        "no": "false",
        "odd": "true",
    }


def their_tree(value: Any) -> Any:
    """The tree that influxdb-client sends for ``value``."""
    client = ApiClient()  # type: ignore[no-untyped-call]
    return client.sanitize_for_serialization(_BaseQueryApi._parm_to_extern_ast(value))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ('text with "quotes" \\', 'text with "quotes" \\'),
        (7, 7),
        (True, True),
        (1.5, 1.5),
        (["site", "_field"], ["site", "_field"]),
        (
            Time(to_ns(datetime(2026, 1, 5, 10, 0, 0, 123456, UTC))),
            datetime(2026, 1, 5, 10, 0, 0, 123456, UTC),
        ),
    ],
)
def test_literals_are_the_trees_that_influxdbs_own_client_makes(ours: Literal, theirs: Any) -> None:
    tree = extern(params={"x": ours})["body"][0]["assignment"]["init"]["properties"][0]["value"]
    assert tree == their_tree(theirs)


def test_lengths_are_those_that_influxdbs_own_client_makes() -> None:
    tree = extern(v={"x": Duration(60_000_000_000)})["body"][0]["assignment"]["init"]["properties"][0][
        "value"
    ]
    their = their_tree(timedelta(minutes=1))
    assert tree["type"] == their["type"]
    [ours], [theirs] = tree["values"], their["values"]
    assert ours["magnitude"] == theirs["magnitude"] * 1000
    assert (ours["unit"], theirs["unit"]) == ("ns", "us")
