"""What a store of points must answer, said a second time in plain Python over a dict of points.

The stores' queries are tested against it, so it shares nothing with them but the registry and the columns.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scrapewatch import histogram
from scrapewatch.line_protocol import Point, Value, encode
from scrapewatch.measurements import MEASUREMENTS, Fold, Tier, fields_in
from scrapewatch.ports import Batch, Flush, Table, TimeRange
from scrapewatch.questions import QUESTIONS

STEPS = ("ack", "commit", "fold", "write_series", "apply_records")

OF_THE_RANGE = ("site_totals", "site_counts", "error_totals")
"""Questions that have no windows: one row stands for the whole range."""

Reading = tuple[str, int, Value]
"""Session (empty where the tier knows none), time, value."""
Series = tuple[frozenset[tuple[str, str]], int]
"""Tags, and the time of a point."""
Aggregate = Callable[[list[Reading]], int | float]


def total(readings: list[Reading]) -> int | float:
    values = [value for _, _, value in readings]
    return sum(values) if all(isinstance(v, int) for v in values) else math.fsum(values)  # type: ignore[arg-type]


def highest(readings: list[Reading]) -> int | float:
    return max(value for _, _, value in readings)  # type: ignore[return-value]


def mean(readings: list[Reading]) -> float:
    return math.fsum(float(value) for _, _, value in readings) / len(readings)


def last(readings: list[Reading]) -> int | float:
    return max(readings, key=lambda reading: reading[1])[2]  # type: ignore[return-value]


def over_sessions(inner: Aggregate) -> Aggregate:
    """The sum over the sessions of what ``inner`` makes of each one's readings."""

    def outer(readings: list[Reading]) -> float:
        by_session: defaultdict[str, list[Reading]] = defaultdict(list)
        for reading in readings:
            by_session[reading[0]].append(reading)
        return math.fsum(inner(of_one) for of_one in by_session.values())

    return outer


@dataclass(frozen=True)
class Part:
    """What one measurement gives to a question: answer column → how it is aggregated, and from which field.

    ``said``: columns of the key that are no tags, and what stands in them.
    """

    measurement: str
    key: tuple[str, ...]
    columns: Mapping[str, tuple[Aggregate, str]]
    said: Mapping[str, str] = dataclasses.field(default_factory=dict)


def _sums(*names: str) -> dict[str, tuple[Aggregate, str]]:
    return {name: (total, name) for name in names}


def _performance(key: tuple[str, ...]) -> tuple[Part, ...]:
    return (
        Part("jobs", key, _sums("scraped")),
        Part(
            "pages",
            key,
            {"pages": (total, "count"), **_sums("ok", "blocked", "duration_count", "duration_sum")},
        ),
        Part("errors", key, {"errors": (total, "count")}),
        Part("data_quality", key, _sums("items", "valid", "duplicates")),
    )


def parts(question: str, tier: Tier) -> tuple[Part, ...]:
    """The parts of ``question`` in ``tier``; the rollups keep the maxima of gauges under ``<name>_max``."""
    raw = tier in (Tier.FLEET, Tier.SESSIONS)

    def top(name: str) -> tuple[Aggregate, str]:
        return highest, name if raw else f"{name}_max"

    return {
        "throughput": (
            Part("jobs", ("site",), _sums("scraped", "saved", "duplicate", "dropped", "invalid")),
        ),
        "errors": (Part("errors", ("site", "type"), _sums("count")),),
        "success_rate": (
            Part("pages", ("site",), {"pages": (total, "count"), **_sums("ok", "blocked")}),
            Part("errors", ("site",), {"errors": (total, "count")}),
        ),
        "response_times": (
            Part(
                "pages",
                ("site",),
                {
                    **_sums("duration_count", "duration_sum", *histogram.FIELDS),
                    "duration_max": (highest, "duration_max"),
                },
            ),
        ),
        "performance": _performance(()),
        "site_performance": _performance(("site",)),
        "data_quality": (Part("data_quality", ("site",), _sums("items", "valid", "duplicates")),),
        "field_coverage": (Part("field_coverage", ("site", "field"), _sums("items", "covered")),),
        "proxies": (
            Part(
                "proxies",
                ("provider", "proxy"),
                {
                    **_sums("requests", "failures", "bans", "bytes", "cost", "latency_sum", "latency_count"),
                    "latency_max": (highest, "latency_max"),
                },
            ),
        ),
        "disks": (
            Part(
                "host_disks",
                ("host", "mount"),
                {"used": (mean, "used"), "total": top("total"), "percent": (mean, "percent")},
            ),
        ),
        "page_times": (Part("pages", ("site",), _sums("duration_count", "duration_sum")),),
        "site_totals": (
            Part("jobs", ("site",), _sums("scraped", "saved")),
            Part(
                "pages",
                ("site",),
                {
                    "pages": (total, "count"),
                    **_sums("ok", "blocked", "duration_count", "duration_sum", *histogram.FIELDS),
                    "duration_max": (highest, "duration_max"),
                },
            ),
            Part("errors", ("site",), {"errors": (total, "count")}),
        ),
        "site_counts": (
            Part("jobs", ("site",), _sums("scraped", "saved")),
            Part(
                "pages",
                ("site",),
                {"pages": (total, "count"), **_sums("ok", "blocked", "duration_count", "duration_sum")},
            ),
            Part("errors", ("site",), {"errors": (total, "count")}),
        ),
        "error_totals": (Part("errors", ("site", "type"), _sums("count")),),
        "costs": (
            Part("costs", ("site", "kind", "currency"), _sums("amount")),
            Part("proxies", (), {"amount": (total, "cost")}, {"kind": "proxies"}),
        ),
        "queue": (
            Part(
                "queue",
                ("session_id", "site"),
                {name: top(name) for name in ("depth", "pending", "active_scrapers")},
            ),
        ),
        "resources": (
            Part(
                "host",
                ("host",),
                {
                    **{n: (mean, n) for n in ("cpu_percent", "memory_percent", "swap_percent", "load_1")},
                    "cpu_percent_max": top("cpu_percent"),
                    "memory_percent_max": top("memory_percent"),
                },
            ),
        ),
        "breaker_states": (
            Part("breakers", ("site",), {"state": (last, "state"), **_sums("transitions", "opened")}),
        ),
        "session_metrics": (
            Part("jobs", ("site",), _sums("scraped")),
            Part(
                "pages",
                ("site",),
                {"pages": (total, "count"), **_sums("ok", "duration_count", "duration_sum")},
            ),
            Part("errors", ("site", "type"), {"errors": (total, "count")}),
            Part(
                "queue",
                ("site",),
                {"depth": (highest, "depth"), "active_scrapers": (highest, "active_scrapers")},
            ),
            Part(
                "resources", (), {"memory_mb": (highest, "memory_mb"), "cpu_percent": (mean, "cpu_percent")}
            ),
        ),
        "session_pace": (
            Part("jobs", ("session_id",), _sums("scraped")),
            Part("pages", ("session_id",), {"pages": (total, "count"), **_sums("ok")}),
            Part("errors", ("session_id",), {"errors": (total, "count")}),
        ),
        "session_progress": (
            Part(
                "progress", ("session_id", "site"), {"done": (highest, "done"), "total": (highest, "total")}
            ),
        ),
        "processes": (
            Part(
                "host_processes",
                ("host", "process"),
                {
                    "cpu_percent": (mean, "cpu_percent"),
                    "cpu_percent_max": top("cpu_percent"),
                    **{name: top(name) for name in ("memory", "threads", "count")},
                },
            ),
        ),
        "collector_throughput": (
            Part(
                "collector",
                ("collector",),
                _sums(
                    *("accepted", "delivered", "dead_lettered", "duplicates", "requests"),
                    *("rejected", "refused", "live_dropped", "sampler_seconds"),
                ),
            ),
        ),
        "collector_backlog": (
            Part(
                "collector",
                ("collector",),
                {
                    name: top(name)
                    for name in (
                        *("spooled", "spool_bytes", "flushes_pending"),
                        *("oldest_age", "unrecorded_age", "problems"),
                    )
                },
            ),
        ),
        "collector_latencies": (
            Part(
                "collector",
                ("collector",),
                {
                    **_sums(*(f"{step}_{what}" for step in STEPS for what in ("sum", "count"))),
                    **_sums(*histogram.FIELDS),
                    **{f"{step}_max": (highest, f"{step}_max") for step in STEPS},
                },
            ),
        ),
        "service_uptime": (
            Part(
                "service_checks",
                ("service",),
                {
                    **_sums("checks", "up", "response_time_sum"),
                    "response_time_max": (highest, "response_time_max"),
                },
            ),
        ),
    }[question]


class PlainStore:
    """Points as InfluxDB keeps them: a later write of the same series and time replaces the fields that it names."""

    def __init__(self) -> None:
        self._points: defaultdict[tuple[Tier, str], dict[Series, dict[str, Value]]] = defaultdict(dict)

    def put(self, points: Iterable[tuple[Tier, Point]]) -> None:
        for tier, point in points:
            tags = frozenset((key, value) for key, value in point.tags.items() if value)
            of_measurement = self._points[tier, point.measurement]
            of_measurement.setdefault((tags, point.time), {}).update(point.fields)

    def _select(
        self, measurement: str, tier: Tier, where: Mapping[str, str], time_range: TimeRange
    ) -> Iterator[tuple[dict[str, str], int, dict[str, Value]]]:
        for (tag_pairs, time), fields in self._points[tier, measurement].items():
            tags = dict(tag_pairs)
            if time_range.start <= time < time_range.stop and all(
                tags.get(name, "") == value for name, value in where.items() if value
            ):
                yield tags, time, fields

    def ask(
        self, question: str, parameters: Mapping[str, str], time_range: TimeRange, *, tier: Tier
    ) -> list[tuple[Any, ...]]:
        known = QUESTIONS[question]
        rows: defaultdict[tuple[Any, ...], dict[str, int | float]] = defaultdict(dict)
        for part in parts(question, tier):
            readings: defaultdict[tuple[Any, ...], list[Reading]] = defaultdict(list)
            for tags, time, fields in self._select(part.measurement, tier, parameters, time_range):
                start = time // time_range.every * time_range.every
                if question in OF_THE_RANGE:
                    start = time_range.start
                names = (
                    tags.get(name, "") if name in part.key else part.said.get(name, "")
                    for name in known.key[1:]
                )
                key = (start, *names)
                for column, (_, stored) in part.columns.items():
                    if stored in fields:
                        readings[*key, column].append((tags.get("session_id", ""), time, fields[stored]))
            for (*key_, column), values in readings.items():
                rows[tuple(key_)][column] = part.columns[column][0](values)
        answer = []
        for key in sorted(rows):
            row = dict(zip(known.key, key, strict=True)) | rows[key]
            answer.append(tuple(row.get(column.name) for column in known.columns))
        return answer

    def windows(self, measurement: str, time_range: TimeRange, *, tier: Tier) -> list[Point]:
        readings: defaultdict[tuple[int, frozenset[tuple[str, str]], str], list[Reading]] = defaultdict(list)
        for tags, time, fields in self._select(measurement, tier, {}, time_range):
            start = time // time_range.every * time_range.every
            series = frozenset((key, value) for key, value in tags.items() if key != "session_id")
            for name, value in fields.items():
                readings[start, series, name].append((tags.get("session_id", ""), time, value))
        points: defaultdict[tuple[int, frozenset[tuple[str, str]]], dict[str, Value]] = defaultdict(dict)
        for (start, series, name), values in readings.items():
            fields_out = points[start, series]
            match MEASUREMENTS[measurement].field(name).fold:
                case Fold.SUM:
                    fields_out[name] = total(values)
                case Fold.MAX:
                    fields_out[name] = highest(values)
                case Fold.STATE:
                    fields_out[name] = last(values)
                    fields_out[f"{name}_max"] = highest(values)
                case Fold.GAUGE:
                    fields_out[name] = over_sessions(mean)(values)
                    if f"{name}_max" not in {field.name for field in MEASUREMENTS[measurement].fields}:
                        fields_out[f"{name}_max"] = over_sessions(highest)(values)
        return [Point(measurement, dict(tags), fields, start) for (start, tags), fields in points.items()]


def flush_of(
    points: Iterable[tuple[Tier, Point]], *, tenant: str, number: int = 1, collector_no: int = 0
) -> Flush:
    """A flush of ``points``, with one event a line."""
    lines: defaultdict[Tier, list[str]] = defaultdict(list)
    for tier, point in points:
        lines[tier].append(encode(point))
    return Flush(
        collector_no,
        number,
        [Batch(tenant, tier, tuple(those), (1,) * len(those)) for tier, those in lines.items()],
    )


def assert_rows(answer: Table, question: str, expected: Sequence[tuple[Any, ...]]) -> None:
    """The answer has the question's columns and ``expected`` rows: integers and text exact, floats to 1e-9 of themselves."""
    known = QUESTIONS[question]
    assert answer.columns == known.columns
    names = [column.name for column in known.columns]
    at = [names.index(name) for name in known.key]
    keys = [tuple(row[i] for i in at) for row in answer.rows]
    assert keys == [tuple(row[i] for i in at) for row in expected]
    for row, wanted in zip(answer.rows, expected, strict=True):
        for column, value, want in zip(known.columns, row, wanted, strict=True):
            where = f"{column.name} of {[row[i] for i in at]}"
            if want is None or column.type == "string":
                assert value == want, where
            elif column.type == "float":
                assert type(value) is float, where
                assert math.isclose(value, want, rel_tol=1e-9, abs_tol=1e-300), where
            else:
                assert type(value) is int, where
                assert value == want, where


def assert_points(answer: Iterable[Point], expected: Iterable[Point], tier: Tier = Tier.FLEET_1M) -> None:
    """The same points, in any order, with the types that the registry gives to ``tier``."""

    def by_series(points: Iterable[Point]) -> dict[tuple[int, tuple[tuple[str, str], ...]], Point]:
        listed = [((point.time, tuple(sorted(point.tags.items()))), point) for point in points]
        assert len(dict(listed)) == len(listed), "one point a window and series"
        return dict(listed)

    got, want = by_series(answer), by_series(expected)
    assert sorted(got) == sorted(want)
    for key, point in want.items():
        fields = got[key].fields
        assert got[key].measurement == point.measurement
        assert sorted(fields) == sorted(point.fields), key
        for field in fields_in(MEASUREMENTS[point.measurement], tier):
            if field.name in fields:
                assert type(fields[field.name]) is field.type, (key, field.name)
                if field.type is int:
                    assert fields[field.name] == point.fields[field.name], (key, field.name)
                else:
                    assert math.isclose(fields[field.name], point.fields[field.name], rel_tol=1e-9), (  # type: ignore[arg-type]
                        key,
                        field.name,
                    )
