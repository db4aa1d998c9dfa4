"""Which lines of line protocol pass through, and what is said of the others; a real InfluxDB is the judge."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from collector.external import LONGEST_LINE, PRECISIONS, Lines, Names, read
from collector.ingest import MalformedBody, TooManyEvents
from influx.bootstrap import bootstrap
from influx.store import InfluxStore
from scrapewatch.measurements import MEASUREMENTS, Tier
from scrapewatch.ports import Batch, Flush
from scrapewatch.time import DAY, MINUTE, SECOND, now_ns
from tests.influxd import Influxd

NOW = now_ns() // SECOND * SECOND


def taken(text: str | bytes, *, names: Names | None = None, factor: int = 1, most: int = 10_000) -> Lines:
    return read(
        text if isinstance(text, bytes) else text.encode(),
        names or Names(most_series=1_000, most_fields=1_000),
        received_at=NOW,
        oldest=NOW - 90 * DAY,
        factor=factor,
        most=most,
    )


def reasons(text: str) -> dict[int, str]:
    return {bad.line: bad.reason for bad in taken(text).rejected}


def test_a_line_passes_through_as_it_came() -> None:
    line = f'cpu,host=a,path=C:\\\\x\\ y usage=1.5,n=3i,u=4u,ok=t,said="two\nlines, \\"quoted\\" = one value" {NOW}'
    assert taken(f"# a comment\n\n  {line}\r\n\n").accepted == [line]


@pytest.mark.parametrize(("precision", "factor"), PRECISIONS.items())
def test_a_time_is_in_the_unit_that_was_said(precision: str, factor: int) -> None:
    assert taken(f"m f=1 {NOW // factor}", factor=factor).accepted == [f"m f=1 {NOW}"], precision


def test_a_line_without_a_time_gets_that_at_which_it_came() -> None:
    assert taken("m f=1").accepted == [f"m f=1 {NOW}"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("m", "has no fields"),
        ("m ", "has no fields"),
        (",a=b f=1", "does not begin"),
        ("m,a= f=1", "has a tag without"),
        ("m,a f=1", "has a tag without"),
        ("m f=", "cannot be read"),
        ("m f=x", "cannot be read"),
        ("m f=1_000i", "cannot be read"),
        ("m f=NaN", "cannot be read"),
        ('m f="open', "cannot be read"),
        ("m f=1 2026-01-05", "cannot be read"),
        ("m,a=1,a=2 f=1", "same tag twice"),
        ("m,time=1 f=1", "keeps for itself"),
        ("m,_field=1 f=1", "keeps for itself"),
        ("m time=1", "keeps for itself"),
        ("m f=9223372036854775808i", "64 bits"),
        ("m f=1e999", "64 bits"),
        ("m f=1\0", "cannot be read"),
        ('m f="\0"', "NUL"),
        (f'm f="{"x" * LONGEST_LINE}"', "longer than"),
        pytest.param(f"m f=1 {NOW + 6 * MINUTE}", "5 minutes ahead", id="in six minutes"),
        pytest.param(f"m f=1 {NOW - 91 * DAY}", "older than", id="91 days ago"),
        (f"m f=1 {'9' * 4_000}", "5 minutes ahead"),
        ("m f=1 1767607200", "older than"),  # seconds, taken for nanoseconds
    ],
)
def test_a_bad_line_is_named_and_its_neighbours_pass(line: str, reason: str) -> None:
    found = taken(f"good f=1\n{line}\ngood f=2")
    assert [bad.line for bad in found.rejected] == [2]
    assert reason in found.rejected[0].reason
    assert len(found.accepted) == 2


@pytest.mark.parametrize("measurement", MEASUREMENTS)
def test_no_name_of_scrapewatchs_own_measurements_is_taken(measurement: str) -> None:
    assert "scrapewatch's own" in reasons(f"{measurement},site=indeed count=1i")[1]


def test_what_is_said_of_a_line_repeats_nothing_of_it() -> None:
    assert "secret" not in str(reasons("secret\nm,secret= f=1\nm secret=x\nm,secret=1,secret=2 f=1"))


def test_series_beyond_the_limit_are_refused_and_those_that_are_known_pass() -> None:
    names = Names(most_series=3, most_fields=100)
    found = taken("\n".join(f"m,a={k} f=1" for k in range(5)), names=names)
    assert [bad.line for bad in found.rejected] == [4, 5]
    assert len(taken("m,a=0 f=1\nm,a=2 f=2", names=names).accepted) == 2


def test_fields_beyond_the_limit_are_refused() -> None:
    names = Names(most_series=100, most_fields=3)
    found = taken("m a=1,b=2\nn a=1\nm c=1\nm a=1", names=names)
    assert [bad.line for bad in found.rejected] == [3]


def test_what_was_not_met_for_two_days_leaves_its_place() -> None:
    names = Names(most_series=2, most_fields=2)
    for day, line in itertools.product(range(8), ("a", "b")):
        found = read(
            f"{line}{day // 4} f=1".encode(), names, received_at=NOW + day * 25 * DAY // 24, oldest=0
        )
        assert bool(found.rejected) is (day == 4), (
            day
        )  # on that day the others are still those of the day before


def test_a_body_that_is_no_text_or_has_too_many_lines_is_refused_as_a_whole() -> None:
    with pytest.raises(MalformedBody):
        taken(b"m f=1\n\xff f=1")
    with pytest.raises(TooManyEvents):
        taken("m f=1\n" * 11, most=10)


@pytest.mark.parametrize(
    "body",
    [
        "a" * 200_000,
        "a " + "f=" * 100_000,
        "a," * 100_000,
        'm f="' + "\\" * 200_001,
        "m f=" + "1" * 200_000,
        "m,a=b" + ",a=b" * 50_000,
        "m f=1" + ",f=1" * 50_000 + " x",
        "m\\" * 100_000 + " f=1",
    ],
    ids=range(8),
)
def test_no_input_makes_reading_slow(body: str) -> None:
    assert taken(body).accepted == []  # an hour, where an expression went back to try again


_numbers = itertools.count()


@pytest.fixture(scope="module")
def store(influxd: Influxd) -> Iterator[InfluxStore]:
    tokens = bootstrap(influxd.url, influxd.org, influxd.token, ["external-lines"])
    opened = InfluxStore(influxd.url, influxd.org, tokens)
    yield opened
    opened.close()


_PIECES = (
    "m",
    "a",
    "b",
    ",",
    "=",
    " ",
    "\\",
    '"',
    "\n",
    "#",
    "1",
    "i",
    "u",
    ".",
    "-",
    "e",
    "t",
    "é",
    "\t",
    "\r",
)
_ODD = st.lists(st.sampled_from(_PIECES), max_size=12).map("".join)


@given(st.lists(st.tuples(_ODD, _ODD, st.sampled_from(["1", "2i", "t", '"x"'])), min_size=1, max_size=30))
@example([("m\\", "a\\\\", "1")])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_influxdb_takes_every_line_that_is_let_through(
    store: InfluxStore, parts: list[tuple[str, str, str]]
) -> None:
    # A measurement of its own for each, so that no field meets another type.
    body = "\n".join(
        f'x{next(_numbers)}{one},t{two}={two or 1} f{one}={three},s="{one}{two}"' for one, two, three in parts
    )
    lines = taken(body).accepted
    result = store.write(
        Flush(1, 1, [Batch("external-lines", Tier.EXTERNAL, lines, [1] * len(lines))] if lines else [])
    )
    assert result.kept is None
    assert result.rejected == []
    assert result.accepted == len(lines)
