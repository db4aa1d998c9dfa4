"""Errors as problems, and the guard in front of everything."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
import structlog
from fastapi import Body, FastAPI, Query, WebSocket
from starlette.testclient import TestClient, WebSocketDenialResponse

from scrapewatch.http import host_of, install
from scrapewatch.problems import (
    ConfigurationError,
    Conflict,
    InvalidInput,
    NotFound,
    ScrapewatchError,
    SpoolFull,
    StoreUnavailable,
)
from scrapewatch.settings import Settings

RAISED: dict[str, Exception] = {
    "invalid": InvalidInput("that is no length of time", "interval"),
    "missing": NotFound("there is no such session"),
    "conflict": Conflict("that key was used with another body"),
    "store": StoreUnavailable("the store does not answer", 2.5),
    "spool": SpoolFull("the disk is full"),
    "unknown": RuntimeError("password=hunter2"),
    "own": ConfigurationError("password=hunter2"),
}


def application(**settings: Any) -> FastAPI:
    app = FastAPI()
    install(app, Settings(**settings))

    @app.get("/numbers")
    def numbers(limit: Annotated[int, Query(le=5)] = 1) -> int:
        return limit

    @app.post("/things")
    def things(thing: Annotated[dict[str, int], Body()]) -> int:
        return len(thing)

    @app.get("/raise/{name}")
    def fail(name: str) -> None:
        raise RAISED[name]

    @app.websocket("/ws")
    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")
        raise RuntimeError("password=hunter2")

    return app


@pytest.fixture
def client() -> TestClient:
    return TestClient(application(), base_url="http://127.0.0.1:8000")


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("invalid", 422, "invalid-input"),
        ("missing", 404, "not-found"),
        ("conflict", 409, "conflict"),
        ("store", 503, "store-unavailable"),
        ("spool", 503, "spool-full"),
    ],
)
def test_a_domain_error_is_a_problem(client: TestClient, name: str, status: int, kind: str) -> None:
    answer = client.get(f"/raise/{name}")
    assert answer.status_code == status == answer.json()["status"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:scrapewatch:problem:{kind}"
    assert answer.json()["detail"] == str(RAISED[name])


def test_an_invalid_field_is_named(client: TestClient) -> None:
    assert client.get("/raise/invalid").json()["errors"] == [
        {"field": "interval", "reason": "that is no length of time"}
    ]


def test_a_503_says_when_to_try_again(client: TestClient) -> None:
    assert client.get("/raise/store").headers["retry-after"] == "3"
    assert int(client.get("/raise/spool").headers["retry-after"]) > 0


@pytest.mark.parametrize("name", ["unknown", "own"])
def test_what_nobody_foresaw_tells_an_id_and_nothing_else(client: TestClient, name: str) -> None:
    with structlog.testing.capture_logs() as logs:
        answer = client.get(f"/raise/{name}")
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == logs[0]["request_id"]
    assert "hunter2" in logs[0]["exception"], "the log must tell what happened"


def test_a_request_id_of_the_caller_is_kept_unless_it_could_forge_a_line_of_the_log(
    client: TestClient,
) -> None:
    assert client.get("/numbers", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert client.get("/numbers", headers={"x-request-id": "a b\tc"}).headers["x-request-id"] != "a b\tc"


def test_invalid_input_is_named_by_field_and_never_repeated(client: TestClient) -> None:
    answer = client.get("/numbers", params={"limit": "hunter2"})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["query.limit"]
    assert "hunter2" not in answer.text


@pytest.mark.parametrize(
    "body",
    [b"{", b"\xff", b"", b'{"a": \x00}', b"[" * 100_000, b"1" * 5_000],
    ids=["cut off", "no UTF-8", "empty", "NUL", "deep", "long number"],
)
def test_what_is_no_json_is_a_400_or_a_missing_body(client: TestClient, body: bytes) -> None:
    answer = client.post("/things", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == (400 if body else 422)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("PUT", "/numbers", 405)])
def test_no_such_route_or_method_is_a_problem(
    client: TestClient, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status == answer.json()["status"]
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8000",
        "evil.example:127",
        "192.168.0.1",
    ],
)
def test_a_host_that_is_not_ours_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/numbers", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["", "a:b", "me@127.0.0.1", "127.0.0.1/x", "[::1", "127.0.0.1?x"])
def test_a_host_that_is_none_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/numbers", headers={"host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:9", "[::1]:8000", "localhost."])
def test_a_host_of_ours_is_served(client: TestClient, host: str) -> None:
    assert client.get("/numbers", headers={"host": host}).status_code == 200


def test_two_hosts_are_none(client: TestClient) -> None:
    answer = client.get("/numbers", headers=[("host", "127.0.0.1"), ("host", "evil.example")])
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example", "", "file://"]
)
def test_a_page_of_a_foreign_origin_is_refused(client: TestClient, origin: str) -> None:
    assert client.get("/numbers", headers={"origin": origin}).status_code == 403
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect("ws://127.0.0.1/ws", headers={"origin": origin}),
    ):
        pass
    assert refused.value.status_code == 403


def test_a_page_of_our_own_origin_is_served(client: TestClient) -> None:
    assert client.get("/numbers", headers={"origin": "http://localhost:8000"}).status_code == 200


def test_with_any_host_allowed_a_page_must_come_from_the_same_host() -> None:
    client = TestClient(application(allowed_hosts="*"), base_url="http://monitor.example")
    assert client.get("/numbers").status_code == 200
    assert client.get("/numbers", headers={"origin": "https://monitor.example"}).status_code == 200
    assert client.get("/numbers", headers={"origin": "https://evil.example"}).status_code == 403


@pytest.mark.parametrize("path", ["/numbers", "/nowhere", "/raise/unknown"])
def test_every_answer_has_the_security_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"


def test_a_websocket_that_fails_is_closed_with_an_error(client: TestClient) -> None:
    with client.websocket_connect("ws://127.0.0.1/ws") as websocket:
        assert websocket.receive_text() == "hello"
        assert websocket.receive() == {"type": "websocket.close", "code": 1011}


def test_half_an_answer_is_broken_off_and_not_finished_as_if_it_were_whole() -> None:
    from scrapewatch.http import Guard

    async def half(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ScrapewatchError("too late")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/", "method": "GET", "headers": [(b"host", b"localhost")]}
    with pytest.raises(ScrapewatchError):
        asyncio.run(Guard(half, ["localhost"])(scope, None, send))  # type: ignore[arg-type]
    assert [message["type"] for message in sent] == ["http.response.start"]


def test_the_openapi_document_tells_of_problems(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    invalid = document["paths"]["/numbers"]["get"]["responses"]["422"]
    assert invalid["content"] == {
        "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
    }
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert client.get("/openapi.json").json() == document


def test_hosts_are_read_as_the_standard_has_them() -> None:
    assert host_of("Example.COM:80") == "example.com"
    assert host_of("[2001:db8::1]:80") == "2001:db8::1"
    assert host_of("example.com:99999") is None
