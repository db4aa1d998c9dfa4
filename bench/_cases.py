"""What is asked of the API: every GET route of its OpenAPI document, with values for what routes ask for.

Routes come from the document, so that a new one is measured without a word here. A parameter with a list of values is asked with each
of them; one of free text needs a value in :data:`VALUES`, and is left out without one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from bench._fleet import SEARCHES
from scrapewatch.time import SECOND, parse_interval

RANGES: Final[Mapping[str, tuple[str, ...]]] = {
    "timeframe": ("1h", "24h", "7d", "30d", "90d"),
    "period": ("1h", "24h", "7d", "30d", "90d"),
    "days": ("1", "7", "30", "90"),
    "last": ("1h", "24h", "7d", "30d", "90d"),
}
"""Parameters that say how far back, with the times that are asked for, from the shortest."""

VALUES: Final[Mapping[str, str]] = {
    "site": "indeed",
    "source": "scrapy",
    "search_term": SEARCHES[1],
    "location": "Berlin",
    "provider": "bright",
    "investment": "1000",
    "monthly_return": "125",
    "competitor": "someone:4.50",
}
"""Other parameters that are asked with a value, one at a time (those of :data:`TOGETHER` at once)."""

TOGETHER: Final = (("investment", "monthly_return"),)

EXCEPTED: Final = ("/export/metrics",)
"""Routes without a goal: they take as long as what they send is long."""


@dataclass(frozen=True, slots=True)
class Case:
    """A request: the ``route`` as the document has it, the ``question`` where it asks one, and its ``query``; ``target`` is asked for.

    ``pages``: a page far down a list is meant, whose cursor must be found first by so long pages. ``excepted``: it has no goal.
    """

    route: str
    target: str
    query: str = ""
    question: str | None = None
    excepted: bool = False
    pages: int = 0

    @property
    def name(self) -> str:
        """The route and what else is asked."""
        path = self.route.replace("{question}", self.question or "{question}")
        return f"{path}?{self.query}" if self.query else path


def cases(
    document: Mapping[str, Any], questions: Iterable[Mapping[str, Any]], of_paths: Mapping[str, str]
) -> tuple[list[Case], list[str]]:
    """All requests, and the GET routes that are not asked: for a stream without end, or a path without value.

    ``questions`` are those of the route that lists them; ``of_paths`` are values of parameters in paths (and of required ones of
    questions).
    """
    found: list[Case] = []
    unasked: list[str] = []
    for route, operations in document["paths"].items():
        operation = operations.get("get")
        if operation is None:
            continue
        parameters = {p["name"]: p for p in operation.get("parameters", ()) if p["in"] in ("query", "path")}
        placed = [name for name, parameter in parameters.items() if parameter["in"] == "path"]
        unknown = [name for name in placed if name != "question" and name not in of_paths]
        if unknown or _is_stream(operation):
            unasked.append(route)
            continue
        asked = {
            name: parameter["schema"] for name, parameter in parameters.items() if parameter["in"] == "query"
        }
        path = route
        for name in placed:
            if name != "question":
                path = path.replace(f"{{{name}}}", quote(of_paths[name], safe=""))
        if "question" not in placed:
            found += _of_route(route, path, None, asked, {})
            continue
        questions = list(questions)
        of_any = {parameter["name"] for question in questions for parameter in question["parameters"]}
        for question in questions:
            own = {p["name"]: of_paths[p["name"]] for p in question["parameters"] if p["required"]}
            named = path.replace("{question}", question["name"])
            # The document names those of all questions; one takes its own alone.
            foreign = of_any - {parameter["name"] for parameter in question["parameters"]}
            taken = {name: schema for name, schema in asked.items() if name not in foreign | own.keys()}
            longest = question["longest_range_seconds"]
            found += _of_route(route, named, question["name"], taken, own, longest)
    return found, unasked


def _of_route(
    route: str,
    path: str,
    question: str | None,
    asked: Mapping[str, Any],
    own: Mapping[str, str],
    longest_seconds: float | None = None,
) -> Iterator[Case]:
    excepted = any(part in route for part in EXCEPTED)

    def case(query: Mapping[str, str], *, no_goal: bool = False, pages: int = 0) -> Case:
        text = urlencode({**query, **own})
        target = f"{path}?{text}" if text else path
        return Case(route, target, urlencode(query), question, excepted or no_goal, pages)

    ranges = [name for name in asked if name in RANGES]
    longest: dict[str, str] = {}
    if ranges:
        name = ranges[0]
        allowed = _choices(asked[name])
        for value in RANGES[name]:
            if longest_seconds is not None and parse_interval(value) / SECOND > longest_seconds:
                continue
            if not allowed or value in allowed:
                longest = {name: value}
                yield case(longest)
        if excepted:
            # Three months of minutes in each format would take longer than all the rest.
            longest = {name: next((value for value in RANGES[name][1:] if value in allowed), RANGES[name][0])}
    else:
        yield case({})
    for name, schema in asked.items():
        if name in RANGES:
            continue
        group = next((names for names in TOGETHER if name in names), (name,))
        if name != group[0]:
            continue
        for value in _choices(schema):
            # Beside the lists and figures that a route has for the asking: its details, which may cost what they will.
            yield case({**longest, name: value}, no_goal=name == "detailed")
        if name in VALUES:
            yield case(longest | {each: VALUES[each] for each in group})
        if name == "limit" and (most := _maximum(schema)):
            yield case({**longest, name: str(most)})
            if "cursor" in asked:
                yield case({**longest, "cursor": "far down"}, pages=most)


def _is_stream(operation: Mapping[str, Any]) -> bool:
    return any("text/event-stream" in answer.get("content", {}) for answer in operation["responses"].values())


def _schemas(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [schema, *schema.get("anyOf", ())]


def _choices(schema: Mapping[str, Any]) -> list[str]:
    for each in _schemas(schema):
        if "enum" in each:
            return [str(value) for value in each["enum"]]
        if each.get("type") == "boolean":
            return ["true"]
    return []


def _maximum(schema: Mapping[str, Any]) -> int | None:
    return next((each["maximum"] for each in _schemas(schema) if "maximum" in each), None)
