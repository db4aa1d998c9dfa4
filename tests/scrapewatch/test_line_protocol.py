"""Line protocol: what is encoded decodes to itself, and is escaped as InfluxDB's own client escapes it.

That InfluxDB itself reads it so is tested with a real one, in ``tests/influx/test_influx_round_trip.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from influxdb_client.client.write.point import Point as TheirPoint
from line_protocol_parser import parse_line

from scrapewatch.line_protocol import Encoder, Point, decode, decode_lines, encode, encoder, tag_value
from scrapewatch.measurements import MEASUREMENTS, Tier, fields_in
from scrapewatch.problems import InvalidInput
from tests.line_texts import texts

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

GOLDEN = Path(__file__).parent / "lines_of_encoders.txt"
HOSTILE = ("", "plain", 'a "b" c', "x,y=z w", "ends\\", "two\nlines", "\0", "🦀 é", " ", "#")
STORED = [(m, tier) for m in MEASUREMENTS.values() for tier in Tier if fields_in(m, tier)]


@st.composite
def registered_points(draw: st.DrawFn) -> tuple[str, Tier, tuple[str, ...], dict[str, int | float], int]:
    """Measurement, tier, values of the tags, fields and time of a point of the registry."""
    measurement, tier = draw(st.sampled_from(STORED))
    known = {field.name: field.type for field in fields_in(measurement, tier)}
    names = draw(st.lists(st.sampled_from(sorted(known)), min_size=1, max_size=6, unique=True))
    # The independent parser takes no subnormal ones.
    floats = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
    fields = {name: draw(integers if known[name] is int else floats) for name in names}
    values = tuple(draw(texts) for _ in measurement.tag_names(tier))
    return measurement.name, tier, values, fields, draw(st.integers(0, 2**62))


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
        st.one_of(integers, st.floats(-1e300, 1e300, allow_subnormal=False), st.booleans()),
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


@settings(deadline=None)
@given(registered_points())
def test_an_encoder_of_the_registry_writes_what_any_point_is_written_as(
    given: tuple[str, Tier, tuple[str, ...], dict[str, int | float], int],
) -> None:
    measurement, tier, values, fields, time = given
    made = encoder(measurement, tier)
    tags = dict(zip(MEASUREMENTS[measurement].tag_names(tier), values, strict=True))
    for _ in range(2):  # the second time from what it remembers
        assert made.line(made.head(values), fields, time) == encode(Point(measurement, tags, fields, time))


@settings(deadline=None)
@given(registered_points())
def test_an_independent_parser_reads_what_an_encoder_wrote(
    given: tuple[str, Tier, tuple[str, ...], dict[str, int | float], int],
) -> None:
    measurement, tier, values, fields, time = given
    values = tuple(tag_value(value).strip().strip('"') for value in values)  # see the parser above
    made = encoder(measurement, tier)
    read = parse_line(made.line(made.head(values), fields, time))
    names = MEASUREMENTS[measurement].tag_names(tier)
    assert read["measurement"] == measurement
    assert read["tags"] == {name: value for name, value in zip(names, values, strict=True) if value}
    assert read["fields"] == fields
    assert [type(read["fields"][name]) for name in fields] == [type(value) for value in fields.values()]
    assert read["time"] == time


@settings(deadline=None)
@given(registered_points())
def test_an_encoder_escapes_as_influxdbs_own_client_does(
    given: tuple[str, Tier, tuple[str, ...], dict[str, int | float], int],
) -> None:
    measurement, tier, values, _, time = given
    values = tuple(tag_value(value) for value in values)
    theirs = TheirPoint(measurement).time(time).field("n", 1)  # type: ignore[no-untyped-call]
    for name, value in zip(MEASUREMENTS[measurement].tag_names(tier), values, strict=True):
        theirs.tag(name, value)
    assert f"{encoder(measurement, tier).head(values)} n=1i {time}" == theirs.to_line_protocol()


def golden_lines() -> str:
    """A line of every measurement and tier with all its fields, then heads of hostile values."""
    lines: list[str] = []
    for measurement, tier in STORED:
        made = encoder(measurement.name, tier)
        values = tuple(f"{name} of, a=b" for name in measurement.tag_names(tier))
        fields = {f.name: k if f.type is int else k / 8 for k, f in enumerate(fields_in(measurement, tier))}
        lines.append(f"{tier}: {made.line(made.head(values), fields, 1_700_000_000_000_000_000)}")
    lines += [f"{value!r}: {encoder('errors', Tier.FLEET).head((value, value))}" for value in HOSTILE]
    return "\n".join(lines) + "\n"


def test_lines_of_encoders_are_those_that_were_always_written() -> None:
    """What is in the stores was written so: a difference in an old line of the file would part a series in two."""
    assert golden_lines() == GOLDEN.read_text(encoding="utf-8")


def test_an_encoder_refuses_what_the_registry_does_not_know() -> None:
    made = encoder("jobs", Tier.FLEET)
    with pytest.raises(KeyError):
        made.line(made.head(("indeed",)), {"scraped": 1, "unheard_of": 1}, 1)
    with pytest.raises(ValueError, match="1 tags, not 2"):
        made.head(("indeed", "linkedin"))
    with pytest.raises(KeyError):
        encoder("unheard_of", Tier.FLEET)


def test_a_template_takes_further_fields_behind_those_that_it_was_made_for() -> None:
    made = encoder("pages", Tier.FLEET)
    head = made.head(("indeed", "2xx"))
    line = made.template(("count", "duration_sum")) % (head, 3, 2.5, made.formats["h01"] % 1, 7)
    assert line == made.line(head, {"count": 3, "duration_sum": 2.5, "h01": 1}, 7)


def test_an_encoder_writes_more_sets_of_fields_than_it_remembers() -> None:
    made = Encoder("pages", Tier.FLEET)
    kinds = {field.name: field.type for field in fields_in(MEASUREMENTS["pages"], Tier.FLEET)[:11]}
    for k in range(1, 2**11):
        fields = {name: kind(k) for place, (name, kind) in enumerate(kinds.items()) if k >> place & 1}
        assert made.line("pages", fields, k) == encode(Point("pages", {}, fields, k))


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
