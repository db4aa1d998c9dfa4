"""Every route of the product under its rule: what is registered is what the table names, and nobody passes whom it does not let."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from records.credentials import SqlCredentials
from records.store import SqlRecords
from scrapewatch.access import ADMIN, ALERT, PREFIX, READ, ROUTES, SCOPES, WRITE, Rule, rule_of
from scrapewatch.gate import GateMiddleware, registered, tenant_of
from scrapewatch.http import Guard
from scrapewatch.problems import ConfigurationError
from scrapewatch.settings import Settings
from stack.access import make_gate
from stack.parts import API, COLLECTOR
from stack.serve import build, listen
from tests.credentials import bearer, make_key
from tests.issuer import Issuer
from tests.new_records import records_in

PARTS = ((COLLECTOR, API), (COLLECTOR,), (API,))


@contextlib.contextmanager
def built(folder: Path, parts: tuple[str, ...]) -> Iterator[Any]:
    with contextlib.ExitStack() as stores:
        app = build(Settings(data_dir=folder, sampler=False), parts, stores)
        yield app
        if app.state.collector is not None:
            app.state.collector.spool.close()


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The routes of the whole product."""
    with built(tmp_path_factory.mktemp("routes"), (COLLECTOR, API)) as app:
        return list(app.routes)


@pytest.mark.parametrize("parts", PARTS)
def test_every_route_that_is_registered_stands_in_the_table(tmp_path: Path, parts: tuple[str, ...]) -> None:
    with built(tmp_path, parts) as app:
        listed = registered(app.routes)
    assert ("POST", f"{PREFIX}/monitoring/metrics") in listed or parts == (API,)
    missing = sorted(
        f"{method} {template}" for method, template in listed if rule_of(method, template) is None
    )
    assert missing == [], "say in scrapewatch/access.py what they need"


def test_only_pages_probes_and_signing_in_are_open_to_anybody() -> None:
    opened = {line for line, rule in ROUTES.items() if rule.scope is None}
    data = {line for line in opened if re.search(r" /(monitoring|analytics|admin|ws|api|data)", line)}
    assert data == set()
    assert "GET /metrics" not in opened


def test_what_changes_something_is_not_for_who_may_only_read() -> None:
    for line, rule in ROUTES.items():
        if not line.startswith(("GET ", "WS ")) and rule.scope is not None:
            assert rule.scope != READ, line


class Doors:
    """The gate of the product in front of its routes, behind which somebody answers all that passes."""

    def __init__(self, folder: Path, routes: Any, **settings: Any) -> None:
        self.records: SqlRecords = records_in(folder)
        chosen = Settings(
            data_dir=folder,
            **{
                "key_requests_per_minute": 0,
                "address_requests_per_minute": 0,
                "tenant_requests_per_minute": 0,
            }
            | settings,
        )
        self.gate, self.tokens = make_gate(chosen, self.records.engine)
        self.store = SqlCredentials(self.records.engine)
        self.middleware = GateMiddleware(_answering, self.gate, lambda: routes)
        self.app = Guard(self.middleware, ["127.0.0.1"], chosen.cors_origins)
        self.http = TestClient(self.app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50_000))

    def key(self, *scopes: str, **more: Any) -> str:
        return make_key(self.records.engine, *scopes, **more)

    def ask(self, method: str, template: str, headers: dict[str, str] | None = None) -> int:
        """The status that a request gets; 200 where it passes."""
        path = re.sub(r"\{[^}]*\}", "12345678", template)
        if method != "WS":
            return self.http.request(method, path, headers=headers or {}, follow_redirects=False).status_code
        try:
            with self.http.websocket_connect(f"ws://127.0.0.1{path}", headers=headers or {}):
                return 200
        except WebSocketDenialResponse as refused:
            return refused.status_code


async def _answering(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        await socket.close()
    else:
        tenant = tenant_of(Request(scope)) if "identity" in scope["state"] else ""
        await Response(tenant)(scope, receive, send)


@pytest.fixture
def doors(tmp_path: Path, routes: Any) -> Iterator[Callable[..., Doors]]:
    made: list[Doors] = []

    def make(**settings: Any) -> Doors:
        made.append(Doors(tmp_path, routes, **settings))
        return made[-1]

    yield make
    for each in made:
        each.records.close()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.close()


def guarded(routes: Any) -> list[tuple[str, str, Rule]]:
    found = []
    for method, template in sorted(registered(routes)):
        rule = rule_of(method, template)
        assert rule is not None
        found.append((method, template, rule))
    return found


def test_every_route_by_every_credential(doors: Callable[..., Doors], routes: Any) -> None:
    """Row 18 of the faults: no key, a wrong, a revoked, an expired one, and each scope, at home and elsewhere."""
    gate = doors()
    bad = {
        "none": {},
        "wrong": bearer(f"sw_{'0' * 8}_{'0' * 64}"),
        "malformed": bearer("hunter2"),
        "empty": {"Authorization": ""},
        "basic": {"Authorization": "Basic YTpi"},
        "revoked": bearer(gate.key(ADMIN, made="revoked")),
        "expired": bearer(gate.key(ADMIN, made="expired")),
    }
    good = {scope: bearer(gate.key(scope)) for scope in SCOPES}
    foreign = {scope: bearer(gate.key(scope, tenant="acme")) for scope in SCOPES}
    for method, template, rule in guarded(routes):
        for name, headers in bad.items():
            assert gate.ask(method, template, headers) == (200 if rule.scope is None else 401), (
                method,
                template,
                name,
            )
        for scope, headers in good.items():
            allowed = rule.scope in (None, scope) or scope == ADMIN
            assert gate.ask(method, template, headers) == (200 if allowed else 403), (method, template, scope)
        for scope, headers in foreign.items():
            allowed = (rule.scope in (None, scope) or scope == ADMIN) and not rule.at_home
            assert gate.ask(method, template, headers) == (200 if allowed else 403), (method, template, scope)


def test_the_tenant_is_the_one_of_the_key_whatever_is_asked(doors: Callable[..., Doors]) -> None:
    gate = doors()
    acme = bearer(gate.key(READ, tenant="acme"))
    path = "/api/v1/monitoring/sessions?tenant=default"
    assert gate.http.get(path, headers={**acme, "X-Tenant": "default"}).text == "acme"
    assert gate.http.get(path, headers=bearer(gate.key(READ))).text == "default"


def test_before_the_first_key_this_machine_needs_none_and_no_other_passes(
    doors: Callable[..., Doors],
) -> None:
    gate = doors()
    path = "/api/v1/monitoring/sessions"
    assert gate.http.get(path).text == "default"
    elsewhere = TestClient(gate.app, base_url="http://127.0.0.1:8000", client=("203.0.113.7", 50_000))
    assert elsewhere.get(path).status_code == 401
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Proto", "Via"):
        assert gate.http.get(path, headers={header: "127.0.0.1"}).status_code == 401, header
    # A wrong credential is no lesser one than none.
    assert gate.http.get(path, headers=bearer("hunter2")).status_code == 401


def test_from_the_first_key_on_this_machine_needs_one_too_and_for_good(doors: Callable[..., Doors]) -> None:
    gate = doors()
    path = "/api/v1/monitoring/sessions"
    assert gate.http.get(path).status_code == 200
    key = gate.key(ADMIN, made="revoked")
    gate.gate.credentials.forget()
    assert gate.http.get(path).status_code == 401
    assert gate.http.get(path, headers=bearer(key)).status_code == 401


def test_a_trusted_network_needs_no_key_until_the_first_is_made(doors: Callable[..., Doors]) -> None:
    gate = doors(trust_network=True)
    elsewhere = TestClient(gate.app, base_url="http://127.0.0.1:8000", client=("203.0.113.7", 50_000))
    assert elsewhere.get("/api/v1/monitoring/sessions").text == "default"
    gate.key(READ)
    gate.gate.credentials.forget()
    assert elsewhere.get("/api/v1/monitoring/sessions").status_code == 401


def test_a_page_of_another_origin_needs_a_key_even_on_this_machine(doors: Callable[..., Doors]) -> None:
    gate = doors(cors_origins="https://app.example.com")
    page = {"Origin": "https://app.example.com"}
    path = "/api/v1/monitoring/sessions"
    asked = gate.http.options(path, headers={**page, "Access-Control-Request-Method": "GET"})
    assert asked.status_code == 204
    assert asked.headers["access-control-allow-origin"] == "https://app.example.com"
    assert "authorization" in asked.headers["access-control-allow-headers"].lower()
    refused = gate.http.get(path, headers=page)
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://app.example.com", "it may read why"
    key = gate.key(READ)
    gate.gate.credentials.forget()
    answer = gate.http.get(path, headers={**page, **bearer(key)})
    assert (answer.status_code, answer.headers["vary"]) == (200, "Origin")
    assert "access-control-allow-credentials" not in answer.headers
    assert gate.http.get(path, headers={"Origin": "https://app.example.com.evil.example"}).status_code == 403
    assert "access-control-allow-origin" not in gate.http.get(path, headers=bearer(key)).headers


@pytest.mark.parametrize("trusted", [True, False])
def test_a_page_of_another_port_is_no_page_of_ours(doors: Callable[..., Doors], trusted: bool) -> None:
    gate = doors(trust_network=trusted)
    path = "/api/v1/monitoring/sessions"
    assert gate.http.get(path, headers={"Origin": "http://127.0.0.1:8000"}).status_code == 200
    for origin in ("http://127.0.0.1:3000", "http://127.0.0.1", "https://127.0.0.1:8443"):
        assert gate.http.get(path, headers={"Origin": origin}).status_code == 401, origin
    cookie = {"Cookie": f"scrapewatch={gate.key(READ)}"}
    gate.gate.credentials.forget()
    assert gate.http.get(path, headers={**cookie, "Origin": "http://127.0.0.1:8000"}).status_code == 200
    assert gate.http.get(path, headers={**cookie, "Origin": "http://127.0.0.1:3000"}).status_code == 401


def test_a_browser_shows_its_cookie_or_a_subprotocol(doors: Callable[..., Doors]) -> None:
    gate = doors()
    key = gate.key(READ, tenant="acme")
    path = "/api/v1/monitoring/sessions"
    assert gate.http.get(path, headers={"Cookie": f'theme={{"a": [1]}}; scrapewatch={key}'}).text == "acme"
    assert gate.http.get(path, headers={"Cookie": "theme=dark; scrapewatch="}).status_code == 401
    with gate.http.websocket_connect(
        "ws://127.0.0.1/api/v1/ws/system", subprotocols=["scrapewatch", f"bearer.{key}"]
    ) as socket:
        assert str(socket.accepted_subprotocol) == "scrapewatch", "never the key itself"
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        gate.http.websocket_connect("ws://127.0.0.1/api/v1/ws/system", subprotocols=["bearer.hunter2"]),
    ):
        pass
    assert refused.value.status_code == 401
    # Nor in the query, which ends in logs.
    assert gate.http.get(f"{path}?access_token={key}&api_key={key}").status_code == 401


def test_a_websocket_ends_when_its_key_does(
    doors: Callable[..., Doors], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scrapewatch.gate.AGAIN", 0.05)
    gate = doors()
    key = gate.key(READ)

    async def listening(scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        await socket.send_text("hello")
        assert await socket.receive_text() == "ping"
        with pytest.raises(WebSocketDisconnect):
            await socket.receive_text()

    gate.middleware._app = listening
    with gate.http.websocket_connect("ws://127.0.0.1/api/v1/ws/system", headers=bearer(key)) as socket:
        assert socket.receive_text() == "hello"
        time.sleep(0.2)
        socket.send_text("ping")
        gate.store.revoke_key(key[3:11])
        gate.gate.credentials.forget()
        assert socket.receive() == {"type": "websocket.close", "code": 1008, "reason": "sign in again"}


def test_a_stream_breaks_off_when_its_key_ends(
    doors: Callable[..., Doors], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scrapewatch.gate.AGAIN", 0.05)
    gate = doors()
    key = gate.key(READ)
    sent = 0

    async def streaming(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            sent += 1
            if sent == 20:
                gate.store.revoke_key(key[3:11])
                gate.gate.credentials.forget()
            await asyncio.sleep(0.01)

    gate.middleware._app = streaming
    with pytest.raises(TimeoutError):
        gate.http.get("/api/v1/monitoring/sessions", headers=bearer(key))
    assert 20 <= sent < 40


def test_with_an_issuer_its_tokens_are_shown_and_this_machine_needs_one_too(
    doors: Callable[..., Doors], issuer: Issuer
) -> None:
    gate = doors(oauth_issuer=issuer.url, oauth_audience="scrapewatch-api")
    assert gate.ask("GET", "/monitoring/sessions") == 401, "no key was made, and yet"
    gate.store.create_tenant("acme")
    shown = bearer(issuer.token())
    assert gate.http.get("/monitoring/sessions", headers=shown).text == "acme"
    assert gate.ask("POST", "/monitoring/metrics", shown) == 403
    assert gate.ask("GET", "/monitoring/sessions", bearer(issuer.token(aud="another"))) == 401
    gate.store.change_tenant("acme", disabled=True)
    gate.gate.credentials.forget()
    assert gate.ask("GET", "/monitoring/sessions", shown) == 401


def test_two_credentials_are_none(doors: Callable[..., Doors]) -> None:
    gate = doors()
    key = f"Bearer {gate.key(READ)}"
    answer = gate.http.get(
        "/api/v1/monitoring/sessions", headers=[("Authorization", key), ("Authorization", key)]
    )
    assert answer.status_code == 401


def test_the_words_of_influxdb_clients_are_understood(doors: Callable[..., Doors]) -> None:
    gate = doors()
    key = gate.key(READ)
    for shown in (f"Token {key}", f"bearer  {key} ", f"BEARER {key}"):
        assert gate.ask("GET", "/monitoring/sessions", {"Authorization": shown}) == 200


def test_what_is_no_route_is_no_route_for_anybody(doors: Callable[..., Doors]) -> None:
    gate = doors()
    admin = bearer(gate.key(ADMIN))
    for headers in ({}, admin):
        assert gate.ask("GET", "/api/v1/nowhere", headers) == 404
        assert gate.ask("WS", "/api/v1/ws/nowhere", headers) == 404
        refused = gate.http.put("/api/v1/monitoring/sessions", headers=headers)
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET")


def test_a_route_that_the_table_does_not_know_is_refused_even_to_the_administrator(tmp_path: Path) -> None:
    from fastapi import FastAPI

    app = FastAPI(docs_url=None, redoc_url=None)

    @app.get("/forgotten")
    def forgotten() -> str:
        return "nobody may come here"

    records = records_in(tmp_path)
    gate, _ = make_gate(Settings(data_dir=tmp_path), records.engine)
    app.add_middleware(GateMiddleware, gate=gate, routes=lambda: app.routes)
    app.add_middleware(Guard, allowed_hosts=["127.0.0.1"])
    http = TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 1))
    assert http.get("/forgotten").status_code == 403
    records.close()


def test_a_refusal_tells_no_secret(doors: Callable[..., Doors], capsys: pytest.CaptureFixture[str]) -> None:
    gate = doors()
    gate.key(READ)
    secret = f"sw_{'1' * 8}_{'2' * 64}"
    answer = gate.http.get("/api/v1/monitoring/sessions", headers=bearer(secret))
    said = capsys.readouterr()
    assert answer.headers["www-authenticate"].startswith("Bearer")
    for text in (answer.text, str(answer.headers), said.out, said.err):
        assert "2" * 64 not in text


def test_strangers_are_let_near_only_with_keys_a_trusted_network_or_an_issuer(tmp_path: Path) -> None:
    public = {"data_dir": tmp_path, "host": "0.0.0.0", "port": 0}
    with pytest.raises(ConfigurationError, match="keys create"):
        listen(Settings.model_validate(public | {"port": 1}))
    for more in ({"trust_network": True}, {"oauth_issuer": "https://id.example", "oauth_audience": "x"}):
        chosen = Settings.model_validate(public | {"port": 8000} | more)
        listen(chosen.model_copy(update={"port": 0})).close()
    records = records_in(tmp_path)
    make_key(records.engine, WRITE)
    records.close()
    chosen = Settings.model_validate(public | {"port": 8000})
    listen(chosen.model_copy(update={"port": 0})).close()


def test_the_document_says_what_each_route_needs(tmp_path: Path) -> None:
    with built(tmp_path, (COLLECTOR, API)) as app:
        document = app.openapi()
    assert set(document["components"]["securitySchemes"]) == {"bearer"}
    paths = document["paths"]
    assert paths["/api/v1/monitoring/metrics"]["post"]["security"] == [{"bearer": [WRITE]}]
    assert paths["/api/v1/monitoring/sessions"]["get"]["security"] == [{"bearer": [READ]}]
    assert {"401", "403", "429"} <= set(paths["/api/v1/monitoring/sessions"]["get"]["responses"])
    assert "security" not in paths["/healthz"]["get"]
    assert ALERT in SCOPES
