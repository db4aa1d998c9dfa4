"""Keys, tenants, tokens and signing in over HTTP."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from redis import Redis as Client
from starlette.testclient import TestClient

from scrapewatch import limits
from scrapewatch.access import ADMIN, READ, WRITE
from scrapewatch.tokens import TOKEN_SECONDS
from tests.api.stacks import BASE, Stack
from tests.credentials import bearer, make_key
from tests.loopback import wait_for

SESSIONS = "/api/v1/monitoring/sessions"


def new(http: TestClient, headers: dict[str, str], **wanted: Any) -> dict[str, Any]:
    answer = http.post(
        "/api/v1/admin/keys", headers=headers, json={"name": "k", "scopes": ["viewer"], **wanted}
    )
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


@pytest.fixture
def admin(stack: Stack) -> dict[str, str]:
    return bearer(make_key(stack.records.engine, ADMIN, name="admin"))


def test_a_key_is_made_listed_used_and_revoked(
    stack: Stack, client: TestClient, admin: dict[str, str]
) -> None:
    made = new(client, admin, name="analyst", expires_in_days=30)
    assert made["key"].startswith(f"sw_{made['prefix']}_")
    assert made["scopes"] == [READ]
    assert made["expires_at"] > datetime.now(UTC).isoformat()
    assert client.get(SESSIONS, headers=bearer(made["key"])).status_code == 200
    listed = client.get("/admin/keys", headers=admin)
    assert [item["name"] for item in listed.json()["items"]] == ["admin", "analyst"]
    assert made["key"] not in listed.text
    revoked = client.delete(f"/admin/keys/{made['prefix']}", headers=admin).json()
    assert revoked["revoked_at"] is not None and revoked["problem"] == "was revoked"
    assert client.get(SESSIONS, headers=bearer(made["key"])).status_code == 401, "at once, in this process"
    assert client.delete(f"/admin/keys/{made['prefix']}", headers=admin).json() == revoked


def test_the_first_key_may_be_made_from_this_machine_and_shuts_the_door(client: TestClient) -> None:
    made = new(client, {}, scopes=["admin"])
    assert client.get(SESSIONS).status_code == 401
    assert client.get(SESSIONS, headers=bearer(made["key"])).status_code == 200


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({"scopes": ["everything"]}, 422),
        ({"scopes": []}, 422),
        ({"name": ""}, 422),
        ({"name": "a\x1b[31m"}, 422),
        ({"expires_at": "2020-01-01T00:00:00Z"}, 422),
        ({"expires_at": "2030-01-01T00:00:00"}, 422),
        ({"expires_in_days": 0}, 422),
        ({"tenant": "nobody"}, 404),
        ({"name": "admin"}, 409),
        ({"colour": "red"}, 422),
    ],
)
def test_a_key_that_cannot_be_is_refused(
    client: TestClient, admin: dict[str, str], wanted: dict[str, Any], status: int
) -> None:
    body = {"name": "k", "scopes": ["viewer"], **wanted}
    assert client.post("/admin/keys", headers=admin, json=body).status_code == status


def test_an_administrator_of_a_tenant_has_to_do_with_its_own_keys_alone(
    stack: Stack, client: TestClient, admin: dict[str, str]
) -> None:
    engine = stack.records.engine
    acme = bearer(make_key(engine, ADMIN, tenant="acme", name="acme"))
    make_key(engine, ADMIN, tenant="bravo", name="bravo")
    assert [item["tenant"] for item in client.get("/admin/keys", headers=acme).json()["items"]] == ["acme"]
    for query in ("?tenant=bravo", "?tenant=default", "?tenant=*"):
        assert client.get(f"/admin/keys{query}", headers=acme).status_code == 403
    body = {"name": "k", "scopes": ["admin"], "tenant": "default"}
    assert client.post("/admin/keys", headers=acme, json=body).status_code == 403
    everything = client.get("/admin/keys?tenant=*", headers=admin).json()["items"]
    assert {item["tenant"] for item in everything} == {"default", "acme", "bravo"}
    for item in sorted(everything, key=lambda item: item["tenant"] == "acme"):
        status = client.delete(f"/admin/keys/{item['prefix']}", headers=acme).status_code
        assert status == (200 if item["tenant"] == "acme" else 404)


def test_tenants_are_made_renamed_disabled_and_let_in_again(
    client: TestClient, admin: dict[str, str]
) -> None:
    assert client.post("/admin/tenants", headers=admin, json={"name": "acme"}).status_code == 201
    assert client.post("/admin/tenants", headers=admin, json={"name": "acme"}).status_code == 409
    assert client.post("/admin/tenants", headers=admin, json={"name": "default"}).status_code == 409
    for bad in ("Acme", "a.b", "-a", "", "a" * 64, "../x"):
        assert client.post("/admin/tenants", headers=admin, json={"name": bad}).status_code == 422, bad
    key = bearer(new(client, admin, tenant="acme")["key"])
    assert client.get(SESSIONS, headers=key).status_code == 200
    changed = client.patch(
        "/admin/tenants/acme", headers=admin, json={"title": "ACME", "disabled": True}
    ).json()
    assert changed["title"] == "ACME" and changed["disabled_at"] is not None
    assert client.get(SESSIONS, headers=key).status_code == 401
    assert (
        client.post(
            "/admin/keys", headers=admin, json={"name": "x", "scopes": ["viewer"], "tenant": "acme"}
        ).status_code
        == 404
    )
    client.patch("/admin/tenants/acme", headers=admin, json={"disabled": False})
    assert client.get(SESSIONS, headers=key).status_code == 200
    assert client.patch("/admin/tenants/nobody", headers=admin, json={"title": "x"}).status_code == 404
    assert client.patch("/admin/tenants/default", headers=admin, json={"disabled": True}).status_code == 422
    assert client.patch("/admin/tenants/default", headers=admin, json={"title": "Us"}).status_code == 200
    listed = client.get("/admin/tenants", headers=admin).json()["items"]
    assert [(item["name"], item["title"]) for item in listed] == [("default", "Us"), ("acme", "ACME")]


# --- tokens


def token(http: TestClient, **form: str) -> Any:
    return http.post("/oauth/token", data={"grant_type": "client_credentials", **form})


def test_a_key_gets_a_token_that_allows_what_was_asked_for_and_dies_with_it(
    stack: Stack, client: TestClient
) -> None:
    key = make_key(stack.records.engine, READ, WRITE, tenant="acme")
    answer = token(client, client_id=key[3:11], client_secret=key, scope=READ)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    said = answer.json()
    assert (said["token_type"], said["expires_in"], said["scope"]) == ("Bearer", TOKEN_SECONDS, READ)
    assert key not in answer.text
    shown = bearer(said["access_token"])
    assert client.get("/login", headers=shown).json() == {
        "tenant": "acme",
        "scopes": [READ],
        "name": f"key:{key[3:11]}",
    }
    assert client.get(SESSIONS, headers=shown).status_code == 200
    refused = client.post("/api/v1/admin/keys", headers=shown, json={"name": "x", "scopes": ["admin"]})
    assert refused.status_code == 403
    services = stack.services
    assert services.credentials is not None and services.gate is not None
    services.credentials.revoke_key(key[3:11])
    services.gate.credentials.forget()
    assert client.get(SESSIONS, headers=shown).status_code == 401


def test_a_token_is_had_by_basic_authentication_too(stack: Stack, client: TestClient) -> None:
    key = make_key(stack.records.engine, READ)
    shown = {"Authorization": "Basic " + base64.b64encode(f"{key[3:11]}:{key}".encode()).decode()}
    answer = client.post("/api/v1/oauth/token", data={"grant_type": "client_credentials"}, headers=shown)
    assert answer.status_code == 200
    assert answer.json()["scope"] == READ


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": ""}, 400, "invalid_request"),
        ({"client_secret": "hunter2"}, 401, "invalid_client"),
        ({"client_secret": f"sw_{'0' * 8}_{'0' * 64}"}, 401, "invalid_client"),
        ({"client_id": "ffffffff"}, 401, "invalid_client"),
        ({"scope": "everything"}, 400, "invalid_scope"),
        ({"scope": ADMIN}, 400, "invalid_scope"),
    ],
)
def test_who_cannot_have_a_token_is_told_in_the_words_of_oauth(
    stack: Stack, client: TestClient, form: dict[str, str], status: int, error: str
) -> None:
    key = make_key(stack.records.engine, READ)
    answer = token(client, **{"client_secret": key, **form})
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert "hunter2" not in answer.text


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{}", "application/json", 400),
        (b"a=1&a=2", "application/x-www-form-urlencoded", 400),
        (b"a=\xff", "application/x-www-form-urlencoded", 400),
        (b"a=" + b"x" * 20_000, "application/x-www-form-urlencoded", 413),
        (b"&".join(b"a%d=1" % k for k in range(50)), "application/x-www-form-urlencoded", 400),
    ],
)
def test_what_is_no_form_gets_no_token(client: TestClient, body: bytes, kind: str, status: int) -> None:
    answer = client.post("/oauth/token", content=body, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["error"]) == (status, "invalid_request")


@pytest.mark.parametrize("path", ["/admin/keys", "/login"])
def test_a_body_without_an_end_is_refused_before_it_fills_the_memory(
    client: TestClient, admin: dict[str, str], path: str
) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 50_000_000:
            sent += 100_000
            yield b" " * 100_000

    answer = client.post(path, content=endless(), headers={**admin, "Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


# --- browsers


def test_a_browser_signs_in_with_a_key_and_out_again(stack: Stack, client: TestClient) -> None:
    key = make_key(stack.records.engine, READ)
    assert client.get("/login").status_code == 401
    assert client.get("/").status_code == 200, "the page itself is no secret"
    assert client.post("/login", json={"key": "hunter2"}).status_code == 401
    signed = client.post("/login", json={"key": f" {key}\n"})
    assert signed.json()["scopes"] == [READ]
    cookie = signed.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "path=/" in cookie
    assert key.lower() not in cookie
    assert client.get(SESSIONS).status_code == 200, "by the cookie"
    with client.websocket_connect("ws://127.0.0.1/api/v1/ws/system") as websocket:
        assert '"type":"system"' in websocket.receive_text()
    assert client.post("/logout").status_code == 204
    assert client.get(SESSIONS).status_code == 401


def test_over_tls_the_cookie_never_goes_without(stack: Stack) -> None:
    key = make_key(stack.records.engine, READ)
    client = TestClient(stack.app, base_url="https://127.0.0.1:8000")
    assert "secure" in client.post("/login", json={"key": key}).headers["set-cookie"].lower()


def test_before_the_first_key_nobody_needs_to_sign_in(client: TestClient) -> None:
    assert client.get("/login").json() == {"tenant": "default", "scopes": [ADMIN], "name": "local"}


# --- how often


def test_who_asks_ten_times_too_often_is_told_when_to_come_back_and_others_are_not_touched(
    make: Callable[..., Stack],
) -> None:
    """Row 19 of the faults, of requests to the API; that of events is in test_limits.py."""
    stack = make(key_requests_per_minute=10, address_requests_per_minute=0)
    client = TestClient(stack.app, base_url=BASE)
    flood, calm = (bearer(make_key(stack.records.engine, READ, tenant=name)) for name in ("acme", "bravo"))
    answers = [client.get(SESSIONS, headers=flood) for _ in range(100)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429] * 90
    assert [int(answer.headers["ratelimit-remaining"]) for answer in answers[:10]] == [*range(9, -1, -1)]
    last = answers[-1]
    assert 1 <= int(last.headers["retry-after"]) <= 60
    assert last.headers["ratelimit-limit"] == "10" and last.headers["ratelimit-policy"] == "10;w=60"
    assert last.json()["type"] == "urn:scrapewatch:problem:rate-limited"
    other = client.get(SESSIONS, headers=calm)
    assert (other.status_code, other.headers["ratelimit-remaining"]) == (200, "9")
    assert client.get("/healthz").status_code == 200, "probes are not counted"


def test_all_keys_of_a_tenant_together_have_a_limit_too(make: Callable[..., Stack]) -> None:
    stack = make(tenant_requests_per_minute=6, address_requests_per_minute=0)
    client = TestClient(stack.app, base_url=BASE)
    keys = [bearer(make_key(stack.records.engine, READ, tenant="acme")) for _ in range(4)]
    statuses = [client.get(SESSIONS, headers=key).status_code for key in keys for _ in range(2)]
    assert statuses == [200] * 6 + [429] * 2


def test_who_guesses_keys_or_secrets_is_slowed_down_by_address(make: Callable[..., Stack]) -> None:
    stack = make(address_requests_per_minute=5)
    make_key(stack.records.engine, READ)
    client = TestClient(stack.app, base_url=BASE)
    asked = [client.get(SESSIONS, headers=bearer(f"sw_{k:08x}_{'0' * 64}")) for k in range(4)]
    asked += [client.post("/login", json={"key": f"sw_{k:08x}_{'0' * 64}"}) for k in range(4)]
    assert [answer.status_code for answer in asked] == [401] * 5 + [429] * 3
    elsewhere = TestClient(stack.app, base_url=BASE, client=("203.0.113.9", 1))
    assert elsewhere.get(SESSIONS, headers=bearer("hunter2")).status_code == 401


def test_an_address_of_ipv6_is_counted_by_its_network(make: Callable[..., Stack]) -> None:
    stack = make(address_requests_per_minute=2)
    make_key(stack.records.engine, READ)
    statuses = [
        TestClient(stack.app, base_url=BASE, client=(f"2001:db8::{k}", 1)).get(SESSIONS).status_code
        for k in range(1, 5)
    ]
    assert statuses == [401, 401, 429, 429]


def test_several_processes_count_together_in_redis_and_alone_without_it(
    make: Callable[..., Stack], redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REDIS_PATIENCE", 20.0)  # of a busy machine
    settings = {"key_requests_per_minute": 5, "address_requests_per_minute": 0, "redis_url": redis.url}
    stacks = [make(**settings) for _ in range(2)]
    key = bearer(make_key(stacks[0].records.engine, READ))
    statuses = []
    for stack in stacks:
        with TestClient(stack.app, base_url=BASE) as client:
            statuses += [client.get(SESSIONS, headers=key).status_code for _ in range(4)]
    assert statuses == [200] * 5 + [429] * 3
    with Client.from_url(redis.url) as looking:
        wait_for(lambda: len(looking.client_list()) == 1, what="all connections to Redis are closed")
    redis.stop()
    with TestClient(stacks[0].app, base_url=BASE) as client:
        assert client.get(SESSIONS, headers=key).status_code == 200, "a limit is no reason to answer nobody"
    redis.start()


def test_an_expiry_may_be_named_as_a_moment(client: TestClient, admin: dict[str, str]) -> None:
    at = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    assert datetime.fromisoformat(new(client, admin, expires_at=at.isoformat())["expires_at"]) == at


def test_tokens_say_nothing_secret(stack: Stack, client: TestClient) -> None:
    key = make_key(stack.records.engine, READ)
    claims = jwt.decode(
        token(client, client_secret=key).json()["access_token"], options={"verify_signature": False}
    )
    assert set(claims) == {"iss", "aud", "sub", "tenant", "scope", "jti", "iat", "exp", "key"}
    assert key[12:] not in str(claims)
