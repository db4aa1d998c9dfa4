"""What panels compute in Flux is what the API computes of the same rows, read from the same tier in the same windows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from grafana.build.flux import reading, text_of
from influx.panels import FOLDER, SOURCES, STEPS, source
from influx.store import InfluxStore
from scrapewatch import answers, histogram
from scrapewatch.measurements import KEEPING, Tier
from scrapewatch.ports import DEFAULT_TENANT, TimeRange
from scrapewatch.questions import QUESTIONS, tier_for
from scrapewatch.time import DAY, HOUR, MINUTE, SECOND, to_ns, window_start
from tests.grafana.conftest import Stores
from tests.grafana.expansion import Variable, replace_variables
from tests.grafana.flux_source import FluxSource, expand
from tests.grafana.frames import Frame

ALL = Variable(everything=True, options=("indeed",), all_value="''", multi=True, include_all=True)
HOSTILE = ('a"b', "a\\", "^a$", "a/b|c", "${r.site}", "a\\/b", "(a)[b]{c}", "$1", "é ü", "")

Rows = dict[tuple[int, str, str], float]
"""Time, series and field → value."""


@pytest.fixture(scope="module")
def flux(stores: Stores) -> Iterator[FluxSource]:
    asked = FluxSource(stores.influx_url, stores.org, stores.token)
    yield asked
    asked.close()


@pytest.fixture(scope="module")
def store(stores: Stores) -> Iterator[InfluxStore]:
    asked = InfluxStore(stores.influx_url, stores.org, stores.token, writes=False)
    yield asked
    asked.close()


@pytest.fixture(scope="module")
def hours(stores: Stores) -> TimeRange:
    """Six hours by the minute, which the rollup of minutes answers."""
    return TimeRange(stores.now - stores.now % MINUTE - 6 * HOUR, stores.now - stores.now % MINUTE, MINUTE)


@pytest.fixture(scope="module")
def day(stores: Stores) -> TimeRange:
    """A day by five minutes."""
    stop = window_start(stores.now, 5 * MINUTE)
    return TimeRange(stop - DAY, stop, 5 * MINUTE)


def frames(flux: FluxSource, text: str, shown: TimeRange, **variables: Variable) -> list[Frame]:
    written = replace_variables(text, {"site": ALL, **variables})
    return flux.query(expand(written, start=shown.start, stop=shown.stop, step=shown.every), points=1_000)


def rows(found: Sequence[Frame], tag: str) -> Rows:
    made: Rows = {}
    for frame in found:
        times, values = frame.fields
        for time, value in zip(times.values, values.values, strict=True):
            made[to_ns(time), values.labels.get(tag, ""), values.name] = value
    return made


def asked(store: InfluxStore, question: str, shown: TimeRange) -> list[dict[str, Any]]:
    parameters = {parameter.name: "" for parameter in QUESTIONS[question].parameters}
    table = store.ask(question, parameters, shown, tier=Tier.FLEET_1M, tenant=DEFAULT_TENANT)
    return list(table.dicts())


def zero(row: Mapping[str, Any], *names: str) -> list[Any]:
    return [row[name] or 0 for name in names]


BY_ROW: dict[str, tuple[str, tuple[str, ...], str, Callable[[Mapping[str, Any]], float | None]]] = {
    "success_rate": (
        "success_rate",
        ("pages", "ok", "errors"),
        "site",
        lambda row: answers.success_rate(*zero(row, "ok", "pages", "errors")),
    ),
    "mean_time": (
        "page_times",
        ("duration_count", "duration_sum"),
        "site",
        lambda row: answers.mean(*zero(row, "duration_sum", "duration_count")),
    ),
    "uptime": (
        "service_uptime",
        ("checks", "up"),
        "service",
        lambda row: answers.share(*zero(row, "up", "checks")),
    ),
    "block_share": (
        "success_rate",
        ("pages", "blocked"),
        "site",
        lambda row: answers.share(*zero(row, "blocked", "pages")),
    ),
    "valid_share": (
        "data_quality",
        ("items", "valid"),
        "site",
        lambda row: answers.share(*zero(row, "valid", "items")),
    ),
    "duplicate_share": (
        "data_quality",
        ("items", "duplicates"),
        "site",
        lambda row: answers.share(*zero(row, "duplicates", "items")),
    ),
}


@pytest.mark.parametrize("step", BY_ROW)
def test_a_step_computes_of_each_row_what_the_api_computes(
    step: str, flux: FluxSource, store: InfluxStore, hours: TimeRange
) -> None:
    question, columns, tag, compute = BY_ROW[step]
    expected = {
        (row["time"], row[tag], step): value
        for row in asked(store, question, hours)
        if (value := compute(row)) is not None
    }
    assert len(expected) > 10
    found = rows(frames(flux, text_of(question, columns, steps=[step]), hours), tag)
    assert found == pytest.approx(expected, rel=1e-9)


def test_quantiles_are_those_of_the_histogram_alone(
    flux: FluxSource, store: InfluxStore, hours: TimeRange
) -> None:
    expected = {
        (row["time"], row["site"], name): value
        for row in asked(store, "response_times", hours)
        for name, value in answers.quantiles({**row, "duration_max": None}).items()
        if value is not None
    }
    assert len(expected) > 10
    found = rows(frames(flux, text_of("response_times", (), steps=["quantiles"]), hours), "site")
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_rate_a_minute_counts_silence_as_none_and_all_windows_of_the_range(
    flux: FluxSource, store: InfluxStore, hours: TimeRange
) -> None:
    wide = TimeRange.widened(hours.start, hours.stop, 5 * MINUTE)
    counted: defaultdict[int, int] = defaultdict(int)
    for row in asked(store, "throughput", wide):
        counted[row["time"]] += row["scraped"]
    text = text_of("throughput", ["scraped"], steps=["together", "per_minute", "dense"])
    found = rows(frames(flux, text, wide), "site")
    # The window that is not over is scaled by what is over of it: that one alone is not known here.
    expected = {
        (time, "", "scraped"): counted[time] / 5
        for time in range(wide.start, window_start(hours.stop, 5 * MINUTE), 5 * MINUTE)
    }
    assert 0 in expected.values()
    assert {key: found.get(key) for key in expected} == pytest.approx(expected)


def test_a_running_sum_ends_with_the_sum_of_the_range(
    flux: FluxSource, store: InfluxStore, hours: TimeRange
) -> None:
    text = text_of("throughput", ["scraped"], steps=["together", "running"])
    found = rows(frames(flux, text, hours), "site")
    grown = [found[key] for key in sorted(found)]
    assert grown == sorted(grown)
    assert grown[-1] == sum(row["scraped"] for row in asked(store, "throughput", hours))


def test_now_and_before_are_the_same_question_of_two_times_drawn_as_one(
    flux: FluxSource, store: InfluxStore, day: TimeRange
) -> None:
    text = text_of("throughput", ["scraped"], steps=["together"], against="1d")
    found = rows(frames(flux, text, day), "site")
    for name, back in (("now", 0), ("before", DAY)):
        sums: defaultdict[tuple[int, str, str], float] = defaultdict(float)
        for row in asked(store, "throughput", TimeRange(day.start - back, day.stop - back, day.every)):
            sums[row["time"] + back, "", name] += row["scraped"]
        assert sums
        assert {key: value for key, value in found.items() if key[2] == name} == pytest.approx(dict(sums))


def test_a_change_is_that_of_the_api(flux: FluxSource, store: InfluxStore, day: TimeRange) -> None:
    text = text_of("throughput", ["scraped"], steps=["together"], against="1d", compared=["change"])
    [value] = rows(frames(flux, text, day), "site").values()
    now, before = (
        sum(
            row["scraped"]
            for row in asked(store, "throughput", TimeRange(day.start - back, day.stop - back, day.every))
        )
        for back in (0, DAY)
    )
    assert value == pytest.approx(answers.change_percent(now, before))


def test_open_breakers_are_the_sites_whose_last_state_is_open(
    flux: FluxSource, store: InfluxStore, hours: TimeRange
) -> None:
    last = {row["site"]: row["state"] for row in asked(store, "breaker_states", hours)}
    [found] = rows(
        frames(flux, text_of("breaker_states", ["state"], steps=["open_breakers"]), hours), "site"
    ).values()
    assert found == sum(state == 2 for state in last.values())


def test_the_money_for_proxies_is_counted_once(flux: FluxSource, store: InfluxStore, day: TimeRange) -> None:
    spent: defaultdict[str, float] = defaultdict(float)
    for row in asked(store, "costs", day):
        spent[row["kind"]] += row["amount"]
    assert {"proxy", "proxies"} <= spent.keys()
    shown: defaultdict[str, float] = defaultdict(float)
    text = text_of("costs", ["amount"], steps=["counted_once", "by_kind"])
    for (_, kind, _), amount in rows(frames(flux, text, day), "kind").items():
        shown[kind] += amount
    assert shown == pytest.approx({kind: amount for kind, amount in spent.items() if kind != "proxies"})


def test_a_heatmap_has_a_column_for_each_two_buckets_that_anything_fell_into_the_quickest_first(
    flux: FluxSource, store: InfluxStore, hours: TimeRange
) -> None:
    edges = (*histogram.EDGES, float("inf"))
    counted: defaultdict[tuple[int, float], int] = defaultdict(int)
    for row in asked(store, "response_times", hours):
        for number, name in enumerate(histogram.FIELDS):
            if row[name]:
                counted[row["time"], edges[min(number + number % 2, len(edges) - 1)]] += row[name]
    [frame] = frames(flux, text_of("response_times", (), steps=["heatmap"]), hours)
    times, *buckets = frame.fields
    names = [bucket.name for bucket in buckets]
    assert names == sorted(names)
    tops = [float("inf") if name == "longer" else float(name) for name in names]
    assert tops == sorted(tops)
    assert times.values == sorted(times.values)
    rounded = {round(edge, 6): edge for edge in edges}
    found = {
        (to_ns(time), rounded[round(top, 6)]): value
        for top, bucket in zip(tops, buckets, strict=True)
        for time, value in zip(times.values, bucket.values, strict=True)
        if value
    }
    assert found == counted


@pytest.mark.parametrize("hostile", HOSTILE)
def test_whatever_is_chosen_as_a_session_is_that_text(
    hostile: str, flux: FluxSource, hours: TimeRange
) -> None:
    text = "\n".join(
        [
            'import "array"',
            'import "regexp"',
            'import "strings"',
            reading(QUESTIONS["session_metrics"]),
            'array.from(rows: [{_time: v.timeRangeStart, _value: reading(back: 0s).session_id + "|"}])',
        ]
    )
    [frame] = frames(flux, text, hours, session=Variable(hostile))
    assert frame.fields[1].values == [f"{hostile}|"]


@pytest.mark.parametrize("question", ["throughput", "queue", "session_metrics"])
@pytest.mark.parametrize(
    ("back", "length", "every"),
    [
        (0, 15 * MINUTE, 5 * SECOND),
        (0, HOUR, 10 * SECOND),
        (0, 3 * HOUR, 30 * SECOND),
        (0, 6 * HOUR, MINUTE),
        (0, 30 * MINUTE, MINUTE),
        (0, 7 * DAY, 30 * MINUTE),
        (0, 30 * DAY, 2 * HOUR),
        (0, 89 * DAY, 6 * HOUR),
        (20 * DAY, 6 * HOUR, MINUTE),
        (0, 400 * DAY, 7 * DAY),
    ],
)
def test_a_panel_reads_the_tier_that_the_api_reads_in_whole_windows(
    question: str, back: int, length: int, every: int, flux: FluxSource, stores: Stores
) -> None:
    known = QUESTIONS[question]
    stop = stores.now - back
    shown = TimeRange(stop - length, stop, every)
    imports = ['import "array"', 'import "regexp"', 'import "strings"']
    said = "array.from(rows: [{_time: v.timeRangeStart, tier: read.tier, start: read.start, stop: read.stop, every: int(v: read.every)}])"
    text = "\n".join([*imports, reading(known), "read = reading(back: 0s)", said])
    [frame] = frames(flux, text, shown, session=Variable("s"))
    read = {field.name: field.values[0] for field in frame.fields}
    wide = TimeRange.widened(shown.start, shown.stop, every)
    assert read["tier"] == tier_for(known, wide, stores.now)
    assert (to_ns(read["start"]), to_ns(read["stop"]), read["every"]) == (wide.start, wide.stop, every)


def test_what_is_too_old_for_fine_windows_is_read_in_coarser_ones(flux: FluxSource, stores: Stores) -> None:
    """The API takes the windows that it is asked for; a panel asks for as many as there is room for, and takes those that there are."""
    stop = stores.now - 20 * DAY
    imports = ['import "array"', 'import "strings"']
    said = "array.from(rows: [{_time: v.timeRangeStart, tier: read.tier, every: int(v: read.every)}])"
    text = "\n".join([*imports, reading(QUESTIONS["throughput"]), "read = reading(back: 0s)", said])
    [frame] = frames(flux, text, TimeRange(stop - 15 * MINUTE, stop, 5 * SECOND))
    read = {field.name: field.values[0] for field in frame.fields}
    assert (read["tier"], read["every"]) == (Tier.FLEET_1M, KEEPING[Tier.FLEET_1M].window)


def test_every_file_is_a_step_and_every_step_a_function_of_its_name() -> None:
    files = {path.stem for path in (FOLDER / "steps").glob("*.flux")}
    assert files == {step.file for step in STEPS.values()}
    assert {path.stem for path in FOLDER.glob("*.flux")} == SOURCES.keys()
    for name in STEPS:
        text = text_of("throughput", ["scraped"], steps=[name])
        assert f"\n{name} = (" in text


def test_a_tenant_reads_its_own_buckets(flux: FluxSource, hours: TimeRange) -> None:
    text = "\n".join(
        [
            'import "array"',
            'import "strings"',
            reading(source("throughput")[0]),
            "array.from(rows: [{_time: v.timeRangeStart, _value: reading(back: 0s).tier}])",
        ]
    )
    written = expand(text, start=hours.start, stop=hours.stop, step=hours.every, bucket="fleet.of.acme.fleet")
    [frame] = flux.query(written)
    assert frame.fields[1].values == ["fleet.of.acme.fleet_1m"]
