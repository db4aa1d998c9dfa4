"""The generated documentation: what the registry, the event types, the questions and the settings say of themselves.

``python -m stack.docs`` writes it, ``python -m stack.docs --check`` fails where what is committed says something else.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from grafana.build.dashboards import ALL as ALL_DASHBOARDS
from grafana.build.dashboards import clicks, panels_of
from grafana.build.panels import Flux, Live, Sql, Target
from scrapewatch import examples, histogram
from scrapewatch.access import Rule, rule_of
from scrapewatch.events import METRICS, OWN, TYPES
from scrapewatch.measurements import KEEPING, MEASUREMENTS, Field, Fold, Measurement, Tier, fields_in
from scrapewatch.questions import QUESTIONS, Question
from scrapewatch.settings import BARE, PREFIX, Settings
from scrapewatch.time import DAY, HOUR, MINUTE, SECOND
from stack.logs import set_up_logs

if TYPE_CHECKING:
    from stack.walk import Route

ROOT = Path(__file__).parents[1]

_GENERATED = "<!-- Made by `make docs`; edit what it is made from. -->"

_FOLDS = {
    Fold.SUM: "added up",
    Fold.MAX: "the highest is kept",
    Fold.GAUGE: "the latest event's value, at that event's own time",
    Fold.STATE: "as a gauge; its changes are counted, too",
}


def metrics() -> str:
    """What is stored: every measurement with its tags, fields, units, tiers and rollups."""
    page = _page(
        "Measurements",
        "What is stored as points, in InfluxDB (a tier is a bucket) and in the embedded store (a measurement in a tier is "
        "a table). Made from [`scrapewatch/measurements.py`](../scrapewatch/measurements.py).",
    )
    page += ["## Tiers", ""]
    page += _table(
        ("tier", "keeps points for", "a point for each", "size of a shard"),
        (
            (
                f"`{tier}`",
                _length(keeping.retention),
                "line, as others wrote it"
                if tier is Tier.EXTERNAL
                else _length(keeping.window)
                if keeping.window
                else "flush and second, or event",
                _length(keeping.shard),
            )
            for tier, keeping in KEEPING.items()
        ),
    )
    page += [
        "Only points in `sessions` have the tag `session_id`. `METRICS_RETENTION_DAYS` sets how long `sessions`, `fleet_1m` and `external` "
        "keep theirs. What is in `external` is no measurement of scrapewatch's: [line protocol](telegraf.md).",
        "",
        "## How values become one",
        "",
        "Events of one flush with the same series and second become one point:",
        "",
    ]
    page += _table(("fold", "values of a flush"), ((f"`{fold}`", text) for fold, text in _FOLDS.items()))
    page += [
        "In the rollups (`fleet_1m`, `fleet_1h`) a gauge is the mean of its window and a state its last value; both gain a field "
        "`<name>_max`. What has a tier of sessions only is rolled up as the sum over the sessions.",
        "",
        f"The fields `{histogram.FIELDS[0]}` to `{histogram.FIELDS[-1]}` are a histogram of durations: its upper edges are √2 apart, from "
        f"{histogram.EDGES[0] * 1000:g} ms to {histogram.EDGES[-1]:.0f} s, inclusive; the last has none. A quantile read from it is off "
        "by at most the width of one bucket.",
        "",
    ]
    for measurement in MEASUREMENTS.values():
        page += _measurement(measurement)
    return _text(page)


def _measurement(measurement: Measurement) -> list[str]:
    tiers = [tier for tier in Tier if fields_in(measurement, tier)]
    page = [
        f"## {measurement.name}",
        "",
        f"{measurement.description} In: {', '.join(f'`{tier}`' for tier in tiers)}.",
        "",
    ]
    if measurement.tags:
        page += _table(("tag", "meaning"), ((f"`{tag.name}`", tag.description) for tag in measurement.tags))
    rows = [(f"`{f.name}`", *_field(f)) for f in measurement.fields if f.name not in histogram.FIELDS]
    if len(rows) < len(measurement.fields):
        first, last = histogram.FIELDS[0], histogram.FIELDS[-1]
        rows.append((f"`{first}` … `{last}`", "int", "sum", "1", "counted by duration, see above"))
    page += _table(("field", "type", "fold", "unit", "meaning"), rows)
    own = {field.name for field in measurement.fields}
    added = [f for f in fields_in(measurement, Tier.FLEET_1M) if f.name not in own]
    if added:
        page += ["In the rollups also:", ""]
        page += _table(
            ("field", "type", "unit", "meaning"),
            ((f"`{f.name}`", f.type.__name__, f.unit, f.description) for f in added),
        )
    return page


def _field(field: Field) -> tuple[str, str, str, str]:
    return field.type.__name__, str(field.fold), field.unit, field.description


def events() -> str:
    """What scrapers send: every type of event with its fields and an example."""
    page = _page(
        "Events",
        "What scrapers send to `POST /api/v1/monitoring/metrics`, one or a list of them, as JSON. Made from "
        "[`scrapewatch/events.py`](../scrapewatch/events.py).",
    )
    page += ["Common to all:", ""]
    page += _fields_of(TYPES[0], leave_out=("metric", "value"))
    page += [
        'Types are strict: `"1"`, `1.0` and `true` are no integers. Fields that are not known are passed over. Text has no NUL and is '
        "valid Unicode. Times are RFC 3339, in UTC where they name no zone; a number is read as seconds since 1970. The types "
        + ", ".join(f"`{metric}`" for metric in METRICS if metric in OWN)
        + " are sent by scrapewatch itself and belong to no session.",
        "",
    ]
    for kind in TYPES:
        metric: str = get_args(kind.model_fields["metric"].annotation)[0]
        value: type[BaseModel] = kind.model_fields["value"].annotation  # type: ignore[assignment]
        page += [f"## {metric}", "", kind.__doc__ or "", ""]
        # The value's own docstring says more where it is not the same.
        if value.__doc__ and value.__doc__ != kind.__doc__:
            page += [value.__doc__, ""]
        page += _fields_of(value)
        for name, part in _parts(value):
            page += [f"`{name}`: {(part.__doc__ or '').strip()}", "", *_fields_of(part)]
        page += ["```json", json.dumps(examples.EVENTS[metric], ensure_ascii=False, indent=2), "```", ""]
    return _text(page)


def _parts(model: type[BaseModel]) -> Iterable[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        for candidate in (field.annotation, *get_args(field.annotation)):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                yield name, candidate


def _fields_of(model: type[BaseModel], leave_out: Sequence[str] = ()) -> list[str]:
    schema = model.model_json_schema()["properties"]
    rows = []
    for name, field in model.model_fields.items():
        if name not in leave_out and name not in histogram.FIELDS[1:]:
            shown = schema.get(name) or schema[str(field.validation_alias)]
            named, meaning = f"`{name}`", field.description or ""
            if name == histogram.FIELDS[0]:
                named, meaning = (
                    f"{named} … `{histogram.FIELDS[-1]}`",
                    "counts by duration, see [metrics](metrics.md)",
                )
            rows.append((named, _type(shown), _default(field), meaning))
    return _table(("field", "type", "default", "meaning"), rows)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return "" if field.default in (None, PydanticUndefined) else f"`{json.dumps(field.default)}`"


_NAMES = {"integer": "integer", "number": "number", "boolean": "true or false", "null": ""}


def _type(schema: Mapping[str, Any]) -> str:
    """A JSON schema in few words, such as ``integer from 0``."""
    if "anyOf" in schema:
        return " or ".join(filter(None, map(_type, schema["anyOf"])))
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    if "$ref" in schema:
        return "object, below"
    kind = schema["type"]
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    if kind == "object":
        values = schema.get("additionalProperties") or next(iter(schema["patternProperties"].values()))
        return f"object of {_type(values)}"
    if kind == "string":
        if choices := re.fullmatch(r"\^\(([A-Za-z|]+)\)\$", schema.get("pattern", "")):
            return ", ".join(f"`{choice}`" for choice in choices[1].split("|"))
        if schema.get("format") == "date-time":
            return "time"
        return f"text up to {schema['maxLength']:,}" if "maxLength" in schema else "text"
    return _NAMES[kind] + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    # Bounds that only keep numbers within what stores can hold say nothing to a reader.
    text = ""
    if (above := schema.get("exclusiveMinimum")) is not None:
        text += f" above {above:,g}"
    if abs(least := schema.get("minimum", math.inf)) < 1e15:
        text += f" from {int(least):,}" if least == int(least) else f" from {least:g}"
    if (most := schema.get("maximum", math.inf)) < 1e8:
        text += f" to {int(most):,}"
    return text


def questions() -> str:
    """What can be asked: every question with its parameters, columns and units."""
    page = _page(
        "Questions",
        "Named queries, the same in every store: each has a twin [`influx/flux/<name>.flux`](../influx/flux) and "
        "[`embedded/sql/<name>.sql`](../embedded/sql). Made from [`scrapewatch/questions.py`](../scrapewatch/questions.py). A range of "
        "time is widened to whole windows in UTC; the finest tier that fits it answers, for long ranges a coarser one.",
    )
    for question in QUESTIONS.values():
        page += _question(question)
    return _text(page)


def _question(question: Question) -> list[str]:
    page = [
        f"## {question.name}",
        "",
        f"{question.description} Reads: {', '.join(f'`{tier}`' for tier in question.tiers)}."
        + (f" Answers {_length(question.longest)} at once." if question.longest is not None else ""),
        "",
    ]
    page += _table(
        ("parameter", "default", "meaning"),
        (
            (
                f"`{p.name}`",
                "required" if p.default is None else f"`{p.default}`" if p.default else "any",
                p.description,
            )
            for p in question.parameters
        ),
    )
    rows = [
        (f"`{c.name}`", c.type, c.unit, c.description, "yes" if c.name in question.key else "")
        for c in question.columns
        if c.name not in histogram.FIELDS
    ]
    if len(rows) < len(question.columns):
        first, last = histogram.FIELDS[0], histogram.FIELDS[-1]
        rows.append(
            (f"`{first}` … `{last}`", "int", "1", "counted by duration, see [metrics](metrics.md)", "")
        )
    return page + _table(("column", "type", "unit", "meaning", "key"), rows)


def settings() -> str:
    """What can be set: every setting with its default and meaning."""
    page = _page(
        "Settings",
        "Environment variables, or lines of a file `.env` in the folder that scrapewatch is started in (the environment wins). Made from "
        "[`scrapewatch/settings.py`](../scrapewatch/settings.py).",
    )
    page += [
        "Each may be given as `<NAME>_FILE`, the path of a file that holds the value, as secrets should be. A name beginning with "
        f"`{PREFIX}` that is not among these is refused. Where a name stands without the prefix, too, the prefixed one "
        "wins. Several values are separated by commas.",
        "",
    ]
    schema = Settings.model_json_schema()["properties"]
    rows = []
    for name, field in Settings.model_fields.items():
        upper = name.upper()
        names = f"`{PREFIX}{upper}`" + (f", `{upper}`" if upper in BARE else "")
        rows.append((names, _type(schema[name]), _setting_default(field.default), field.description or ""))
    page += _table(("name", "type", "default", "meaning"), rows)
    return _text(page)


def _setting_default(value: Any) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def example_of_env() -> str:
    """A file ``.env`` to begin with: every setting with its default, commented out."""
    lines = [
        "# Copy this to .env and uncomment what differs. Made by `make docs`; docs/settings.md says more."
    ]
    for name, field in Settings.model_fields.items():
        upper = name.upper()
        default = _setting_default(field.default).strip("`")
        lines += ["", f"# {field.description}", f"#{upper if upper in BARE else PREFIX + upper}={default}"]
    return _text(lines)


def api() -> str:
    """The routes: what each needs, what it asks, and how long it takes."""
    routes = _walk()
    measured = _measured()
    stores = list(dict.fromkeys(row["store"] for row in measured))
    page = _page(
        "The API",
        "Every route, below `/api/v1` where it is written so and also without it. With examples to try: `/docs` of a running stack; "
        "what needs which scope: [security.md](security.md). Made by asking an application for all of it and looking at what it asked its "
        "stores in turn ([`stack/walk.py`](../stack/walk.py)), from the table of scopes "
        "([`scrapewatch/access.py`](../scrapewatch/access.py)) and from `bench/results/api.json`.",
    )
    page += [
        "**asks**: [questions](questions.md) to the store of points; after *records*, queries to the database "
        "([`records/`](../records)). Nothing: it is answered from memory, such as what the last checks found.",
        "",
        "**ms**: p50 and p95 of a request with 90 days of a busy fleet in the stores, by the slowest of the route's parameters and loads "
        "that `make bench-api` tries.",
        "",
    ]
    for tag in dict.fromkeys(route.tag for route in routes):
        page += [f"## {tag}", ""]
        page += _table(
            ("route", "what", "scope", "asks", *(f"{store}, ms" for store in stores or ("measured",))),
            (_route(route, measured, stores or [""]) for route in routes if route.tag == tag),
        )
    return _text(page)


@cache
def _walk() -> Sequence[Route]:
    from stack.walk import walk  # it loads the servers

    return walk()


def _measured() -> list[dict[str, Any]]:
    """The rows of the benchmark of the API, the slowest of a route and store first; none before it was run."""
    path = ROOT / "bench" / "results" / "api.json"
    if not path.is_file():
        return []
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return sorted(rows, key=lambda row: -row["p95_ms"])


def _route(route: Route, measured: Sequence[Mapping[str, Any]], stores: Sequence[str]) -> list[str]:
    slowest = (
        next((row for row in measured if (row["store"], row["route"]) == (store, route.path)), None)
        if route.method == "GET"
        else None
        for store in stores
    )
    rule = rule_of(route.method, route.path)
    return [
        f"`{route.method} {route.path}`",
        route.summary,
        "nobody" if rule is None else _needed(rule),
        _asked(route.asked or ()),
        *("" if row is None else f"{row['p50_ms']:.1f} / {row['p95_ms']:.1f}" for row in slowest),
    ]


def _needed(rule: Rule) -> str:
    if rule.scope is None:
        return "none"
    return f"`{rule.scope}`, of the tenant `default`" if rule.at_home else f"`{rule.scope}`"


def _asked(asked: Sequence[tuple[str, str]]) -> str:
    """What a route asked, the questions first."""
    questions = [call for store, call in asked if store == "series"]
    queries = [f"`{call}`" for store, call in asked if store == "records"]
    told = [f"[{name}](questions.md#{name})" for name in questions]
    if len(questions) > len(QUESTIONS) // 2:
        told = ["the one that is named"]
    return (
        ", ".join(told)
        + ("; " if told and queries else "")
        + (f"*records:* {', '.join(queries)}" if queries else "")
    )


def dashboards() -> str:
    """What is shown where: every panel of every dashboard, and the way to each measurement."""
    page = _page(
        "Dashboards",
        "What Grafana shows. Made from [`grafana/build/dashboards`](../grafana/build/dashboards), which `make dashboards` turns into what "
        "Grafana reads.",
    )
    page += [
        "Each dashboard leads to all others by the menu *scrapewatch* at its top, which keeps the time and what was chosen; "
        "[Overview](#overview) is where one begins. Points are kept by [measurement](metrics.md) and asked by [question](questions.md), "
        "records lie in a database.",
        "",
        "![Overview](images/overview.png)",
        "",
        "## Where each measurement is",
        "",
        "**clicks**: from the Overview, one to open the menu and one to choose there, or one on what leads straight there.",
        "",
    ]
    page += _table(
        ("measurement", "dashboard", "panel", "clicks"),
        (
            (f"[{name}](metrics.md#{name})", f"[{d.title}](#{_anchor(d.title)})", panel.title, str(clicks(d)))
            for name in MEASUREMENTS
            for d, panel in panels_of(name)
        ),
    )
    for dashboard in ALL_DASHBOARDS:
        page += [f"## {dashboard.title}", "", f"{dashboard.description} `/d/{dashboard.uid}`", ""]
        page += _table(
            ("panel", "what it shows", "asks"),
            (
                (panel.title, panel.description, ", ".join(map(_source, panel.targets)))
                for panel in dashboard.shown()
            ),
        )
    return _text(page)


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _source(target: Target) -> str:
    match target:
        case Flux():
            known = f"[{target.question}](questions.md#{target.question})"
            return (
                known
                if target.question in QUESTIONS
                else f"[{target.question}](../influx/panels/{target.question}.flux)"
            )
        case Sql():
            return f"[{target.panel}](../records/panels/{target.panel}.sql)"
        case Live():
            return f"[live](live.md): {target.measurement}"


PAGES: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "docs/metrics.md": metrics,
        "docs/events.md": events,
        "docs/questions.md": questions,
        "docs/settings.md": settings,
        ".env.example": example_of_env,
        "docs/api.md": api,
        "docs/dashboards.md": dashboards,
    }
)
"""File → what renders it."""


def _page(title: str, introduction: str) -> list[str]:
    return [f"# {title}", "", _GENERATED, "", introduction, ""]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    lines += [" | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) for row in rows]
    return [f"| {line} |" for line in lines] + [""]


def _text(lines: Sequence[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"


def _length(ns: int) -> str:
    for unit, name in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (SECOND, "second")):
        if ns % unit == 0:
            count = ns // unit
            return f"{count:,} {name}{'' if count == 1 else 's'}"
    raise AssertionError("no tier has windows of less than a second")


def stale(folder: Path = ROOT) -> list[str]:
    """The files in ``folder`` that do not say what would be written now."""
    return [
        name
        for name, render in PAGES.items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != render()
    ]


def main(arguments: Sequence[str]) -> int:
    """Write the files, or with ``--check`` say which are stale; the exit code."""
    if list(arguments) not in ([], ["--check"]):
        sys.stderr.write("usage: python -m stack.docs [--check]\n")
        return 2
    set_up_logs(Settings(log_level="ERROR"))  # what is done for the pages is not worth a line
    old = stale()
    if arguments:
        sys.stderr.writelines(f"{name} is not what its source says: run `make docs`\n" for name in old)
        return 1 if old else 0
    for name in old:
        (ROOT / name).write_text(PAGES[name](), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
