"""The gate: nobody passes whose credential does not allow what they ask for.

It stands behind the guard of :mod:`scrapewatch.http`, in front of the router and of the short way of events. It finds out which route a
request means as the router will, what that needs (:data:`scrapewatch.access.ROUTES`), and who asks (:mod:`scrapewatch.credentials`). Who
passes is in the request's state as ``identity``; :func:`tenant_of` reads it there, and fails where nobody was let in. What is no route
is answered here, so that nothing runs that the table does not know.

A credential is an ``Authorization`` header; for browsers a cookie that signing in sets, or, on a WebSocket, which takes no headers there,
the subprotocol ``bearer.<key or token>``. Never a query string: those end in logs.

Until the first key is made, who asks from this machine is the local administrator. That is judged by the address of the connection;
a request that was forwarded by a proxy or comes from a page of another origin (another port is one, too) is not from here.

Needs the extra ``server``.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scrapewatch.access import Identity, Rule, rule_of
from scrapewatch.addresses import is_loopback
from scrapewatch.credentials import NEEDED, Credentials
from scrapewatch.http import AtOnce, Respond, answer, kind_of, problem, problem_of
from scrapewatch.limits import Limits, Window
from scrapewatch.problems import Forbidden, ScrapewatchError, Unauthenticated

COOKIE: Final = "scrapewatch"
"""The cookie of a browser that signed in."""

SUBPROTOCOL: Final = "scrapewatch"
"""What is spoken on a WebSocket whose client names subprotocols."""

MOST_BODY: Final = 1_000_000
"""Bytes of a body of a request that is no request of events."""

AGAIN: Final = 5.0
"""Seconds after which the credential of a WebSocket or a stream is looked at again."""

_BEARER: Final = "bearer."

_log = structlog.get_logger("scrapewatch.access")


def tenant_of(scope: Mapping[str, Any]) -> str:
    """The tenant whose data a request or WebSocket may see: it comes from the credential, never from what is asked.

    ``scope`` is its ASGI scope, or what is a mapping of it: Starlette's requests and WebSockets are.

    Raises:
        Unauthenticated: nobody was let in.
    """
    return identity_of(scope).tenant


def identity_of(scope: Mapping[str, Any]) -> Identity:
    """Who was let in with this request.

    Raises:
        Unauthenticated: nobody.
    """
    identity: Identity | None = scope.get("state", {}).get("identity")
    if identity is None:
        raise Unauthenticated(NEEDED)
    return identity


async def who_asks(scope: Mapping[str, Any]) -> Identity | None:
    """Who asks for what anybody may see; None where they show nothing that is good, or it cannot be checked now."""
    gate: Gate | None = scope.get("state", {}).get("gate")
    if gate is None:
        return None
    try:
        return await gate.identify(scope)
    except ScrapewatchError:
        return None


class Gate:
    """Who may pass, by ``credentials``.

    ``trust_network``: before the first key is made, everybody who gets here is the local administrator. ``limits`` says how often
    who may ask; None: as often as they like.
    """

    def __init__(
        self, credentials: Credentials, *, trust_network: bool = False, limits: Limits | None = None
    ) -> None:
        self.credentials = credentials
        self.limits = limits
        self.refused: Counter[str] = Counter()
        """Requests to routes that did not pass, by the last part of their problem's type."""
        self._trust_network = trust_network

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let go of what counts requests when the block ends."""
        try:
            yield
        finally:
            if self.limits is not None:
                await self.limits.close()

    async def identify(self, scope: Mapping[str, Any]) -> Identity:
        """Who asks.

        Raises:
            Unauthenticated: nobody that is known.
            StoreUnavailable: it cannot be said now.
        """
        shown = self._shown(scope)
        return self.credentials.known(shown) or await self.credentials.identify(shown)

    def _shown(self, scope: Mapping[str, Any]) -> bytes:
        """What the request shows, as :class:`Credentials` takes it.

        Raises:
            Unauthenticated: nothing, or nothing that can be taken.
        """
        shown: bytes | None = None
        cookies: bytes | None = None
        protocols: bytes | None = None
        forwarded = False
        for name, value in scope["headers"]:
            if name in _TELLING:
                if name == b"authorization":
                    if shown is not None:
                        raise Unauthenticated("show one credential")
                    shown = value
                elif name == b"cookie":
                    cookies = value if cookies is None else cookies + b"; " + value
                elif name == b"sec-websocket-protocol":
                    protocols = value if protocols is None else protocols + b"," + value
                else:
                    forwarded = True
        if shown is None:
            foreign = scope["state"].get("foreign", False)
            if protocols is not None and scope["type"] == "websocket":
                shown = _in_protocols(protocols)
            if shown is None and cookies is not None and not foreign:
                shown = _in_cookies(cookies)
            if shown is None:
                near = self._trust_network or (not forwarded and _is_here(scope.get("client")))
                if foreign or not near:
                    raise Unauthenticated(NEEDED)
                shown = b""
        elif not shown:
            raise Unauthenticated(NEEDED)
        return shown

    def admits_at_once(self, scope: MutableMapping[str, Any], rule: Rule) -> bool:
        """Let who asks pass, if it is remembered that they may; where this says no, :meth:`admit` may still let them."""
        try:
            identity = self.credentials.known(self._shown(scope))
        except Unauthenticated:
            return False
        if identity is None or not rule.allows(identity):
            return False
        scope["state"]["identity"] = identity
        return True

    async def admit(self, scope: MutableMapping[str, Any], rule: Rule) -> Identity:
        """Let who asks pass, if they may: their identity is in the state of ``scope`` then.

        Raises:
            Unauthenticated: nobody that is known.
            Forbidden: they may not.
            StoreUnavailable: it cannot be said now.
        """
        identity = await self.identify(scope)
        if not rule.allows(identity):
            if rule.scope is not None and identity.may(rule.scope):
                raise Forbidden("this tells of the whole installation, and is for those whose it is")
            raise Forbidden(f"this needs the scope {rule.scope}")
        scope["state"]["identity"] = identity
        return identity


class Gated:
    """``app`` behind a gate, all of it under one rule: the way of events.

    ``refused`` hears of those that do not pass, by the last part of their problem's type.
    """

    def __init__(
        self, app: AtOnce, gate: Gate, rule: Rule, refused: Callable[[str], None] = lambda _: None
    ) -> None:
        self._app = app
        self._gate = gate
        self._rule = rule
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request pass, or answer for the application."""
        try:
            await self._gate.admit(scope, self._rule)
        except ScrapewatchError as error:
            self._refused(kind_of(error))
            await answer(problem_of(error), scope, receive, send)
            return
        await self._app(scope, receive, send)

    def at_once(self, scope: Scope, body: bytes, respond: Respond) -> bool:
        """Let a request that came whole pass where it is remembered that it may; False: it needs a task of its own."""
        return self._gate.admits_at_once(scope, self._rule) and self._app.at_once(scope, body, respond)


class Ended(TimeoutError):
    """A stream's credential ended. For the stream it is as if the client took nothing any more."""


class GateMiddleware:
    """ASGI middleware in front of an application's router: each route under its rule.

    ``routes`` gives the routes of the application, once all are registered.
    """

    def __init__(self, app: ASGIApp, gate: Gate, routes: Callable[[], Sequence[BaseRoute]]) -> None:
        self._app = app
        self._gate = gate
        self._all_routes = routes
        self._listed: _Listed | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request pass, or answer for the application."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        listed = self._listed
        if listed is None:
            listed = self._listed = _Listed(self._all_routes())
        method = "WS" if scope["type"] == "websocket" else scope["method"]
        path: str = scope["path"]
        template = listed.template(method, path)
        if template is None:
            await self._answer_no_route(listed, path, scope, receive, send)
            return
        rule = rule_of(method, template)
        window: Window | None = None
        scope["state"]["gate"] = self._gate
        try:
            if rule is None:
                _log.error("a route has no rule in scrapewatch.access", method=method, route=template)
                raise Forbidden("nobody may ask for this: what it needs was never said")
            if rule.scope is not None:
                identity = await self._gate.admit(scope, rule)
                structlog.contextvars.bind_contextvars(who=identity.name)
                if self._gate.limits is not None and not rule.takes_events:
                    window = await self._gate.limits.of(identity, scope)
            elif self._gate.limits is not None and rule.takes_secrets:
                window = await self._gate.limits.of(None, scope)
            if window is not None and not window.open:
                raise window.refusal()
        except ScrapewatchError as error:
            if isinstance(error, Unauthenticated) and self._gate.limits is not None:
                # Who guesses is counted, too.
                window = await self._gate.limits.of(None, scope)
                if window is not None and not window.open:
                    error = window.refusal()
            self._gate.refused[kind_of(error)] += 1
            response = problem_of(error)
            if window is not None:
                response.headers.update(window.headers())
            await answer(response, scope, receive, send)
            return
        if scope["type"] == "http" and method not in ("GET", "HEAD") and not rule.takes_events:
            receive = _bounded(receive)
        if rule.scope is None:
            await self._app(scope, receive, _telling(scope, send, window))
        elif scope["type"] == "websocket":
            send = _telling(scope, send, window)
            await self._app(scope, self._while_known(scope, rule, receive, send), send)
        else:
            await self._app(scope, receive, self._to_who_is_known(scope, rule, _telling(scope, send, window)))

    def _while_known(self, scope: Scope, rule: Rule, receive: Receive, send: Send) -> Receive:
        """``receive`` of a WebSocket that ends once its credential does."""
        clock = asyncio.get_running_loop().time
        due = clock() + AGAIN

        async def receive_while_known() -> Message:
            nonlocal due
            receiving = asyncio.ensure_future(receive())
            try:
                while True:
                    await asyncio.wait((receiving,), timeout=max(due - clock(), 0))
                    if clock() >= due:
                        due = clock() + AGAIN
                        if not await self._still_known(scope, rule):
                            await send({"type": "websocket.close", "code": 1008, "reason": "sign in again"})
                            return {"type": "websocket.disconnect", "code": 1008}
                    if receiving.done():
                        return receiving.result()
            finally:
                receiving.cancel()

        return receive_while_known

    def _to_who_is_known(self, scope: Scope, rule: Rule, send: Send) -> Send:
        """``send`` of an answer that breaks off once the credential ends, however long it is."""
        clock = asyncio.get_running_loop().time
        due = clock() + AGAIN

        async def send_to_who_is_known(message: Message) -> None:
            nonlocal due
            if message.get("more_body", False) and clock() >= due:
                due = clock() + AGAIN
                if not await self._still_known(scope, rule):
                    raise Ended("the credential ended")
            await send(message)

        return send_to_who_is_known

    async def _still_known(self, scope: Scope, rule: Rule) -> bool:
        try:
            await self._gate.admit(scope, rule)
        except (Unauthenticated, Forbidden):
            return False
        except ScrapewatchError:
            pass  # it cannot be said now, and was good before
        return True

    async def _answer_no_route(
        self, listed: _Listed, path: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        methods = listed.methods(path)
        if methods and scope["type"] == "http":
            response = problem(405, headers={"Allow": ", ".join(sorted(methods))})
        elif scope["type"] == "http" and path != "/" and listed.methods(_with_or_without_slash(path)):
            await self._app(scope, receive, send)  # which redirects to that
            return
        else:
            response = problem(404)
        await answer(response, scope, receive, send)


def _bounded(receive: Receive) -> Receive:
    """``receive`` of a request whose body may have :data:`MOST_BODY` bytes, whatever it says of its length."""
    received = 0

    async def receive_bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MOST_BODY:
            raise HTTPException(413, f"a body may have {MOST_BODY:,} bytes here")
        return message

    return receive_bounded


def _telling(scope: Scope, send: Send, window: Window | None) -> Send:
    """``send`` that adds what the gate has to say to an answer."""
    offered = _offered(scope) if scope["type"] == "websocket" else ()
    if window is None and not offered:
        return send
    added = [
        (name.lower().encode(), value.encode())
        for name, value in (window.headers() if window else {}).items()
    ]

    async def send_telling(message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start" and added:
            message["headers"] = [*message.get("headers", ()), *added]
        elif kind == "websocket.accept" and SUBPROTOCOL in offered and not message.get("subprotocol"):
            # A browser that names subprotocols hangs up on who answers with none of them.
            message["subprotocol"] = SUBPROTOCOL
        await send(message)

    return send_telling


@dataclass(frozen=True, slots=True)
class _Route:
    template: str
    pattern: re.Pattern[str]
    methods: frozenset[str] | None
    """None: whatever the method."""


@dataclass(slots=True)
class _Listed:
    """The routes of an application in the order in which its router tries them."""

    routes: Sequence[BaseRoute]
    _in_order: list[_Route] = field(init=False)
    _exact: dict[tuple[str, str], str] = field(init=False)

    def __post_init__(self) -> None:
        self._in_order = [*_routes_in(self.routes)]
        self._exact = {}
        for route in self._in_order:
            if "{" not in route.template:
                for method in route.methods or ():
                    self._exact[method, route.template] = (
                        self._first(method, route.template) or route.template
                    )

    def template(self, method: str, path: str) -> str | None:
        """The template of the route that answers this; None where there is none."""
        return self._exact.get((method, path)) or self._first(method, path)

    def _first(self, method: str, path: str) -> str | None:
        for route in self._in_order:
            if (route.methods is None or method in route.methods) and route.pattern.match(path):
                return route.template
        return None

    def methods(self, path: str) -> set[str]:
        """The methods of HTTP that something answers at ``path``."""
        found: set[str] = set()
        for route in self._in_order:
            if route.pattern.match(path):
                found |= route.methods or {"GET"}
        return found - {"WS"}


def _routes_in(routes: Sequence[BaseRoute]) -> Iterable[_Route]:
    for context in iter_route_contexts(routes):
        pattern = getattr(context, "path_regex", None)
        if pattern is None or context.path_format is None:
            raise TypeError(
                f"{type(context.original_route).__name__} is no kind of route that the gate knows"
            )
        methods = context.methods
        is_websocket = methods is None and "WebSocket" in type(context.original_route).__name__
        yield _Route(
            context.path_format,
            pattern,
            frozenset({"WS"}) if is_websocket else None if methods is None else frozenset(methods),
        )


def registered(routes: Sequence[BaseRoute]) -> set[tuple[str, str]]:
    """(method, template) of every route; a method that is not said is ``*``."""
    return {(method, route.template) for route in _routes_in(routes) for method in (route.methods or {"*"})}


_X_FORWARDED: Final = (b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto")
_TELLING: Final = frozenset(
    {
        b"authorization",
        b"cookie",
        b"sec-websocket-protocol",
        b"forwarded",
        b"via",
        b"x-real-ip",
        *_X_FORWARDED,
    }
)


def _is_here(client: Sequence[Any] | None) -> bool:
    """Whether a connection is from this machine; a socket in the file system has no address."""
    return client is None or is_loopback(client[0])


def _offered(scope: Mapping[str, Any]) -> Sequence[str]:
    """The subprotocols that the client of a WebSocket names."""
    found: Sequence[str] = scope.get("subprotocols") or ()
    return found


def _in_protocols(value: bytes) -> bytes | None:
    for name in value.decode("latin-1").split(","):
        text = name.strip()
        if text.startswith(_BEARER):
            return text.removeprefix(_BEARER).encode("latin-1") or None
    return None


def _in_cookies(value: bytes) -> bytes | None:
    # By hand: other servers of the same host may have set what is no cookie by the book, after which a parser sees none.
    for part in value.split(b";"):
        name, _, text = part.strip().partition(b"=")
        if name == COOKIE.encode():
            return text or None
    return None


def _with_or_without_slash(path: str) -> str:
    return path.rstrip("/") if path.endswith("/") else f"{path}/"
