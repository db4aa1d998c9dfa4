"""Variables are put into queries as Grafana does it."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from scrapewatch.time import DAY, HOUR, MINUTE, SECOND, to_ns
from tests.grafana.flux_source import expand, go_duration, interval
from tests.grafana.history import HOSTILE
from tests.grafana.templating import ALL, Value, Variable, interpolate, sql_default

MANY = ["a.b", "it's"]


def put(text: str, value: Value, **more: object) -> str:
    made = Variable("site", value, options=MANY, multi=True, include_all=True, **more)  # type: ignore[arg-type]
    return interpolate(text, {"site": made})


@pytest.mark.parametrize(
    ("text", "one", "several"),
    [
        ("$site", "it's", "{a.b,it's}"),
        ("${site}", "it's", "{a.b,it's}"),
        ("[[site]]", "it's", "{a.b,it's}"),
        ("[[site:csv]]", "it's", "a.b,it's"),
        ("${site:pipe}", "it's", "a.b|it's"),
        ("${site:regex}", "it's", r"(a\.b|it's)"),
        ("${site:json}", '["it\'s"]', '["a.b","it\'s"]'),
        ("${site:sqlstring}", "'it''s'", "'a.b','it''s'"),
        ("${site:singlequote}", r"'it\'s'", r"'a.b','it\'s'"),
        ("${site:doublequote}", '"it\'s"', '"a.b","it\'s"'),
        ("${site:text}", "it's", "a.b + it's"),
        ("${site:percentencode}", "%7Bit%27s%7D", "%7Ba.b%2Cit%27s%7D"),
        ("${site:queryparam}", "var-site=it%27s", "var-site=a.b&var-site=it%27s"),
    ],
)
def test_each_format_of_one_and_of_several(text: str, one: str, several: str) -> None:
    assert put(text, ["it's"]) == one
    assert put(text, MANY) == several


def test_all_is_every_option_or_what_is_declared_for_it_as_it_is_written() -> None:
    assert put("${site:regex}", ALL) == put("${site:regex}", [ALL]) == r"(a\.b|it's)"
    assert put("${site:regex}", ALL, all_value=".*") == ".*"
    assert put("${site:sqlstring}", ALL, all_value="''") == "''"
    assert put("${site:text}", ALL, all_value=".*") == "All"


def test_what_is_no_variable_stays_and_what_a_value_brings_is_not_looked_at_again() -> None:
    assert put("$__timeFilter(at) ${other} $1", ["a"]) == "$__timeFilter(at) ${other} $1"
    assert put("${site:raw}", ["$site [[site]] ${site}"]) == "$site [[site]] ${site}"


def test_a_format_that_grafana_does_not_have_is_told() -> None:
    with pytest.raises(ValueError, match="no such format"):
        put("${site:regexp}", ["a"])


def test_in_sql_a_variable_without_a_format_is_quoted_where_it_takes_several() -> None:
    several = Variable("site", MANY, multi=True)
    one = Variable("term", "it's")
    text = interpolate("$site '$term'", {"site": several, "term": one}, default=sql_default)
    assert text == "'a.b','it''s' 'it''s'"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_as_a_pattern_matches_itself_and_nothing_else(name: str) -> None:
    pattern = re.compile(f"^{put('${site:regex}', [name])}$")
    assert pattern.match(name)
    assert not any(pattern.match(other) for other in HOSTILE if other != name)


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
    text = (
        "from(bucket: v.defaultBucket) |> range(start: v.timeRangeStart, stop: v.timeRangeStop)\n"
        'f(every: v.windowPeriod, a: "$__interval", b: $__interval_ms) r.site'
    )
    assert expand(text, start=start, stop=start + DAY, step=MINUTE) == (
        'from(bucket: "fleet") |> range(start: 2026-01-05T10:00:00.12Z, stop: 2026-01-06T10:00:00.12Z)\n'
        'f(every: 1m0s, a: "1m", b: 60000) r.site'
    )
