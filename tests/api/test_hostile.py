"""Hostile text in every parameter of every route that reads: a literal match, nothing, or a refusal that does not repeat it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from scrapewatch.time import MINUTE, now_ns
from tests.api.stacks import BASE, Stack, event, make_stack
from tests.line_texts import TRICKS

TEXTS = (
    *TRICKS,
    "' OR 1=1 --",
    '") |> drop() //',
    "${1+1}",
    "%00",
    "a\0b",
    "../../etc/passwd",
    "x" * 3_000,
    "-1",
    "1e999",
)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with something of everything."""
    stack = make_stack(tmp_path_factory.mktemp("hostile"))
    at = now_ns() - MINUTE
    stack.store(
        [
            event("session_started", {"sites": ["indeed"], "search_term": "secret term"}, time=at),
            event("page_processed", {"site": "indeed", "status": 200}, time=at),
            event("proxy", {"provider": "secret provider", "requests": 5}, time=at),
        ]
    )
    stack.roll("pages", "proxies")
    yield stack
    stack.series.close()
    stack.records.close()


def test_no_route_fails_and_none_shows_what_was_not_asked_for(filled: Stack) -> None:
    client = TestClient(filled.app, base_url=BASE, raise_server_exceptions=False)
    document = client.get("/openapi.json").json()
    tried = 0
    for path, route in document["paths"].items():
        read = route.get("get", {})
        parameters: list[dict[str, Any]] = read.get("parameters", [])
        if "text/event-stream" in read.get("responses", {}).get("200", {}).get("content", {}):
            continue  # has no end
        for parameter in parameters:
            for text in TEXTS:
                url, query = path, {}
                if parameter["in"] == "path":
                    url = path.replace("{" + parameter["name"] + "}", quote(text, safe=""))
                else:
                    query = {parameter["name"]: text}
                answer = client.get(url, params=query)
                where = (path, parameter["name"], text[:50])
                assert answer.status_code in (200, 404, 422), where
                if parameter["name"] in ("provider", "search_term") and answer.status_code == 200:
                    assert "secret" not in answer.text, where
                if answer.status_code == 422 and len(text) > 20:
                    assert text not in answer.text, where
                tried += 1
    assert tried > 20 * len(TEXTS)
