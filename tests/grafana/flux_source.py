"""Grafana's Flux data source: what its server half makes of a query, and the frames that it makes of the answer.

Read out of ``pkg/tsdb/influxdb/flux`` of Grafana 9.4. A name such as ``v.timeRangeStart`` is put in by text, wherever it stands, in
strings, comments and the values of variables, too; so is ``$__interval``. Each table of the answer is a frame, and its group key the
labels of its fields; of more than 1,000 tables the rest are dropped, with an error.
"""

from __future__ import annotations

import re
from typing import Final

from influxdb_client.client.flux_table import FluxTable
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException

from influx.externs import time_text
from scrapewatch.time import DAY, HOUR, MINUTE, SECOND
from tests.grafana.frames import Field, Frame

MOST_SERIES: Final = 1_000
MOST_POINTS: Final = 10
"""Rows that a frame may have for each data point that the panel has room for."""

_NAME: Final = re.compile(r"([a-zA-Z]+)\.([a-zA-Z]+)")
_MS: Final = 1_000_000

# Below which length (ms) which is taken: steps that a person finds round.
_ROUND: Final = (
    *(
        (10, 1),
        (15, 10),
        (35, 20),
        (75, 50),
        (150, 100),
        (350, 200),
        (750, 500),
        (1_500, 1_000),
        (3_500, 2_000),
    ),
    *(
        (7_500, 5_000),
        (12_500, 10_000),
        (17_500, 15_000),
        (25_000, 20_000),
        (45_000, 30_000),
        (90_000, 60_000),
    ),
    *(
        (210_000, 120_000),
        (450_000, 300_000),
        (750_000, 600_000),
        (1_050_000, 900_000),
        (1_500_000, 1_200_000),
    ),
    *((2_700_000, 1_800_000), (5_400_000, 3_600_000), (9_000_000, 7_200_000), (16_200_000, 10_800_000)),
    *((32_400_000, 21_600_000), (86_400_000, 43_200_000), (604_800_000, 86_400_000)),
    *((1_814_400_000, 604_800_000), (3_628_800_000, 2_592_000_000)),
)
_TYPES: Final = {
    "string": "string",
    "double": "number",
    "boolean": "boolean",
    "long": "number",
    "unsignedLong": "number",
    "duration": "number",
    "base64Binary": "string",
    "dateTime:RFC3339": "time",
    "dateTime:RFC3339Nano": "time",
}


class QueryError(Exception):
    """What a panel would show in red."""


def interval(start: int, stop: int, points: int, least: int) -> int:
    """The step (ns) for a range in which ``points`` have room, at ``least`` (ns)."""
    wanted = (stop - start) / _MS / points
    rounded = next((step for below, step in _ROUND if wanted < below), 31_536_000_000)
    return max(rounded * _MS, least)


def expand(
    query: str, *, start: int, stop: int, step: int, bucket: str = "fleet", org: str = "scrapewatch"
) -> str:
    """The Flux that Grafana sends for a query whose variables are in already. ``start`` and ``stop`` in ns, cut to milliseconds."""
    names = {
        "timeRangeStart": _time(start),
        "timeRangeStop": _time(stop),
        "windowPeriod": go_duration(step),
        "bucket": f'"{bucket}"',
        "defaultBucket": f'"{bucket}"',
        "organization": f'"{org}"',
    }
    found = query
    for match in _NAME.finditer(query):
        if match[2] in names:
            found = found.replace(match[0], names[match[2]])
    return found.replace("$__interval_ms", str(step // _MS)).replace("$__interval", _short(step))


def go_duration(ns: int) -> str:
    """A length as Go writes it, such as 1h0m0s."""
    if ns < SECOND:
        return f"{ns / _MS:g}ms"
    seconds = f"{ns % MINUTE / SECOND:g}s"
    if ns < MINUTE:
        return seconds
    minutes = f"{ns % HOUR // MINUTE}m{seconds}"
    return minutes if ns < HOUR else f"{ns // HOUR}h{minutes}"


def _time(ns: int) -> str:
    text = time_text(ns // _MS * _MS).removesuffix("Z").rstrip("0").rstrip(".")
    return f"{text}Z"


def _short(ns: int) -> str:
    for length, unit in ((365 * DAY, "y"), (DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s")):
        if ns >= length:
            return f"{ns // length}{unit}"
    return f"{max(ns // _MS, 1)}ms"


class FluxSource:
    """The data source that leads to an InfluxDB; may be used from any thread."""

    def __init__(self, url: str, org: str, token: str) -> None:
        self._client = InfluxDBClient(url, token, org=org, timeout=60_000)
        self._query = self._client.query_api().query

    def query(self, flux: str, *, points: int = 100, ref: str = "A") -> list[Frame]:
        """The frames of an expanded query.

        Raises:
            QueryError: InfluxDB refuses it, or breaks off; or there are more series, or rows in one, than Grafana takes.
        """
        try:
            tables = self._query(flux)
        except ApiException as error:
            raise QueryError(f"{error.message or error.body}\n{flux}") from error
        if len(tables) > MOST_SERIES:
            raise QueryError(f"{len(tables)} series, of which Grafana shows {MOST_SERIES}\n{flux}")
        frames = [_frame(table, ref) for table in tables]
        most = max((len(frame) for frame in frames), default=0)
        if most > points * MOST_POINTS:
            raise QueryError(
                f"{most} rows in a series, of which Grafana shows {points * MOST_POINTS}\n{flux}"
            )
        return frames

    def close(self) -> None:
        """Close the connections."""
        self._client.close()  # type: ignore[no-untyped-call]


def _frame(table: FluxTable, ref: str) -> Frame:
    columns = [column for column in table.columns if column.label not in ("result", "table")]
    first = table.records[0].values if table.records else {}
    labels = {
        c.label: str(first[c.label]) for c in columns if c.group and first.get(c.label) not in (None, "")
    }
    name = labels.pop("_measurement", "")
    times = [column for column in columns if not column.group and _TYPES[column.data_type] == "time"]
    others = [column for column in columns if not column.group and _TYPES[column.data_type] != "time"]
    timed = [column.label for column in times] == ["_time"]
    simple = timed and [column.label for column in others] == ["_value"]
    value_name = labels.pop("_field", "Value") if simple else "Value"
    if simple and {"_start", "_stop"} <= {column.label for column in columns if column.group}:
        labels = {label: text for label, text in labels.items() if label not in ("_start", "_stop")}

    def named(label: str) -> str:
        return {"_time": "Time", "_value": value_name}[label] if simple else label

    fields = [
        Field(
            named(column.label),
            _TYPES[column.data_type],
            {} if timed and column in times else labels,
            [record.values.get(column.label) for record in table.records],
        )
        for column in (*times, *others)
    ]
    return Frame(fields, ref, name)
