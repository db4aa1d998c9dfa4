"""Line protocol: what is encoded decodes to itself, and is escaped as InfluxDB's own client escapes it.

That InfluxDB itself reads it so is tested with a real one, in ``tests/influx/test_influx_round_trip.py``.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from influxdb_client.client.write.point import Point as TheirPoint
from line_protocol_parser import parse_line

from scrapewatch.line_protocol import Point, decode, decode_lines, encode, tag_value
from scrapewatch.problems import InvalidInput

TRICKS = [
    ",",
    "=",
    " ",
    '"',
    "'",
    "\\",
    "\\,",
    "\n",
    "\r\n",
    "\t",
    "\0",
    "#",
    "i",
    "=1i 1",
    "\u2028",
    "🦀",
    "e\u0301",
]
texts = st.lists(st.one_of(st.sampled_from(TRICKS), st.text(max_size=4)), max_size=6).map("".join)
integers = st.integers(-(2**63), 2**63 - 1)
points = st.builds(
    Point,
    texts.map(lambda text: f"m{text}"),
    st.dictionaries(texts.map(lambda text: f"t{text}"), texts, max_size=3),
    st.dictionaries(
        texts.map(lambda text: f"f{tag_value(text)}"),
        st.one_of(integers, st.floats(allow_nan=False, allow_infinity=False), st.booleans(), texts),
        min_size=1,
        max_size=4,
    ),
    integers,
)


def as_kept(point: Point) -> Point:
    tags = {
        tag_value(key): tag_value(point.tags[key]) for key in sorted(point.tags) if tag_value(point.tags[key])
    }
    return Point(tag_value(point.measurement), tags, point.fields, point.time)


@given(points)
@example(Point("m", {"k": "\0"}, {"x": 1}, 1))
@example(Point("m", {"ends\\": "v\\"}, {"ends\\": 1}, 1))
def test_what_is_encoded_decodes_to_itself(point: Point) -> None:
    kept = as_kept(point)
    fields = {tag_value(key): value for key, value in kept.fields.items()}
    again = decode(encode(point))
    assert again == Point(kept.measurement, kept.tags, fields, kept.time)
    # 1 == 1.0 == True in Python; in InfluxDB they conflict.
    assert [type(value) for value in again.fields.values()] == [type(value) for value in fields.values()]


@given(
    st.dictionaries(
        st.sampled_from(("site", "type", "a=b", "c,d", "e f")),
        texts.map(tag_value).filter(str.strip),
        max_size=3,
    ),
    st.dictionaries(
        st.sampled_from(("n", "x=1", "y,z")),
        st.one_of(integers, st.floats(-1e300, 1e300), st.booleans()),
        min_size=1,
    ),
    st.integers(0, 2**62),  # it takes no time at the very ends
)
def test_an_independent_parser_reads_what_was_encoded(
    tags: dict[str, str], fields: dict[str, Any], time: int
) -> None:
    # It is a parser of its own kind, in C: it takes no space beside a separator, and no text in a tag that begins like a string.
    tags = {key: value.strip().strip('"') or "v" for key, value in tags.items()}
    read = parse_line(encode(Point("m", tags, fields, time)))
    assert read["measurement"] == "m"
    assert read["tags"] == tags
    assert read["fields"] == fields
    assert read["time"] == time


@given(points)
def test_a_line_without_texts_is_one_line(point: Point) -> None:
    numbers = {key: value for key, value in point.fields.items() if not isinstance(value, str)} or {"x": 1}
    line = encode(Point(point.measurement, point.tags, numbers, point.time))
    assert not {"\n", "\r", "\0"} & set(line)
    assert list(decode_lines(f"# a comment\n\n{line}\n")) == [decode(line)]


@given(
    st.dictionaries(
        texts.map(lambda text: f"t{tag_value(text)}"), texts.map(tag_value).filter(bool), max_size=3
    ),
    st.dictionaries(
        texts.map(lambda text: f"f{tag_value(text)}"),
        st.one_of(integers, st.booleans()),
        min_size=1,
        max_size=3,
    ),
    texts.map(lambda text: f"m{tag_value(text)}"),
)
def test_escapes_are_those_of_influxdbs_own_client(
    tags: dict[str, str], fields: dict[str, int | bool], measurement: str
) -> None:
    theirs = TheirPoint(measurement).time(1)  # type: ignore[no-untyped-call]
    for key, text in tags.items():
        theirs.tag(key, text)
    for key in sorted(fields):
        theirs.field(key, fields[key])
    ours = Point(measurement, tags, {key: fields[key] for key in sorted(fields)}, 1)
    assert encode(ours) == theirs.to_line_protocol()


@given(texts)
def test_what_is_kept_of_a_tag_is_kept_as_it_is(text: str) -> None:
    assert tag_value(tag_value(text)) == tag_value(text)


@pytest.mark.parametrize(
    "line",
    [
        "",
        " ",
        "m",
        "m x=1i",
        "m x=1i now",
        "m x= 1",
        "m x 1",
        "m =1i 1",
        "m,=a x=1i 1",
        "m,a= x=1i 1",
        "m,a x=1i 1",
        ",a=b x=1i 1",
        "#m x=1i 1",
        "m x=nan 1",
        "m x=1_0 1",
        'm x="open 1',
        "m x=1i 1 1",
    ],
)
def test_what_influxdb_refuses_is_no_line(line: str) -> None:
    with pytest.raises(InvalidInput):
        decode(line)


@given(st.text())
def test_any_text_is_a_point_or_refused(text: str) -> None:
    try:
        point = decode(text)
    except InvalidInput:
        return
    assert point.fields
