"""HTTP as both services speak it: errors as RFC 9457 problems, and a guard in front of every request.

The routes raise domain errors; :data:`PROBLEMS` is the one table that says what those are over HTTP. The guard refuses what a web page
of somebody else's could do to a stack on loopback (a foreign ``Host`` after DNS rebinding, a foreign ``Origin`` on a request or a
WebSocket), adds the security headers and a request id, and turns what nobody foresaw into a problem that tells nothing but that id.

Needs the extra ``server``.
"""

from __future__ import annotations

import itertools
import math
import random
import re
import secrets
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Protocol, cast
from urllib.parse import urlsplit

import orjson
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scrapewatch.access import rule_of
from scrapewatch.problems import (
    Busy,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    RateLimited,
    ScrapewatchError,
    SpoolFull,
    StoreUnavailable,
    TooMuch,
    Unauthenticated,
    Unsupported,
)
from scrapewatch.settings import Settings

MEDIA_TYPE = "application/problem+json"

PROBLEMS: Mapping[type[ScrapewatchError], tuple[int, str, str]] = {
    InvalidInput: (422, "invalid-input", "The input cannot be used"),
    Unauthenticated: (401, "unauthenticated", "It is not known who asks"),
    Forbidden: (403, "forbidden", "This credential is not for that"),
    Unsupported: (501, "unsupported", "A part that this needs is not set up"),
    NotFound: (404, "not-found", "There is no such thing"),
    Conflict: (409, "conflict", "This contradicts an earlier request"),
    StoreUnavailable: (503, "store-unavailable", "A store does not answer"),
    SpoolFull: (503, "spool-full", "No room to make events durable"),
    Busy: (503, "busy", "Too much is under way at once"),
    TooMuch: (429, "too-much", "More than a tenant may send"),
    RateLimited: (429, "rate-limited", "Too many requests"),
}
"""Domain error → status, last part of the problem's type, title."""

RETRY_AFTER = (1, 5)
"""Seconds after which to try again where the error does not say: any between, so that a fleet does not come back as one."""

_log = structlog.get_logger("scrapewatch.http")


class FieldError(BaseModel):
    """What is wrong with one field of the input; the input itself is never repeated."""

    field: str = Field(description="Where it is, such as `query.limit`.")
    reason: str = Field(description="What is wrong with it.")


class Problem(BaseModel):
    """A problem as RFC 9457 defines it."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:scrapewatch:problem:not-found",
                "title": "There is no such thing",
                "status": 404,
                "detail": "there is no session of that id",
            }
        }
    )

    type: str = Field(description="What kind of problem: `about:blank` or `urn:scrapewatch:problem:…`.")
    title: str = Field(description="The kind in words, the same for every occurrence.")
    status: int = Field(description="The HTTP status.")
    detail: str | None = Field(None, description="What happened here, and what to do.")
    errors: list[FieldError] | None = Field(None, description="The fields that are wrong.")
    request_id: str | None = Field(None, description="The id under which the log tells more.")


def problem(
    status: int,
    title: str | None = None,
    detail: str | None = None,
    *,
    kind: str | None = None,
    headers: Mapping[str, str] | None = None,
    **extra: Any,
) -> Response:
    """A problem as a response; ``extra`` members are left out where None, ``kind`` is the last part of its type."""
    body: dict[str, Any] = {
        "type": f"urn:scrapewatch:problem:{kind}" if kind else "about:blank",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **extra,
    }
    content = orjson.dumps({name: value for name, value in body.items() if value is not None})
    return Response(content, status, dict(headers) if headers else None, MEDIA_TYPE)


def kind_of(error: ScrapewatchError) -> str:
    """The last part of the type of the problem that a domain error is; ``internal`` where it is not in the table."""
    return _entry(error)[1]


def _entry(error: ScrapewatchError) -> tuple[int, str, str]:
    found = next((PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS), None)
    return found or (500, "internal", "")


def status_of(error: Exception) -> int:
    """The status with which a request is answered that failed with ``error``; 499, which nobody sees, where the client is gone."""
    if isinstance(error, ScrapewatchError):
        return _entry(error)[0]
    if isinstance(error, HTTPException):
        return error.status_code
    if isinstance(error, RequestValidationError):
        return 400 if _is_no_json(error) else 422
    return 499 if isinstance(error, ClientDisconnect) else 500


def _is_no_json(error: RequestValidationError) -> bool:
    return any(item["type"] == "json_invalid" for item in error.errors())


def problem_of(error: ScrapewatchError) -> Response:
    """The problem that a domain error is over HTTP; one that is not in the table is not the caller's business, and a 500."""
    status, name, title = _entry(error)
    if status == 500:
        raise error
    headers = None
    if status in (429, 503):
        retry_after = getattr(error, "retry_after", None)
        headers = {
            "Retry-After": str(math.ceil(retry_after) if retry_after else random.randint(*RETRY_AFTER))
        }
    elif status == 401:
        headers = {"WWW-Authenticate": 'Bearer realm="scrapewatch"'}
    errors = None
    if isinstance(error, InvalidInput) and error.field:
        errors = [{"field": error.field, "reason": str(error)}]
    return problem(status, title, str(error), kind=name, headers=headers, errors=errors)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For ``responses=`` of routes: these statuses have a problem as their body."""
    return {
        status: {
            "description": next(
                (title for code, _, title in PROBLEMS.values() if code == status), HTTPStatus(status).phrase
            ),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def install(app: FastAPI, settings: Settings) -> None:
    """Give ``app`` the guard, the problem bodies, and an OpenAPI document that describes them.

    What is added to ``app`` as middleware before this stands behind the guard.
    """
    app.add_exception_handler(ScrapewatchError, _on_domain_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_middleware(Guard, allowed_hosts=settings.allowed_hosts, cors_origins=settings.cors_origins)
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        return app.openapi_schema if app.openapi_schema else _with_problems(generate())

    app.openapi = openapi  # type: ignore[method-assign]


Header = tuple[bytes, bytes]

Respond = Callable[[int, Sequence[Header], bytes], None]
"""Answers a request: status, headers (without the content's length) and content. Called once, on the loop's thread."""

Answer = Callable[[int, tuple[Header, ...], Sequence[Header], bytes], None]
"""The same, with the headers in two parts: those that are the same in many answers, and others."""


class AtOnce(Protocol):
    """An ASGI application that can do without a task for most of its requests."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer any request."""
        ...

    def at_once(self, scope: Scope, body: bytes, respond: Respond) -> bool:
        """Take a request that came whole, and ``respond`` now or later; False, and nothing was done: it needs a task of its own."""
        ...


class Shortcut:
    """ASGI in front of an application: requests of ``method`` to exactly one of ``paths`` go straight to ``answer``, behind a guard.

    For what is asked thousands of times a second: all middleware, the router and dependencies cost more than taking an event. ``answer``
    makes problems of domain errors itself. A server that knows of :meth:`at_once` saves the task, too.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, method: str, paths: Iterable[str], answer: AtOnce
    ) -> None:
        self._app = app
        self._method = method
        self._paths = frozenset(paths)
        self._at_once = answer.at_once
        self._answer = Guard(answer, settings.allowed_hosts, settings.cors_origins)

    def is_for(self, scope: Scope) -> bool:
        """Whether a request may be taken at once, judged by its method and target."""
        return scope["path"] in self._paths and scope["method"] == self._method and not scope["query_string"]

    def at_once(self, scope: Scope, body: bytes, answer: Answer) -> bool:
        """Take a request that came whole, for which :meth:`is_for` holds; False: call this application in a task of its own."""
        request_id = self._answer.admits(scope)
        if request_id is None:
            return False
        scope["state"]["request_id"] = request_id
        own = ((b"x-request-id", request_id.encode()),)

        def respond(status: int, headers: Sequence[Header], content: bytes) -> None:
            answer(status, _FIXED_HEADERS, (*headers, *own), content)

        try:
            return self._at_once(scope, body, respond)
        except Exception as error:
            respond(*parts_of(failure(scope, error)))
            return True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and scope["path"] in self._paths and scope["method"] == self._method:
            await self._answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)


async def _on_domain_error(_: Request, error: Exception) -> Response:
    return problem_of(cast(ScrapewatchError, error))


async def _on_http_exception(_: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    phrase = HTTPStatus(error.status_code).phrase
    detail = error.detail if isinstance(error.detail, str) and error.detail != phrase else None
    return problem(error.status_code, phrase, detail, headers=error.headers)


async def _on_invalid_request(_: Request, error: Exception) -> Response:
    error = cast(RequestValidationError, error)
    found = error.errors()
    if _is_no_json(error):
        return problem(400, "The body is not JSON", "the body could not be read as JSON", kind="not-json")
    status, kind, title = PROBLEMS[InvalidInput]
    errors = [{"field": _where(item["loc"]), "reason": str(item["msg"])} for item in found[:100]]
    return problem(status, title, f"{errors[0]['field']}: {errors[0]['reason']}", kind=kind, errors=errors)


def _where(location: Iterable[Any]) -> str:
    # A key of the caller's own may be in it: cut short, and nothing that cannot be encoded.
    path = ".".join(str(part)[:60] for part in location)
    return path[:200].encode("utf-8", "replace").decode()


def _with_problems(schema: dict[str, Any]) -> dict[str, Any]:
    """``schema`` with problem bodies where FastAPI describes its own."""
    components = schema.setdefault("components", {}).setdefault("schemas", {})
    problem_schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    components.update(problem_schema.pop("$defs", {}))
    components["Problem"] = problem_schema
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    schema["components"]["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key (`scrapewatch keys create`), or a token of `/oauth/token` or of another issuer. Until the first "
            "key is made, a request from the machine itself needs none.",
        }
    }
    invalid = problem_responses(422)[422]
    for path, operations in schema.get("paths", {}).items():
        for method, operation in operations.items():
            answers = operation.get("responses", {})
            rule = rule_of(method.upper(), path)
            if rule is not None and rule.scope is not None:
                operation["security"] = [{"bearer": [rule.scope]}]
                for status, description in problem_responses(401, 403, 429).items():
                    answers.setdefault(str(status), description)
            if "requestBody" in operation:
                for status, description in problem_responses(400, 413).items():
                    answers.setdefault(str(status), description)
            if MEDIA_TYPE not in answers.get("422", {}).get("content", {MEDIA_TYPE: None}):
                answers["422"] = invalid
    return schema


_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

# The live page's own script and style are files of this origin; nothing else runs, and nobody frames it.
_CONTENT_SECURITY_POLICY = (
    b"default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; "
    b"object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", _CONTENT_SECURITY_POLICY),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
_NO_STORE = (b"cache-control", b"no-store")
_FIXED_HEADERS: Final = (*_HEADERS, _NO_STORE)

# For pages of the origins that were named. No cookies: such a page sends a key or token of its own.
_CORS_HEADERS = (
    (b"vary", b"Origin"),
    (
        b"access-control-expose-headers",
        b"RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, RateLimit-Policy, Retry-After, X-Request-Id",
    ),
)
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Content-Encoding, Idempotency-Key, Last-Event-ID, X-Request-Id",
    "Access-Control-Max-Age": "600",
}

_PASSED_MOST = 1_000


def host_of(authority: str) -> str | None:
    """The host of ``host[:port]`` in lower case and without brackets, or None when it is not one."""
    try:
        parts = urlsplit(f"//{authority}")
        _ = parts.port
    except ValueError:
        return None
    if parts.path or parts.query or parts.fragment or "@" in parts.netloc or not parts.hostname:
        return None
    return parts.hostname.rstrip(".")


class Guard:
    """ASGI middleware in front of every request and WebSocket.

    The ``Host`` must be one of ``allowed_hosts`` (or any, with ``*`` among them), and so must the host of an ``Origin`` where there is
    one (with ``*``: the same as ``Host``), or the ``Origin`` as a whole one of ``cors_origins``: pages of those are told that they may
    read what is answered. Where the ``Origin`` is one of those or has another port than ``Host``, ``foreign`` is in the state of the
    request, for neither a cookie nor an address speaks for such a page.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Iterable[str], cors_origins: Iterable[str] = ()) -> None:
        self._app = app
        self._allowed = frozenset(host.lower().strip("[]") for host in allowed_hosts)
        self._foreign = frozenset(origin.encode() for origin in cors_origins)
        self._passed: set[tuple[bytes, bytes | None]] = set()  # pairs of Host and Origin known to be good
        # An id is unique, not secret: it names a request in the log.
        self._own_ids = map(f"{secrets.token_hex(6)}{{:06x}}".format, itertools.count())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request pass, or answer for the application."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal, request_id, foreign = self._look_at(scope)
        own_headers: tuple[Header, ...] = (*_HEADERS, (b"x-request-id", request_id.encode()))
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        if foreign is not None:
            state["foreign"] = True
            if foreign in self._foreign:
                own_headers += (b"access-control-allow-origin", foreign), *_CORS_HEADERS
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = False

        async def send_guarded(message: Message) -> None:
            nonlocal started
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                started = True
                headers = [*message.get("headers", ()), *own_headers]
                for name, _ in headers:
                    if name == b"cache-control":
                        break
                else:
                    headers.append(_NO_STORE)
                message["headers"] = headers
            elif message["type"] in ("websocket.accept", "websocket.close"):
                started = True
            await send(message)

        if refusal is None and foreign in self._foreign and scope.get("method") == "OPTIONS":
            refusal = Response(status_code=204, headers=_PREFLIGHT)
        if refusal is not None:
            await answer(refusal, scope, receive, send_guarded)
            return
        try:
            await self._app(scope, receive, send_guarded)
        except ClientDisconnect:
            return
        except Exception as error:
            failed = failure(scope, error)
            if started and scope["type"] == "http":
                raise  # the server must break the connection: half an answer is out
            await answer(failed, scope, receive, send_guarded, begun=started)

    def admits(self, scope: Scope) -> str | None:
        """The id of a request that may pass, or None: calling this application says why it may not, or what else it needs."""
        refusal, request_id, foreign = self._look_at(scope)
        return request_id if refusal is None and foreign is None else None

    def _look_at(self, scope: Scope) -> tuple[Response | None, str, bytes | None]:
        """Why a request may not pass (None: it may), its id, and its ``Origin`` where that is none of our own pages'."""
        hosts: list[bytes] = []
        origin: bytes | None = None
        given_id: str | None = None
        for name, value in scope["headers"]:
            if name == b"host":
                hosts.append(value)
            elif name == b"origin":
                origin = value
            elif name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
                given_id = value.decode()
        foreign = None
        if origin is not None and (
            origin in self._foreign or len(hosts) != 1 or _port(origin) != _port(hosts[0])
        ):
            foreign = origin
        return self._refusal(hosts, origin), given_id or next(self._own_ids), foreign

    def _refusal(self, hosts: list[bytes], origin: bytes | None) -> Response | None:
        if len(hosts) == 1 and (hosts[0], origin) in self._passed:
            return None
        refusal = self._judge(hosts, origin)
        if refusal is None and len(self._passed) < _PASSED_MOST:
            self._passed.add((hosts[0], origin))
        return refusal

    def _judge(self, hosts: list[bytes], origin: bytes | None) -> Response | None:
        host = host_of(hosts[0].decode("latin-1")) if len(hosts) == 1 else None
        if host is None:
            return problem(400, "The request names no host", "send exactly one Host header", kind="no-host")
        anyone = "*" in self._allowed
        if not anyone and host not in self._allowed:
            return problem(
                421,
                "This host is not served here",
                "add it to SCRAPEWATCH_ALLOWED_HOSTS if it is a name of this machine",
                kind="foreign-host",
            )
        if origin is None or origin in self._foreign:
            return None
        from_host = host_of(origin.decode("latin-1").partition("://")[2])
        if from_host is None or (from_host != host if anyone else from_host not in self._allowed):
            return problem(
                403,
                "Pages of this origin may not ask here",
                "add its host to SCRAPEWATCH_ALLOWED_HOSTS if it is yours, or the origin to SCRAPEWATCH_CORS_ORIGINS",
                kind="foreign-origin",
            )
        return None


def _port(authority: bytes) -> bytes:
    """The port in an ``Origin`` or ``Host``, empty where there is none: that of the scheme, which a proxy may have changed."""
    _, colon, port = authority.rpartition(b":")
    return port if colon and port.isdigit() else b""


def parts_of(response: Response) -> tuple[int, list[Header], bytes]:
    """A whole response as a :data:`Respond` takes it."""
    headers = [(name, value) for name, value in response.raw_headers if name != b"content-length"]
    return response.status_code, headers, bytes(response.body)


def failure(scope: Scope, error: BaseException) -> Response:
    """The answer to a request that failed for a reason that nobody foresaw; the log has it under the request's id."""
    request_id = scope["state"]["request_id"]
    # As text, without the values of variables that a renderer would show: they may hold credentials.
    _log.error(
        "request failed",
        path=scope["path"],
        method=scope.get("method", "WS"),
        request_id=request_id,
        exception="".join(traceback.format_exception(error)),
    )
    return problem(
        500,
        "Something went wrong here",
        "the log tells more under this request id",
        kind="internal",
        request_id=request_id,
    )


async def answer(
    response: Response, scope: Scope, receive: Receive, send: Send, *, begun: bool = False
) -> None:
    """Answer a request, or a WebSocket that was not accepted, with ``response``; a WebSocket where that cannot be said is closed."""
    if scope["type"] == "http" or (
        not begun and "websocket.http.response" in (scope.get("extensions") or {})
    ):
        await response(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1011 if response.status_code == 500 else 1008})
