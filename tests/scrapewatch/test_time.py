from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapewatch.time import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    parse_interval,
    to_datetime,
    to_ns,
    to_rfc3339,
    window_start,
)

nanoseconds = st.integers(min_value=-(2**62), max_value=2**62)
zones = st.integers(min_value=-23 * 60, max_value=23 * 60).map(lambda m: timezone(timedelta(minutes=m)))


@given(st.integers(min_value=-(2**52), max_value=2**52), zones)
def test_a_moment_is_exact_to_its_microsecond(microseconds: int, zone: timezone) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC).astimezone(zone) + timedelta(microseconds=microseconds)
    ns = to_ns(moment)
    assert ns == microseconds * 1_000
    assert to_datetime(ns) == moment


@given(nanoseconds)
def test_nanoseconds_are_cut_to_microseconds_never_rounded_up(ns: int) -> None:
    assert to_ns(to_datetime(ns)) == ns - ns % 1_000


@given(nanoseconds)
def test_text_is_rfc_3339_in_utc_and_reads_back(ns: int) -> None:
    text = to_rfc3339(ns)
    assert text.endswith("Z")
    assert to_ns(datetime.fromisoformat(text)) == ns - ns % 1_000


def test_text_has_microseconds_only_where_there_are_any() -> None:
    assert to_rfc3339(0) == "1970-01-01T00:00:00Z"
    assert to_rfc3339(1_500_000_000) == "1970-01-01T00:00:01.500000Z"
    assert to_rfc3339(-SECOND) == "1969-12-31T23:59:59Z"


@given(nanoseconds, st.sampled_from([SECOND, MINUTE, HOUR, DAY]))
def test_a_window_holds_its_moment(ns: int, every: int) -> None:
    start = window_start(ns, every)
    assert start % every == 0
    assert start <= ns < start + every


def test_windows_of_a_day_begin_at_midnight_utc() -> None:
    late = to_ns(datetime(2026, 1, 5, 23, 59, 59, tzinfo=UTC))
    assert window_start(late, DAY) == to_ns(datetime(2026, 1, 5, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "length"),
    [("30s", 30 * SECOND), ("5m", 5 * MINUTE), ("1h", HOUR), ("7d", 7 * DAY), ("90d", 90 * DAY)],
)
def test_an_interval_is_a_number_and_a_unit(text: str, length: int) -> None:
    assert parse_interval(text) == length


@pytest.mark.parametrize(
    "text", ["", "5", "m", "0m", "-5m", "5 m", "5M", "1w", "1.5h", "5m5s", "999999d9", "5m\n", "٥m"]
)
def test_anything_else_is_no_interval(text: str) -> None:
    with pytest.raises(ValueError, match="is not a length of time"):
        parse_interval(text)
