"""Panels: what each shows, where it comes from, and how panels of its kind look unless it says otherwise."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, Literal

import records.panels
from grafana.build import colours, flux
from grafana.build.units import UNITS, unit_of
from records.panels import ANNOTATIONS, PANELS
from scrapewatch.measurements import MEASUREMENTS
from scrapewatch.ports import Column

SERIES: Final = {"type": "influxdb", "uid": "${series}"}
RECORDS: Final = {"type": "postgres", "uid": "${records}"}
GRAFANA: Final = {"type": "datasource", "uid": "grafana"}

_MEASUREMENT: Final = re.compile(r'measurement(?: ==|:) "(\w+)"')

Kind = Literal[
    "timeseries",
    "stat",
    "gauge",
    "bargauge",
    "table",
    "heatmap",
    "state-timeline",
    "status-history",
    "barchart",
    "piechart",
    "histogram",
    "text",
    "logs",
]


@dataclass(frozen=True, slots=True)
class Flux:
    """Columns of a question, or of a source of :mod:`influx.panels`, put through steps; see :func:`grafana.build.flux.text_of`."""

    question: str
    columns: tuple[str, ...]
    steps: tuple[str, ...] = ()
    back: str = ""
    early: str = ""
    against: str = ""
    compared: tuple[str, ...] = ()
    named_by: str = ""
    whole_windows: bool = False
    name: str = ""

    def gives(self) -> tuple[Column, ...]:
        """The columns that come of it, with their units; tags aside."""
        return flux.columns_of(self.question, self.columns, (*self.steps, *self.compared))

    def text(self, variables: Iterable[str]) -> str:
        """The query, narrowed by the ``variables`` of a dashboard."""
        return flux.text_of(
            self.question,
            self.columns,
            steps=self.steps,
            variables=variables,
            back=self.back,
            early=self.early,
            against=self.against,
            compared=self.compared,
            named_by=self.named_by,
            whole_windows=self.whole_windows,
        )

    def json(self, variables: Iterable[str]) -> dict[str, Any]:
        """The target as Grafana reads it."""
        return {"datasource": SERIES, "query": self.text(variables)}

    def measurements(self) -> set[str]:
        """The measurements that it reads."""
        return {name for name in _MEASUREMENT.findall(self.text(())) if name in MEASUREMENTS}


@dataclass(frozen=True, slots=True)
class Sql:
    """A query of :mod:`records.panels`, by its name."""

    panel: str
    name: str = ""

    def gives(self) -> tuple[Column, ...]:
        """The columns that come of it, with their units; the time and the name of series aside."""
        query = _query(self.panel)
        return tuple(c for c in query.columns if not query.over_time or c.name not in ("time", "metric"))

    @property
    def named_by(self) -> str:
        """``metric`` where Grafana calls series by it alone, as it does where one number comes with it."""
        query = _query(self.panel)
        return (
            "metric"
            if query.over_time
            and [c.name for c in query.columns][:2] == ["time", "metric"]
            and len(query.columns) == 3
            else ""
        )

    def text(self, variables: Iterable[str]) -> str:
        """The query; variables stand in it by name."""
        return _query(self.panel).sql

    def json(self, variables: Iterable[str]) -> dict[str, Any]:
        """The target as Grafana reads it."""
        return {
            "datasource": RECORDS,
            "editorMode": "code",
            "format": "time_series" if _query(self.panel).over_time else "table",
            "rawQuery": True,
            "rawSql": self.text(variables),
        }

    def measurements(self) -> set[str]:
        """None: records are no points."""
        return set()


@dataclass(frozen=True, slots=True)
class Live:
    """What came in during the last second, pushed by the collector (``docs/live.md``); ``of_session``: of the chosen session alone."""

    measurement: str
    columns: tuple[str, ...]
    of_session: bool = False
    name: str = ""

    def gives(self) -> tuple[Column, ...]:
        """The columns that come of it: those of the registry, as rates."""
        known = MEASUREMENTS.get(self.measurement.removeprefix("session_"))
        if known is None:
            return tuple(Column(name, "float", "s", "time of pages") for name in self.columns)
        fields = [known.field(name) for name in self.columns]
        return tuple(Column(f.name, f.type.__name__, f.unit, f.description) for f in fields)

    def json(self, variables: Iterable[str]) -> dict[str, Any]:
        """The target as Grafana reads it."""
        return {
            "datasource": GRAFANA,
            "queryType": "measurements",
            "channel": f"stream/scrapewatch/{self.measurement}",
            "buffer": 300_000,
        }

    def measurements(self) -> set[str]:
        """None: it is not stored."""
        return set()


def _query(name: str) -> records.panels.Panel:
    return PANELS.get(name) or ANNOTATIONS[name]


Target = Flux | Sql | Live


@dataclass(frozen=True, slots=True)
class Step:
    """From this value on, this colour; None: below all others."""

    at: float | None
    colour: str


def steps(base: str, *more: tuple[float, str]) -> tuple[Step, ...]:
    """Thresholds: the colour below all, then each (value, colour)."""
    return (Step(None, base), *(Step(value, colour) for value, colour in more))


def judged(column: str, thresholds: Iterable[Step]) -> dict[str, Any]:
    """An override by which a column takes the colours of ``thresholds``."""
    found = [{"color": step.colour, "value": step.at} for step in thresholds]
    return {
        "matcher": {"id": "byName", "options": column},
        "properties": [{"id": "thresholds", "value": {"mode": "absolute", "steps": found}}],
    }


def coloured(column: str, thresholds: Iterable[Step], *, decimals: int | None = None) -> dict[str, Any]:
    """An override by which the cells of a table's column take the colours of ``thresholds``."""
    made = judged(column, thresholds)
    shown = [] if decimals is None else [{"id": "decimals", "value": decimals}]
    return {
        **made,
        "properties": [{"id": "custom.displayMode", "value": "color-text"}, *shown, *made["properties"]],
    }


NARROW: Final = MappingProxyType({"minWidth": 76})
"""How the columns of a table are that has many in little room; Grafana makes none narrower than 150 pixels otherwise."""
PLAIN: Final = steps(colours.PLAIN)
"""Where no value is better than another."""
USAGE: Final = steps(colours.GOOD, (75, colours.WARN), (90, colours.BAD))
"""Usage in percent, as the API judges it."""
SUCCESS: Final = steps(colours.BAD, (0.8, colours.WARN), (0.95, colours.GOOD))
"""Shares of which more is better."""
FAILURE: Final = steps(colours.GOOD, (0.05, colours.WARN), (0.1, colours.BAD))
"""Shares of which less is better."""
UPTIME: Final = steps(colours.BAD, (0.5, colours.WARN), (1, colours.GOOD))
"""Shares of checks that found something up."""
ANY_IS_BAD: Final = steps(colours.GOOD, (1, colours.BAD))
"""Counts of what should not be."""

STACKED: Final = MappingProxyType(
    {"fillOpacity": 60, "lineWidth": 0, "showPoints": "never", "stacking": {"mode": "normal", "group": "A"}}
)
"""How series that add up to something are drawn."""
SPARSE: Final = MappingProxyType({"fillOpacity": 0, "lineWidth": 2, "showPoints": "always", "pointSize": 3})
"""Lines of what is not known at all times, such as rates of runs that come and go: a window alone is a dot."""
NEAR_ONE: Final = MappingProxyType({"axisSoftMin": 0.8})
"""Axes of shares that are near one unless something is wrong: from nought on, their lines would lie on the edge."""
BARS: Final = MappingProxyType({**STACKED, "drawStyle": "bars"})
"""The same for counts of windows."""


@dataclass(frozen=True)
class Panel:
    """One panel. All have this one shape; what is left out is as :data:`KINDS` says for its kind.

    ``empty`` is what it says where nothing came, and what to do about it. ``columns`` are those that are shown, in their order; none: all.
    ``names`` are what columns are called where that is not their own name; ``series`` is a template of what series are called, such as
    ``${__field.labels.host}``. ``link`` is a template of an address, with the words that lead there. ``options``, ``custom`` and
    ``defaults`` are laid over those of its kind. ``width`` is of 24; ``height`` in Grafana's rows of 30 pixels and a gap of 8. ``points``
    is about how many windows Grafana is to ask for.
    """

    title: str
    kind: Kind
    description: str
    targets: tuple[Target, ...]
    empty: str = ""
    width: int = 12
    height: int = 8
    columns: tuple[str, ...] = ()
    series: str = ""
    unit: str = ""
    decimals: int | None = None
    low: float | None = None
    high: float | None = None
    thresholds: tuple[Step, ...] = PLAIN
    names: Mapping[str, str] = field(default_factory=dict)
    mappings: Sequence[Mapping[str, Any]] = ()
    overrides: Sequence[Mapping[str, Any]] = ()
    transformations: Sequence[Mapping[str, Any]] = ()
    link: tuple[str, str] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    custom: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    points: int = 300
    time_from: str = ""

    @cached_property
    def units(self) -> Mapping[str, str]:
        """Column → unit of Grafana's, of the columns that targets give."""
        return {column.name: unit_of(column.unit) for target in self.targets for column in target.gives()}

    @property
    def _shows_one(self) -> bool:
        """Whether a stat shows one of the columns that come."""
        fields: str = self.options.get("reduceOptions", {}).get("fields", "")
        return fields.startswith("/^") and "|" not in fields

    def _told(self) -> str:
        """The description; with what to do when it is empty, where Grafana 9.4 has no other place for that."""
        silent = self.kind in ("heatmap", "state-timeline", "status-history") or any(
            isinstance(t, Live) for t in self.targets
        )
        return f"{self.description} When it is empty: {self.empty}" if silent else self.description

    def leads_to(self) -> Iterator[str]:
        """The addresses that it links to."""
        if self.link is not None:
            yield self.link[0]
        for override in self.overrides:
            for said in override["properties"]:
                if said["id"] == "links":
                    yield from (link["url"] for link in said["value"])

    def json(self, variables: Iterable[str]) -> dict[str, Any]:
        """The panel as Grafana reads it, without id and place."""
        kind = KINDS[self.kind]
        made: dict[str, Any] = {
            "type": self.kind,
            "title": self.title,
            "description": self._told(),
            "options": _over(kind.options, self.options),
        }
        if self.kind == "text":
            return made
        targets = [
            {"refId": target.name or chr(ord("A") + k), **target.json(variables)}
            for k, target in enumerate(self.targets)
        ]
        sources = [target["datasource"] for target in targets]
        made |= {
            "datasource": sources[0]
            if all(s == sources[0] for s in sources)
            else {"type": "datasource", "uid": "-- Mixed --"},
            "targets": targets,
            "fieldConfig": self._fields(kind),
            "maxDataPoints": self.points,
        }
        transformations = [*self._chosen(), *self.transformations]
        if transformations:
            made["transformations"] = transformations
        if self.time_from:
            made["timeFrom"] = self.time_from
            # It would lie on the title; that, or the description, says it.
            made["hideTimeOverride"] = True
        return made

    def _chosen(self) -> Iterator[dict[str, Any]]:
        """Transformations that leave the columns to show."""
        if self.kind == "heatmap":
            # A series for each bucket: of one wide frame Grafana 9.4 stretches cells over silence, and breaks where nothing came.
            yield {"id": "prepareTimeSeries", "options": {"format": "many"}}
        for target in self.targets:
            if isinstance(target, Live):
                # The name of a live series ends with its tags: `scraped session_id=… site=…`.
                chosen = '\\b.*session_id="?${session:regex}\\b' if target.of_session else ""
                pattern = f"/^(time|({'|'.join(target.columns)}){chosen})/i"
                yield {"id": "filterFieldsByName", "options": {"include": {"pattern": pattern}}}
        if self.columns:
            hidden = [column for column in self.units if column not in self.columns]
            yield {
                "id": "organize",
                "options": {
                    "excludeByName": dict.fromkeys(hidden, True),
                    "indexByName": {column: k for k, column in enumerate(self.columns)},
                    "renameByName": {},
                },
            }

    def _fields(self, kind: _Kind) -> dict[str, Any]:
        shared, others = self._shared_unit()
        hidden = {column for column in self.units if self.columns and column not in self.columns}
        defaults: dict[str, Any] = {
            "unit": shared,
            "noValue": self.empty,
            "thresholds": {
                "mode": "absolute",
                "steps": [{"color": step.colour, "value": step.at} for step in self.thresholds],
            },
            "mappings": [*self.mappings, *kind.mappings],
            # A timeline that goes by thresholds would show their limits in place of the words.
            "color": {
                "mode": "palette-classic" if self.kind == "state-timeline" and self.mappings else kind.colour
            },
            "custom": _over(kind.custom, self.custom),
        }
        limits = {"decimals": self.decimals, "min": self.low, "max": self.high}
        defaults |= {name: value for name, value in limits.items() if value is not None}
        if self.link is not None:
            address, words = self.link
            defaults["links"] = [{"title": words, "url": address}]
        if self.series:
            defaults["displayName"] = self.series
        overrides: dict[str, list[dict[str, Any]]] = {}
        for column, unit in others.items():
            if column not in hidden:
                overrides.setdefault(column, []).append({"id": "unit", "value": unit})
        named_so = {} if self.series else dict.fromkeys(c for c in self._by_column() if c not in hidden)
        for column in dict.fromkeys([*named_so, *self.names]):
            name = self.names.get(column, column.replace("_", " "))
            if name != column:
                overrides.setdefault(column, []).append({"id": "displayName", "value": name})
        named = [
            {"matcher": {"id": "byName", "options": column}, "properties": properties}
            for column, properties in overrides.items()
        ]
        if self.kind == "table" or (self.kind == "stat" and len(self.units) > 1 and not self._shows_one):
            # What a whole panel says when it is empty, each empty cell would say, too.
            named.insert(
                0,
                {
                    "matcher": {"id": "byRegexp", "options": "/.*/"},
                    "properties": [{"id": "noValue", "value": "–"}],
                },
            )
        return {"defaults": _over(defaults, self.defaults), "overrides": [*named, *self.overrides]}

    def _by_column(self) -> Iterator[str]:
        """Columns whose series are not named after a tag or a time."""
        for target in self.targets:
            named = not isinstance(target, Live) and target.named_by
            if not named and not (isinstance(target, Flux) and target.against and not target.compared):
                yield from (column.name for column in target.gives())

    def _shared_unit(self) -> tuple[str, dict[str, str]]:
        """The unit of most columns, and the columns of any other."""
        if self.unit:
            return self.unit, {}
        counted = Counter(unit for unit in self.units.values() if unit not in ("string", UNITS["time"]))
        if not counted:
            return "none", {}
        shared = counted.most_common(1)[0][0]
        return shared, {column: unit for column, unit in self.units.items() if unit != shared}


@dataclass(frozen=True, slots=True)
class Row:
    """A heading over the panels below it."""

    title: str


@dataclass(frozen=True, slots=True)
class _Kind:
    """How panels of a kind look."""

    options: Mapping[str, Any] = field(default_factory=dict)
    custom: Mapping[str, Any] = field(default_factory=dict)
    colour: str = "palette-classic"
    mappings: Sequence[Mapping[str, Any]] = ()


_LEGEND: Final = {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []}
_TOOLTIP: Final = {"mode": "multi", "sort": "desc"}
_LAST: Final = {"calcs": ["lastNotNull"], "fields": "", "values": False}

KINDS: Final = MappingProxyType(
    {
        "timeseries": _Kind(
            options={"legend": _LEGEND, "tooltip": _TOOLTIP},
            custom={
                "drawStyle": "line",
                "lineInterpolation": "linear",
                "lineWidth": 1,
                "fillOpacity": 6,
                "gradientMode": "none",
                "showPoints": "auto",
                "pointSize": 4,
                "spanNulls": 15 * 60 * 1000,  # ms: a longer silence is one
                "stacking": {"mode": "none", "group": "A"},
                "axisPlacement": "auto",
                "axisLabel": "",
                "axisSoftMin": 0,
                "scaleDistribution": {"type": "linear"},
                "thresholdsStyle": {"mode": "off"},
                "hideFrom": {"legend": False, "tooltip": False, "viz": False},
            },
        ),
        "stat": _Kind(
            options={
                "reduceOptions": _LAST,
                "colorMode": "value",
                "graphMode": "area",
                "justifyMode": "auto",
                "orientation": "auto",
                "textMode": "auto",
            },
            colour="thresholds",
            mappings=colours.unknown(),
        ),
        "gauge": _Kind(
            options={
                "reduceOptions": _LAST,
                "orientation": "auto",
                "showThresholdLabels": False,
                "showThresholdMarkers": True,
            },
            colour="thresholds",
        ),
        "bargauge": _Kind(
            options={
                "reduceOptions": _LAST,
                "orientation": "horizontal",
                "displayMode": "basic",
                "showUnfilled": True,
                "minVizHeight": 16,
                "minVizWidth": 8,
            },
            colour="thresholds",
        ),
        "table": _Kind(
            options={"showHeader": True, "footer": {"show": False, "reducer": ["sum"], "fields": ""}},
            custom={"align": "auto", "displayMode": "auto", "filterable": False, "inspect": False},
            colour="thresholds",
        ),
        "heatmap": _Kind(
            options={
                "calculate": False,
                "cellGap": 1,
                "cellValues": {},
                "color": {
                    "mode": "scheme",
                    "scheme": "Viridis",
                    "reverse": False,
                    "steps": 64,
                    "exponent": 0.5,
                    "fill": "dark-blue",
                    "scale": "exponential",
                },
                "exemplars": {"color": "rgba(255,0,255,0.7)"},
                "filterValues": {"le": 1e-9},
                "legend": {"show": True},
                "rowsFrame": {"layout": "le"},
                "tooltip": {"show": True, "yHistogram": False},
                "yAxis": {"axisPlacement": "left", "reverse": False, "unit": "s"},
            },
            custom={
                "hideFrom": {"legend": False, "tooltip": False, "viz": False},
                "scaleDistribution": {"type": "linear"},
            },
        ),
        "state-timeline": _Kind(
            options={
                "alignValue": "center",
                "legend": _LEGEND,
                "mergeValues": True,
                "rowHeight": 0.85,
                "showValue": "auto",
                "tooltip": {"mode": "single", "sort": "none"},
            },
            custom={"fillOpacity": 80, "lineWidth": 0},
            colour="thresholds",
        ),
        "status-history": _Kind(
            options={
                "colWidth": 0.9,
                "legend": _LEGEND,
                "rowHeight": 0.85,
                "showValue": "never",
                "tooltip": {"mode": "single", "sort": "none"},
            },
            custom={"fillOpacity": 80, "lineWidth": 0},
            colour="thresholds",
        ),
        "barchart": _Kind(
            options={
                "barRadius": 0,
                "barWidth": 0.9,
                "fullHighlight": False,
                "groupWidth": 0.7,
                "legend": _LEGEND,
                "orientation": "auto",
                "showValue": "auto",
                "stacking": "none",
                "tooltip": _TOOLTIP,
                "xTickLabelRotation": 0,
                "xTickLabelSpacing": 100,
            },
            custom={
                "axisPlacement": "auto",
                "axisSoftMin": 0,
                "fillOpacity": 80,
                "gradientMode": "none",
                "lineWidth": 0,
            },
        ),
        "piechart": _Kind(
            options={
                "displayLabels": [],
                "legend": {
                    **_LEGEND,
                    "displayMode": "table",
                    "placement": "right",
                    "values": ["value", "percent"],
                },
                "pieType": "donut",
                "reduceOptions": {**_LAST, "calcs": ["sum"]},
                "tooltip": _TOOLTIP,
            },
            custom={"hideFrom": {"legend": False, "tooltip": False, "viz": False}},
        ),
        "histogram": _Kind(
            options={"bucketOffset": 0, "combine": False, "legend": _LEGEND},
            custom={"fillOpacity": 80, "gradientMode": "none", "lineWidth": 1},
        ),
        "text": _Kind(options={"mode": "markdown"}),
        "logs": _Kind(
            options={
                "dedupStrategy": "none",
                "enableLogDetails": True,
                "showTime": True,
                "sortOrder": "Descending",
                "wrapLogMessage": True,
            }
        ),
    }
)
"""Kind of panel → how it looks."""


def _over(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``more`` laid over it, mappings into mappings."""
    made = dict(base)
    for key, value in more.items():
        known = made.get(key)
        made[key] = (
            _over(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
        )
    return made
