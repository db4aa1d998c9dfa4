"""The routes of credentials.

``/oauth/token`` speaks as RFC 6749 has it, errors included, because its clients are made for that; the others answer as the API does.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import parse_qs, unquote_plus

import orjson
import structlog
from fastapi import APIRouter, Body, Path, Query, Request, Response

from api.access import identity_of, who_asks
from api.admin.models import (
    Key,
    KeyList,
    MadeKey,
    NewKey,
    NewTenant,
    SignIn,
    Tenant,
    TenantChange,
    TenantList,
    Token,
    Who,
)
from api.services import ApiServices
from records.credentials import SqlCredentials
from scrapewatch.access import SCOPES, Identity, scopes_of
from scrapewatch.gate import COOKIE, Gate
from scrapewatch.http import problem_responses
from scrapewatch.keys import prefix_of
from scrapewatch.problems import Forbidden, Unauthenticated
from scrapewatch.tokens import LOGIN_SECONDS, TOKEN_SECONDS, Tokens

_MOST_FORM = 16_384

_log = structlog.get_logger("api.credentials")

Prefix = Annotated[
    str, Path(min_length=1, max_length=64, description="Prefix of the key.", examples=["1a2b3c4d"])
]
TenantName = Annotated[
    str, Path(min_length=1, max_length=64, description="Name of the tenant.", examples=["acme"])
]


def build_router(services: ApiServices, gate: Gate, tokens: Tokens, store: SqlCredentials) -> APIRouter:
    """The routes of credentials; what is changed by them is known to ``gate`` at once."""
    router = APIRouter()
    router.include_router(_keys(services, gate, store), tags=["credentials"])
    router.include_router(_tenants(services, gate, store), tags=["credentials"])
    router.include_router(_tokens(services, gate, tokens), tags=["credentials"])
    return router


def _keys(services: ApiServices, gate: Gate, store: SqlCredentials) -> APIRouter:
    router = APIRouter(prefix="/admin/keys", route_class=services.telemetry.route_class())
    records = services.patience["records"]

    @router.get("", summary="API keys", response_model=KeyList, responses=problem_responses(503))
    async def list_keys(
        request: Request,
        tenant: Annotated[
            str | None,
            Query(
                max_length=64,
                description="Only those of this tenant; by default of one's own. `*` for all, where one may.",
            ),
        ] = None,
    ) -> KeyList:
        """Keys by their prefix; their secrets are not kept."""
        identity = identity_of(request)
        found = await records.call(
            store.keys, None if tenant == "*" and identity.at_home else _tenant_for(identity, tenant)
        )
        return KeyList(items=[Key.of(info) for info in found])

    @router.post(
        "",
        summary="Make an API key",
        status_code=201,
        response_model=MadeKey,
        responses=problem_responses(404, 409, 422, 503),
    )
    async def make_key(request: Request, wanted: NewKey) -> MadeKey:
        """Its text is in the answer, and never again: what is kept is its SHA-256."""
        identity = identity_of(request)
        expires_at: datetime | None = wanted.expires_at
        if expires_at is None and wanted.expires_in_days is not None:
            expires_at = datetime.now(UTC) + timedelta(days=wanted.expires_in_days)
        text, info = await records.call(
            store.create_key,
            wanted.name,
            scopes=scopes_of(wanted.scopes),
            tenant=_tenant_for(identity, wanted.tenant),
            expires_at=expires_at,
        )
        gate.credentials.forget()
        _log.info("a key was made", key=info.prefix, of=info.tenant, scopes=info.scopes, by=identity.name)
        return MadeKey(key=text, **Key.of(info).model_dump())

    @router.delete(
        "/{prefix}",
        summary="Revoke an API key",
        response_model=Key,
        responses=problem_responses(404, 422, 503),
    )
    async def revoke_key(request: Request, prefix: Prefix) -> Key:
        """Refused at once by this process, and by every other within 6 seconds. It stays in the list."""
        identity = identity_of(request)
        info = await records.call(store.revoke_key, prefix, None if identity.at_home else identity.tenant)
        gate.credentials.forget()
        _log.info("a key was revoked", key=info.prefix, of=info.tenant, by=identity.name)
        return Key.of(info)

    return router


def _tenant_for(identity: Identity, wanted: str | None) -> str:
    """The tenant whose keys are meant.

    Raises:
        Forbidden: another's, and it is not for ``identity`` to say.
    """
    if wanted is None or wanted == identity.tenant:
        return identity.tenant
    if not identity.at_home:
        raise Forbidden("keys of other tenants are made and seen by those whose installation this is")
    return wanted


def _tenants(services: ApiServices, gate: Gate, store: SqlCredentials) -> APIRouter:
    router = APIRouter(prefix="/admin/tenants", route_class=services.telemetry.route_class())
    records = services.patience["records"]

    @router.get("", summary="Tenants", response_model=TenantList, responses=problem_responses(503))
    async def list_tenants() -> TenantList:
        """All tenants; each sees its own data alone."""
        return TenantList(items=[Tenant.of(info) for info in await records.call(store.tenants)])

    @router.post(
        "",
        summary="Make a tenant",
        status_code=201,
        response_model=Tenant,
        responses=problem_responses(409, 422, 503),
    )
    async def make_tenant(wanted: NewTenant) -> Tenant:
        """With InfluxDB it needs buckets and tokens of its own, too: `python -m influx bootstrap --tenant NAME`."""
        return Tenant.of(await records.call(store.create_tenant, wanted.name, wanted.title))

    @router.patch(
        "/{name}",
        summary="Change a tenant",
        response_model=Tenant,
        responses=problem_responses(404, 422, 503),
    )
    async def change_tenant(name: TenantName, change: TenantChange) -> Tenant:
        """Another title, or whether its keys are refused."""
        changed = await records.call(store.change_tenant, name, title=change.title, disabled=change.disabled)
        gate.credentials.forget()
        return Tenant.of(changed)

    return router


def _tokens(services: ApiServices, gate: Gate, tokens: Tokens) -> APIRouter:
    router = APIRouter(route_class=services.telemetry.route_class())
    records = services.patience["records"]

    async def token_for(
        shown: str, *, seconds: int, scopes: frozenset[str] | None = None
    ) -> tuple[Identity, str]:
        identity = await gate.credentials.identify(shown.encode("utf-8", "replace"))
        if scopes is not None:
            if not all(identity.may(scope) for scope in scopes):
                raise Forbidden("the key does not allow all of that")
            identity = Identity(identity.tenant, scopes, identity.name)
        return identity, await records.call(tokens.issue, identity, seconds=seconds, key=prefix_of(shown))

    @router.post(
        "/oauth/token",
        summary="A short-lived token for a key",
        response_model=Token,
        responses={
            400: _oauth_error("invalid_request"),
            401: _oauth_error("invalid_client"),
            **problem_responses(429, 503),
        },
        openapi_extra={"requestBody": _FORM},
    )
    async def token(request: Request) -> Response:
        """OAuth 2 with client credentials: the client's id is the key's prefix (it may be left out), its secret the key.

        The token is good for 15 minutes, allows what the key does (or the `scope` that was asked for), and dies with the key.
        """
        try:
            form = await _form(request)
            shown = _client_secret(request, form)
            scopes = _wanted_scopes(form)
            identity, text = await token_for(shown, seconds=TOKEN_SECONDS, scopes=scopes)
        except _OAuthError as error:
            return error.response()
        except Unauthenticated as error:
            return _OAuthError("invalid_client", str(error), 401).response()
        except Forbidden as error:
            return _OAuthError("invalid_scope", str(error)).response()
        answer = Token(
            access_token=text,
            token_type="Bearer",  # noqa: S106 - the type of a token, not one
            expires_in=TOKEN_SECONDS,
            scope=" ".join(sorted(identity.scopes)),
        )
        return Response(
            answer.model_dump_json(), media_type="application/json", headers={"Pragma": "no-cache"}
        )

    @router.get("/login", summary="Who asks", response_model=Who, responses=problem_responses(401))
    async def who(request: Request) -> Who:
        """Whom the shown credential belongs to; 401 where one is needed and none is good."""
        identity = await who_asks(request)
        if identity is None:
            raise Unauthenticated("sign in with an API key")
        return Who(tenant=identity.tenant, scopes=sorted(identity.scopes), name=identity.name)

    @router.post(
        "/login",
        summary="Sign in with a browser",
        response_model=Who,
        responses=problem_responses(401, 422, 429, 503),
    )
    async def sign_in(request: Request, response: Response, signing: Annotated[SignIn, Body()]) -> Who:
        """Sets a cookie that scripts cannot read, good for 12 hours and no longer than the key."""
        key = signing.key.strip()
        if prefix_of(key) is None:
            raise Unauthenticated("that is no API key")
        identity, text = await token_for(key, seconds=LOGIN_SECONDS)
        response.set_cookie(
            COOKIE,
            text,
            max_age=LOGIN_SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return Who(tenant=identity.tenant, scopes=sorted(identity.scopes), name=identity.name)

    @router.post("/logout", summary="Sign out", status_code=204, response_class=Response)
    async def sign_out(request: Request) -> Response:
        """Takes the cookie back."""
        response = Response(status_code=204)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=request.url.scheme == "https")
        return response

    return router


class _OAuthError(Exception):
    """An error as section 5.2 of RFC 6749 has it."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.status = status

    def response(self) -> Response:
        body = orjson.dumps({"error": self.error, "error_description": str(self)})
        headers = {"WWW-Authenticate": 'Basic realm="scrapewatch"'} if self.status == 401 else None
        return Response(body, self.status, headers, "application/json")


def _oauth_error(error: str) -> dict[str, Any]:
    return {
        "description": f"Such as `{error}`, as RFC 6749 has it",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
                },
                "example": {"error": error, "error_description": "what is wrong"},
            }
        },
    }


_FIELDS = ("grant_type", "client_id", "client_secret", "scope")
_FORM: dict[str, Any] = {
    "required": True,
    "content": {
        "application/x-www-form-urlencoded": {
            "schema": {
                "type": "object",
                "required": ["grant_type"],
                "properties": {
                    "grant_type": {"type": "string", "enum": ["client_credentials"]},
                    "client_id": {"type": "string", "description": "The key's prefix."},
                    "client_secret": {"type": "string", "description": "The key."},
                    "scope": {
                        "type": "string",
                        "description": "Scopes by spaces; by default all that the key allows.",
                    },
                },
            }
        }
    },
}


async def _form(request: Request) -> Mapping[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise _OAuthError("invalid_request", "send a form: application/x-www-form-urlencoded")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_FORM:
            raise _OAuthError("invalid_request", "the form is too large", 413)
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=20, errors="strict")
    except ValueError:
        raise _OAuthError("invalid_request", "that is no form") from None
    if any(len(values) > 1 for name, values in fields.items() if name in _FIELDS):  # others are passed over
        raise _OAuthError("invalid_request", "a field comes twice")
    return {name: values[0] for name, values in fields.items()}


def _client_secret(request: Request, form: Mapping[str, str]) -> str:
    if form.get("grant_type") != "client_credentials":
        kind = "unsupported_grant_type" if form.get("grant_type") else "invalid_request"
        raise _OAuthError(kind, "grant_type must be client_credentials")
    client, secret = form.get("client_id"), form.get("client_secret")
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        if secret is not None:
            raise _OAuthError("invalid_request", "send the secret in one way")
        try:
            name, _, password = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            raise _OAuthError("invalid_client", "that is no basic authentication", 401) from None
        client, secret = unquote_plus(name), unquote_plus(password)
    if not secret or prefix_of(secret) is None:
        raise _OAuthError("invalid_client", "the client's secret must be an API key", 401)
    if client and client != prefix_of(secret):
        raise _OAuthError("invalid_client", "the client's id is the key's prefix, or left out", 401)
    return secret


def _wanted_scopes(form: Mapping[str, str]) -> frozenset[str] | None:
    names = form.get("scope", "").split()
    if not names:
        return None
    if any(name not in SCOPES for name in names):
        raise _OAuthError("invalid_scope", f"the scopes are {', '.join(SCOPES)}")
    return frozenset(names)
