"""Queries of panels in Flux become what Grafana sends, and answers what it shows."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from scrapewatch.time import DAY, HOUR, MINUTE, SECOND, to_ns
from tests.grafana.expansion import Variable, replace_variables
from tests.grafana.flux_source import MOST_SERIES, FluxSource, QueryError, expand, go_duration, interval
from tests.grafana.history import HOSTILE
from tests.influxd import Influxd

RANGE = "from(bucket: v.defaultBucket) |> range(start: v.timeRangeStart, stop: v.timeRangeStop)"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_as_a_pattern_matches_itself_and_nothing_else(name: str) -> None:
    site = Variable([name], HOSTILE, multi=True)
    pattern = re.compile(replace_variables("^(${site:regex})$", {"site": site}))
    assert [other for other in HOSTILE if pattern.match(other)] == [name]


@pytest.mark.parametrize(
    ("length", "points", "least", "step"),
    [
        (15 * MINUTE, 1_000, 5 * SECOND, 5 * SECOND),
        (6 * HOUR, 1_000, 5 * SECOND, 20 * SECOND),
        (6 * HOUR, 300, 5 * SECOND, MINUTE),
        (7 * DAY, 1_000, 5 * SECOND, 10 * MINUTE),
        (30 * DAY, 300, MINUTE, 2 * HOUR),
        (90 * DAY, 100, MINUTE, 12 * HOUR),
    ],
)
def test_the_step_of_a_range_is_round_and_no_less_than_the_least(
    length: int, points: int, least: int, step: int
) -> None:
    assert interval(0, length, points, least) == step


def test_lengths_are_written_as_go_does() -> None:
    written = [go_duration(ns) for ns in (500_000_000, 5 * SECOND, MINUTE, 2 * HOUR, DAY, 90 * SECOND)]
    assert written == ["500ms", "5s", "1m0s", "2h0m0s", "24h0m0s", "1m30s"]


def test_the_server_puts_range_step_and_bucket_in_by_text() -> None:
    start = to_ns(datetime(2026, 1, 5, 10, 0, 0, 120_000, UTC))
    text = RANGE + '\nf(every: v.windowPeriod, a: "$__interval", b: $__interval_ms) r.site'
    assert expand(text, start=start, stop=start + DAY, step=MINUTE) == (
        'from(bucket: "fleet") |> range(start: 2026-01-05T10:00:00.12Z, stop: 2026-01-06T10:00:00.12Z)\n'
        'f(every: 1m0s, a: "1m", b: 60000) r.site'
    )


@pytest.fixture
def source(influxd: Influxd) -> FluxSource:
    return FluxSource(influxd.url, influxd.org, influxd.token)


MADE = (
    'import "array" array.from(rows: [{_time: 2026-01-05T10:00:00Z, site: "a", _field: "pages", _value: 1}])'
)


def test_a_frame_has_the_group_as_labels_and_the_field_as_name(source: FluxSource) -> None:
    (frame,) = source.query(f'{MADE} |> group(columns: ["site", "_field"])')
    assert [(field.name, field.type, field.labels) for field in frame.fields] == [
        ("Time", "time", {}),
        ("pages", "number", {"site": "a"}),
    ]


def test_a_table_without_a_group_keeps_its_columns(source: FluxSource) -> None:
    (frame,) = source.query(MADE)
    assert {field.name: field.type for field in frame.fields} == {
        "_time": "time",
        "site": "string",
        "_field": "string",
        "_value": "number",
    }


def test_what_influxdb_refuses_is_an_error(source: FluxSource) -> None:
    with pytest.raises(QueryError, match="undefined identifier"):
        source.query("nothing |> nothing()")


def test_more_series_than_grafana_shows_are_an_error(source: FluxSource) -> None:
    made = 'import "generate" generate.from(count: {}, fn: (n) => n, start: 2026-01-05T10:00:00Z, stop: 2026-01-06T10:00:00Z)'
    made += ' |> map(fn: (r) => ({{r with site: string(v: r._value)}})) |> group(columns: ["site"])'
    assert len(source.query(made.format(MOST_SERIES))) == MOST_SERIES
    with pytest.raises(QueryError, match="1001 series"):
        source.query(made.format(MOST_SERIES + 1))


def test_more_rows_than_a_panel_takes_are_an_error(source: FluxSource) -> None:
    made = 'import "generate" generate.from(count: {}, fn: (n) => n, start: 2026-01-05T10:00:00Z, stop: 2026-01-06T10:00:00Z)'
    assert len(source.query(made.format(1_000), points=100)[0]) == 1_000
    with pytest.raises(QueryError, match="1001 rows"):
        source.query(made.format(1_001), points=100)
