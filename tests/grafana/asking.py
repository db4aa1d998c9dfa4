"""Dashboards as Grafana asks for them: every query of panels, variables and annotations, with a choice for each variable and a range."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg

from scrapewatch.time import DAY, HOUR, MINUTE, SECOND, to_datetime, window_start
from tests.grafana.expansion import Range, Variable, expand_sql, replace_variables
from tests.grafana.flux_source import FluxSource, QueryError, expand, interval
from tests.grafana.frames import Field, Frame

WIDTH: Final = 1_600
"""Points that annotations have room for: the width of the window."""

_LENGTH: Final = re.compile(r"(\d+)(s|m|h|d)")
_UNITS: Final = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
# Types of PostgreSQL by their number.
_BOOLEAN, _NUMBERS, _TIMES = 16, {20, 21, 23, 700, 701, 1700}, {1082, 1114, 1184}


@dataclass(frozen=True, slots=True)
class Query:
    """A query of a dashboard: ``owner`` is the title of its panel, or the name of its variable or annotation.

    ``kind`` is influxdb or postgres. ``points`` is how many have room, ``least`` the least step (ns), ``since`` the beginning of a range of
    its own, as in Grafana: a length, or now/d for midnight (UTC). ``series``: rows of SQL are to become series.
    """

    dashboard: str
    owner: str
    ref: str
    kind: str
    text: str
    points: int = 300
    least: int = 5 * SECOND
    since: str = ""
    series: bool = False

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.owner} [{self.ref}]"


def panels_of(dashboard: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Its panels, those in collapsed rows, too, without the rows."""
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            yield panel
        yield from panel.get("panels", ())


def queries_of_panel(dashboard: Mapping[str, Any], panel: Mapping[str, Any]) -> list[Query]:
    """What a panel asks of the stores; what it reads elsewhere, such as live, is left out."""
    return [
        Query(
            dashboard["uid"],
            panel["title"],
            target["refId"],
            target["datasource"]["type"],
            target.get("query") or target["rawSql"],
            panel.get("maxDataPoints") or WIDTH * panel["gridPos"]["w"] // 24,
            _length(panel.get("interval") or "5s"),
            panel.get("timeFrom") or "",
            target.get("format") == "time_series",
        )
        for target in panel.get("targets", ())
        if target["datasource"]["type"] in ("influxdb", "postgres") and not target.get("hide")
    ]


def queries_of_annotations(dashboard: Mapping[str, Any]) -> list[Query]:
    """What its annotations ask."""
    return [
        Query(
            dashboard["uid"],
            mark["name"],
            "Anno",
            mark["datasource"]["type"],
            mark["target"].get("query") or mark["target"]["rawSql"],
            WIDTH,
        )
        for mark in dashboard["annotations"]["list"]
        if mark["datasource"]["type"] in ("influxdb", "postgres")
    ]


def queries_of_variables(dashboard: Mapping[str, Any]) -> dict[str, Query]:
    """What its variables ask, by name."""
    return {
        variable["name"]: Query(
            dashboard["uid"],
            variable["name"],
            "variable",
            variable["datasource"]["type"],
            variable["query"],
            100,
            SECOND,
        )
        for variable in dashboard["templating"]["list"]
        if variable["type"] == "query"
    }


@dataclass(frozen=True, slots=True)
class Asker:
    """Grafana between a dashboard and the stores, which stay as they are: what was asked once is not asked again."""

    flux: FluxSource
    records: psycopg.Connection[Any]
    answers: dict[tuple[str, int, str, bool], list[Frame]] = field(default_factory=dict)

    def ask(self, query: Query, variables: Mapping[str, Variable], start: int, stop: int) -> list[Frame]:
        """The frames of a query for the range from ``start`` to ``stop`` (ns).

        Raises:
            QueryError: a store refuses it.
        """
        if query.since:
            start = window_start(stop, DAY) if query.since == "now/d" else stop - _length(query.since)
        step = interval(start, stop, query.points, query.least)
        if query.kind == "influxdb":
            text = replace_variables(query.text, variables)
            asked = expand(text, start=start, stop=stop, step=step)
        else:
            shown = Range(to_datetime(start), to_datetime(stop))
            asked = expand_sql(query.text, variables, shown, interval_seconds=max(step // SECOND, 1))
        key = (asked, query.points, query.ref, query.series)
        if key not in self.answers:
            self.answers[key] = self._answer(query, asked)
        return self.answers[key]

    def _answer(self, query: Query, asked: str) -> list[Frame]:
        if query.kind == "influxdb":
            return self.flux.query(asked, points=query.points, ref=query.ref)
        frame = self._rows(asked, query.ref)
        return [series_of(frame) if query.series and len(frame) else frame]

    def _rows(self, sql: str, ref: str) -> Frame:
        try:
            with self.records.cursor() as cursor:
                cursor.execute(sql.encode())
                found = cursor.fetchall()
                described = cursor.description or []
        except psycopg.Error as error:
            raise QueryError(f"{error}\n{sql}") from error
        columns = list(zip(*found, strict=True)) or [()] * len(described)
        return Frame(
            [
                Field(column.name, _type_of(column.type_code), {}, values)
                for column, values in zip(described, columns, strict=True)
            ],
            ref,
        )

    def variables(
        self, dashboard: Mapping[str, Any], choices: Mapping[str, str | Sequence[str]], start: int, stop: int
    ) -> dict[str, Variable]:
        """The variables of a dashboard: ``choices`` for some, All for the rest, or else the first of their values.

        Raises:
            QueryError: a store refuses what a variable asks.
        """
        asked = queries_of_variables(dashboard)
        found: dict[str, Variable] = {}
        for variable in dashboard["templating"]["list"]:
            name, multi = variable["name"], bool(variable.get("multi"))
            options: Sequence[str] = ()
            if name in asked:
                options = choices_in(self.ask(asked[name], found, start, stop))
            everything = bool(variable.get("includeAll")) and name not in choices
            current = variable.get("current", {}).get("value", "")
            chosen = choices.get(name, options[0] if options else current if isinstance(current, str) else "")
            found[name] = Variable(
                [chosen] if multi and isinstance(chosen, str) else chosen,
                options,
                everything,
                variable.get("allValue"),
                multi,
                bool(variable.get("includeAll")),
            )
        return found


def choices_in(frames: Sequence[Frame]) -> list[str]:
    """The values that a variable takes of an answer: of the first frame only, and there of ``__value`` or the first text."""
    if not frames:
        return []
    fields = {known.name: known for known in frames[0].fields}
    texts = [known for known in frames[0].fields if known.type == "string"]
    chosen = fields.get("__value") or (texts or list(frames[0].fields))[0]
    return list(dict.fromkeys(str(value) for value in chosen.values if value is not None))


def series_of(frame: Frame) -> Frame:
    """Rows with a time and texts as a column of numbers for each of the texts, as the SQL data sources make series of them.

    Raises:
        QueryError: there is no time, or the rows are not in its order.
    """
    time = next((known for known in frame.fields if known.name == "time" and known.type == "time"), None)
    if time is None:
        raise QueryError("no column of time")
    if None in time.values or list(time.values) != sorted(time.values):
        raise QueryError("rows are not in the order of their time")
    texts = [known for known in frame.fields if known.type == "string"]
    numbers = [known for known in frame.fields if known.type in ("number", "boolean")]
    moments = list(dict.fromkeys(time.values))
    keys = list(zip(*(known.values for known in texts), strict=True)) if texts else [()] * len(frame)
    fields = [Field("Time", "time", {}, moments)]
    for number in numbers:
        for key in dict.fromkeys(keys):
            found = {
                at: value for at, of, value in zip(time.values, keys, number.values, strict=True) if of == key
            }
            labels = {known.name: str(text) for known, text in zip(texts, key, strict=True)}
            name = number.name
            # One text and one number: the series is called by the text alone.
            if len(frame.fields) == 3 and set(labels) == {"metric"}:
                name, labels = labels["metric"], {}
            fields.append(Field(name, number.type, labels, [found.get(at) for at in moments]))
    return Frame(fields, frame.ref)


def _type_of(number: int) -> str:
    if number in _TIMES:
        return "time"
    if number in _NUMBERS:
        return "number"
    return "boolean" if number == _BOOLEAN else "string"


def _length(text: str) -> int:
    found = _LENGTH.fullmatch(text)
    if found is None:
        raise ValueError(f"{text} is no length that is read here")
    return int(found[1]) * _UNITS[found[2]]
