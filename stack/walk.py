"""What stands behind each route, observed: an application on stores of its own is asked for all of it, and its metrics tell what it asked.

For the documentation, so that it cannot say anything else than what happens.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from fastapi import FastAPI
from starlette.testclient import TestClient

from collector.decode import from_model
from collector.fold import Request, fold
from records.credentials import SqlCredentials
from scrapewatch import examples
from scrapewatch.access import ADMIN, PREFIX
from scrapewatch.events import validate
from scrapewatch.gate import registered
from scrapewatch.ports import DEFAULT_TENANT, Flush
from scrapewatch.settings import Settings
from scrapewatch.time import now_ns
from stack.parts import API, COLLECTOR
from stack.serve import build
from stack.stores import open_records, open_series

SESSION: Final = "s1"
"""The session that there is: the example of the routes' own parameters."""

_ASKED: Final = re.compile(
    r'^scrapewatch_store_seconds_count{call="(\w+)",store="(\w+)"} (\S+)$', re.MULTILINE
)
_METHODS: Final = ("get", "post", "patch", "delete", "put")


@dataclass(frozen=True, slots=True)
class Route:
    """A route (its ``path`` with the version) and what it ``asked``: (store, call) in the order of their names.

    ``asked`` is None where the walk did not ask for it: it has no end, or is none of HTTP. ``tag`` is that of the OpenAPI document, or
    ``websockets`` or ``pages`` for what is not in it.
    """

    method: str
    path: str
    summary: str
    tag: str
    asked: tuple[tuple[str, str], ...] | None


def walk() -> list[Route]:
    """Every route of the product, each asked with every value that the document names for its parameters."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stores:
        settings = Settings(
            data_dir=Path(folder),
            sampler=False,
            key_requests_per_minute=0,
            tenant_requests_per_minute=0,
            address_requests_per_minute=0,
        )
        key = _fill(settings)
        app = build(settings, (COLLECTOR, API), stores)
        stores.callback(app.state.collector.spool.close)
        # Without its life: neither checks nor the live page ask anything meanwhile.
        client = TestClient(
            app,
            base_url="http://127.0.0.1",
            headers={"Authorization": f"Bearer {key}"},
            raise_server_exceptions=False,
        )
        return [*_routes(app, client), *_others(app)]


def _fill(settings: Settings) -> str:
    """Bring an event of each type of :data:`SESSION` to the stores, as a collector would; a key to ask with."""
    now = now_ns()
    events = []
    for example in examples.EVENTS.values():
        own = {"session_id": SESSION} if "session_id" in example else {}
        events.append({**validate({**example, **own}), "time": now})
    request = Request(DEFAULT_TENANT, None, now, [now] * len(events), [from_model(event) for event in events])
    folded = fold([request], {}, collector_no=0, number=1)
    series, records = open_series(settings), open_records(settings)
    try:
        series.write(Flush(0, 1, folded.batches))
        records.apply(0, 1, folded.changes)
        key, _ = SqlCredentials(records.engine).create_key("walk", scopes=frozenset({ADMIN}))
        return key
    finally:
        series.close()
        records.close()


def _routes(app: FastAPI, client: TestClient) -> Iterator[Route]:
    document = app.openapi()
    counted = _counts(client)
    for path, operations in document["paths"].items():
        for method in _METHODS:
            operation = operations.get(method)
            if operation is None:
                continue
            asked: set[tuple[str, str]] | None = None
            if not _is_endless(operation):
                for target in _targets(path, operation.get("parameters", ())):
                    client.request(method.upper(), target, **_body(document, operation))
                before, counted = counted, _counts(client)
                asked = {call for call, count in counted.items() if count > before.get(call, 0)}
            yield Route(
                method.upper(),
                path,
                operation.get("summary", ""),
                operation.get("tags", [""])[0],
                None if asked is None else tuple(sorted(asked)),
            )


def _others(app: FastAPI) -> Iterator[Route]:
    """The WebSockets, and the pages without the files that belong to them: they are not in the OpenAPI document."""
    listed = registered(app.routes)
    known = app.openapi()["paths"]
    for method, template in sorted(listed):
        versioned = template.startswith(PREFIX)
        is_file = "." in template.rpartition("/")[2]
        is_alias = (method, PREFIX + template) in listed
        if method == "WS" and versioned:
            yield Route(method, template, "", "websockets", None)
        elif method == "GET" and not (versioned or is_file or is_alias or template in known):
            yield Route(method, template, "", "pages", None)


def _is_endless(operation: Mapping[str, Any]) -> bool:
    return any("text/event-stream" in answer.get("content", {}) for answer in operation["responses"].values())


def _targets(path: str, parameters: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """``path`` with the examples of what stands in it; and for each parameter that has a choice, with each of its values."""
    placed = {each["name"]: _values(each)[0] for each in parameters if each["in"] == "path"}
    choices: list[dict[str, str]] = [{}]
    for each in parameters:
        values = _values(each)
        if each["in"] == "path":
            choices += [{each["name"]: value} for value in values[1:]]
        elif each["in"] == "query":
            choices += [{each["name"]: value} for value in values]
    for choice in choices:
        names = {**placed, **{name: value for name, value in choice.items() if name in placed}}
        target = re.sub(r"\{(\w+)\}", lambda match, names=names: quote(names[match[1]], safe=""), path)  # type: ignore[misc]
        query = {name: value for name, value in choice.items() if name not in placed}
        yield f"{target}?{urlencode(query)}" if query else target


def _values(parameter: Mapping[str, Any]) -> list[str]:
    schema = parameter["schema"]
    for each in (schema, *schema.get("anyOf", ())):
        if "enum" in each:
            return [str(value) for value in each["enum"]]
        if each.get("type") == "boolean":
            return ["true", "false"]
    examples = parameter.get("examples") or schema.get("examples") or ()
    if not examples and parameter["in"] == "path":
        raise ValueError(f"the parameter {parameter['name']} of a path needs an example")
    return [str(each) for each in examples if not isinstance(each, list)][:1]


def _body(document: Mapping[str, Any], operation: Mapping[str, Any]) -> dict[str, Any]:
    """The example of a body."""
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        if media_type == "application/json":
            schema = content.get("schema", {})
            if "$ref" in schema:
                schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            return {"json": schema.get("example", {})}
    return {}


def _counts(client: TestClient) -> dict[tuple[str, str], float]:
    return {(store, call): float(count) for call, store, count in _ASKED.findall(client.get("/metrics").text)}
