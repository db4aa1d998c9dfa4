"""One HTTP/1.1 connection: uvicorn's way of it, with limits on what a client may take, and at half the price a request.

For uvicorn's setting ``http``. What uvicorn leaves to a proxy in front is done here: a client that sends its head or its body too slowly,
sends a head without end, or does not read its answer is let go of. Time is counted in ticks of the event loop, and only while it is the
client's turn: neither a busy server nor a request that waits for admission runs out of it.

The price matters because a single event's way is short: uvicorn spends 33 µs on a request, most of it on timers, on checking the same
headers again and on small objects; this one 15.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
import orjson
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from scrapewatch.http import Header, Shortcut

TICK: Final = 1.0
"""Seconds between looks at a connection."""

HEAD_TICKS: Final = 8
"""Ticks until a request's head must be there, from its first byte; and until the first byte of a new connection."""

BODY_TICKS: Final = 8
"""Ticks that may be spent waiting for a body, and one more for each :data:`SLOWEST` bytes of it that came."""

SLOWEST: Final = 100_000

ANSWER_TICKS: Final = 20
"""Ticks in which a client takes nothing of its answer until it is let go of."""

HEAD_BYTES: Final = 65_536
"""Bytes of a head beyond which the rest is not waited for."""

_HEADS_KNOWN: Final = 1_000
_LONGEST_KNOWN: Final = 2_048

_BUFFER: Final = (
    65_536  # bytes of a body that nobody asked for yet; then the system's buffers and the client wait
)


class Connection(HttpToolsProtocol):
    """A connection and the requests that come over it, one answered after another."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._at_once = self.app if isinstance(self.app, Shortcut) else None
        self._answering: Exchange | None = None
        self._arriving: Exchange | None = None
        self._held: Exchange | None = None  # may be taken at once, if its body comes with its head
        self._taken: Exchange | None = None  # was taken at once, of what came last
        self._queued: deque[Exchange] = deque()
        self._in_head = False
        self._in_body = False
        self._head_bytes = 0
        self._idle_ticks: float = HEAD_TICKS
        self._waited = 0
        self._unread = 0
        self._ticker: asyncio.TimerHandle | None = None

    # --- what the transport tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to count."""
        super().connection_made(transport)
        self._ticker = self.loop.call_later(TICK, self._tick)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the application that nobody listens any more."""
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        for exchange in (self._answering, self._arriving):
            if exchange is not None:
                exchange.disconnect()
        self._queued.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._at_once is not None and self._is_known(data):
            return
        self._taken = None
        begins_here = not (self._in_head or self._in_body)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
            else:
                self._unsupported_upgrade_warning()
            return
        except httptools.HttpParserError:
            self._let_go()
            self._refuse(400, "this is no HTTP request")
            return
        self._let_go()
        taken = cast("Exchange | None", self._taken)  # the parser's calls have set it
        if taken is not None and begins_here:
            self._remember(data, taken)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(431, "the head of the request is too large")

    def handle_websocket_upgrade(self) -> None:
        """Leave the connection to the WebSocket's protocol."""
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        super().handle_websocket_upgrade()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: a collector alone serves no WebSockets, and answers who asks for one as any other request."""

    def shutdown(self) -> None:
        """End it, after the answer under way if there is one that has an end."""
        if self._answering is None or self._answering.response_complete:
            self.transport.close()
        elif self._answering.endless:
            self._answering.disconnect()
            self.transport.close()
        else:
            self._answering.keep_alive = False

    def break_off(self) -> None:
        """End a request that is answered without a task, which the server would cancel."""
        exchange = self._answering
        if exchange is not None and exchange.task is None and not exchange.response_complete:
            exchange.give_up()

    # --- what the parser tells

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0
        self._waited = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; what trails a body is passed over."""
        if self._in_head:
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Hand the request to the application."""
        self._in_head = False
        self._in_body = True
        self._waited = 0
        self._arriving = None
        parser = self.parser
        scope = self.scope
        scope["method"] = parser.get_method().decode("ascii")
        if parser.should_upgrade() and self._should_upgrade():
            return
        version = parser.get_http_version()
        if version != "1.1":
            scope["http_version"] = version
        path, raw_path, query = _target(self.url) if len(self.url) < 256 else _target.__wrapped__(self.url)
        scope["path"] = self.root_path + path
        scope["raw_path"] = self.root_path.encode() + raw_path
        scope["query_string"] = query
        exchange = Exchange(
            self, cast("dict[str, Any]", scope), parser.should_keep_alive() and version != "1.0"
        )
        exchange.continue_awaited = self.expect_100_continue
        self._arriving = exchange
        if self._answering is None or self._answering.response_complete:
            shortcut = self._at_once
            if (
                shortcut is not None
                and shortcut.is_for(exchange.scope)
                and not (self.expect_100_continue or self.flow.write_paused)
            ):
                self._answering = self._held = exchange
            else:
                self._answer(exchange)
        else:
            self.flow.pause_reading()
            self._queued.append(exchange)

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body until the application asks for it."""
        exchange = self._arriving
        if exchange is not None and not exchange.response_complete and exchange.add(body) > _BUFFER:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._in_body = False
        exchange = self._arriving
        if exchange is not None:
            exchange.end_body()
            if exchange is self._held:
                self._held = None
                if exchange.at_once(cast("Shortcut", self._at_once)):
                    self._taken = exchange
                else:
                    self._answer(exchange)

    def _is_known(self, data: bytes) -> bool:
        """Take a request at once whose head was parsed before, to the letter; False: parse what came.

        Who sends one event after another sends the same few heads, and parsing them costs as much as reading the event.
        """
        if self._in_head or self._in_body or self.flow.write_paused:
            return False
        end = data.find(b"\r\n\r\n", 0, _LONGEST_KNOWN) + 4
        known = _heads.get(data[:end])
        if (
            known is None
            or len(data) != end + known[1]
            or not (self._answering is None or self._answering.response_complete)
        ):
            return False
        self._waited = 0
        exchange = Exchange(self, {**known[0], "client": self.client, "state": {}}, keep_alive=True)
        exchange.add(data[end:])
        exchange.end_body()
        self._answering = self._arriving = exchange
        if not exchange.at_once(cast("Shortcut", self._at_once)):
            self._answer(exchange)
        return True

    def _remember(self, data: bytes, exchange: Exchange) -> None:
        """Know the head of ``exchange`` again, where ``data`` is that request and nothing else, with a length and kept alive."""
        head, size = len(data) - exchange.received, exchange.received
        scope = exchange.scope
        if (
            head <= _LONGEST_KNOWN
            and exchange.keep_alive
            and (b"content-length", b"%d" % size) in scope["headers"]
            and data.find(b"\r\n\r\n") == head - 4
        ):
            if len(_heads) >= _HEADS_KNOWN:
                _heads.clear()
            _heads[data[:head]] = scope, size

    # --- answering

    def _let_go(self) -> None:
        """Let a request that did not come whole be answered in the usual way."""
        if self._held is not None:
            exchange, self._held = self._held, None
            self._answer(exchange)

    def _answer(self, exchange: Exchange) -> None:
        self._answering = exchange
        exchange.task = self.loop.create_task(exchange.run(cast("Any", self.app)))
        self.tasks.add(exchange.task)

    def answered(self) -> None:
        """Go on after an answer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._waited = 0
        self._idle_ticks = self.timeout_keep_alive / TICK
        self.flow.resume_reading()
        if self._queued:
            self._answer(self._queued.popleft())

    def _refuse(self, status: int, detail: str) -> None:
        """Say why the connection ends, where nothing else is being said, and end it."""
        exchange = self._answering
        if exchange is not None and not exchange.response_complete:
            if not (self._in_body and exchange is self._arriving):
                # That request is whole: it gets its answer.
                exchange.keep_alive = False
                self.flow.pause_reading()
                return
            exchange.disconnect()
        if exchange is None or exchange.response_complete or not exchange.response_started:
            self.transport.write(_last_words(status, detail))
        self.transport.close()

    # --- the clock

    def _tick(self) -> None:
        self._ticker = self.loop.call_later(TICK, self._tick)
        if self.transport.is_closing() or self.flow.write_paused:
            self._unread += 1
            if self._unread > ANSWER_TICKS:
                self.transport.abort()
            return
        self._unread = 0
        arriving = self._arriving
        if self._in_head:
            if not self.flow.read_paused:
                self._waited += 1
                if self._waited > HEAD_TICKS:
                    self._refuse(408, "the head of the request came too slowly")
        elif self._in_body:
            if arriving is not None and (arriving.awaited or arriving.response_complete):
                self._waited += 1
                if self._waited > BODY_TICKS + arriving.received // SLOWEST:
                    if arriving.response_complete:
                        self.transport.close()
                    else:
                        self._refuse(408, "the body came too slowly")
        elif self._answering is None or self._answering.response_complete:
            self._waited += 1
            if self._waited > self._idle_ticks:
                self.transport.close()


_heads: Final[dict[bytes, tuple[dict[str, Any], int]]] = {}
"""Heads of requests that were taken at once → their scope, and the length of their body."""


class Exchange:
    """One request and its answer, as the application sees them."""

    __slots__ = (
        "_bodiless",
        "_chunked",
        "_connection",
        "_event",
        "_handed_over",
        "_head",
        "_left",
        "_more_body",
        "_parts",
        "awaited",
        "continue_awaited",
        "disconnected",
        "endless",
        "keep_alive",
        "received",
        "response_complete",
        "response_started",
        "scope",
        "task",
    )

    def __init__(self, connection: Connection, scope: dict[str, Any], keep_alive: bool) -> None:
        self._connection = connection
        self.scope = scope
        self.keep_alive = keep_alive
        self.continue_awaited = False
        self.disconnected = False
        self.endless = False  # the answer has events for as long as the client listens
        self.awaited = False  # the application waits for more of the body
        self.received = 0
        self.response_started = False
        self.response_complete = False
        self.task: asyncio.Task[None] | None = None
        self._parts: list[bytes] = []
        self._more_body = True
        self._handed_over = False
        self._event: asyncio.Event | None = None
        self._head = b""
        self._left: int | None = None
        self._chunked = False
        self._bodiless = False

    # --- the body that comes

    def add(self, part: bytes) -> int:
        """Keep ``part`` of the body; how many bytes wait now."""
        self._parts.append(part)
        self.received += len(part)
        self._wake()
        return len(part) if len(self._parts) == 1 else sum(map(len, self._parts))

    def end_body(self) -> None:
        """The body is whole."""
        self._more_body = False
        self._wake()

    def disconnect(self) -> None:
        """Nobody waits for the answer any more."""
        self.disconnected = True
        self._wake()

    def _wake(self) -> None:
        if self._event is not None:
            self._event.set()

    async def receive(self) -> dict[str, Any]:
        """What the application is told next."""
        if self.continue_awaited:
            self.continue_awaited = False
            if not self._connection.transport.is_closing():
                self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while True:
            if self.disconnected or self.response_complete:
                return {"type": "http.disconnect"}
            if self._parts or not (self._more_body or self._handed_over):
                break
            if self._event is None:
                self._event = asyncio.Event()
            self._event.clear()
            self._connection.flow.resume_reading()
            self.awaited = True
            try:
                await self._event.wait()
            finally:
                self.awaited = False
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._handed_over = not self._more_body
        return {"type": "http.request", "body": body, "more_body": self._more_body}

    # --- the answer that goes

    def at_once(self, app: Shortcut) -> bool:
        """Let ``app`` answer a request that is whole without a task of its own; False: it cannot, and :meth:`run` must."""
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        if app.at_once(self.scope, body, self.answer):
            parts.clear()
            self._handed_over = True
            return True
        return False

    def answer(
        self, status: int, fixed: tuple[Header, ...], headers: Sequence[Header], content: bytes
    ) -> None:
        """Send a whole answer; ``fixed`` headers are those that come again and again together."""
        connection = self._connection
        if self.disconnected or self.response_complete:
            return
        head = [STATUS_LINE[status], _lines(fixed)]
        for name, value in connection.server_state.default_headers:
            head.append(_line(name, value))
        for name, value in headers:
            head.append(_line(name, value) if name in _ALIKE else _checked_line(name, value))
        head.append(b"content-length: %d\r\n" % len(content))
        head.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        head.append(content)
        connection.transport.write(b"".join(head))
        self.response_started = self.response_complete = True
        if not self.keep_alive:
            connection.transport.close()
        connection.answered()

    async def run(self, app: Any) -> None:
        """Let ``app`` answer."""
        try:
            await app(self.scope, self.receive, self.send)
            if not self.response_complete and not self.disconnected:
                self._connection.logger.error("the application ended without an answer")
        except asyncio.CancelledError:
            self.give_up()
        except BaseException as error:
            self._connection.logger.error("Exception in ASGI application\n", exc_info=error)
        finally:
            if not self.response_complete:
                self._say_last(500, "something went wrong here")
            self._connection.tasks.discard(cast("asyncio.Task[None]", self.task))

    def give_up(self) -> None:
        """Say that the server stops, where nothing was said yet."""
        self._say_last(503, "the server stops; send it again later")

    def _say_last(self, status: int, detail: str) -> None:
        if not self.response_started and not self.disconnected:
            self._connection.transport.write(_last_words(status, detail))
        self.response_started = self.response_complete = True
        self._connection.transport.close()

    async def send(self, message: dict[str, Any]) -> None:
        """Send what the application answers.

        Raises:
            RuntimeError: it is not the message that must come next, or has a header or length that would break the connection.
        """
        if self._connection.flow.write_paused and not self.disconnected:
            await self._connection.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.start" and not self.response_started:
            self._start(message["status"], message.get("headers", ()))
        elif kind == "http.response.body" and self.response_started and not self.response_complete:
            self._go_on(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"{kind} must not come now")

    def _start(self, status: int, headers: Any) -> None:
        lines = [STATUS_LINE[status]]
        for name, value in (*self._connection.server_state.default_headers, *headers):
            if name == b"content-length":
                self._left = int(value)
            elif name == b"content-type" and value.startswith(b"text/event-stream"):
                self.endless = True
            elif name == b"connection" and b"close" in value.lower():
                self.keep_alive = False
                continue
            elif name == b"transfer-encoding":
                continue  # how it is sent is decided here
            lines.append(_line(name, value))
        self._bodiless = self.scope["method"] == "HEAD" or status in (204, 304) or status < 200
        if self._left is None and not self._bodiless:
            if self.scope["http_version"] == "1.1":
                self._chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
            else:
                self.keep_alive = False  # the end of the connection is the end of the body
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        self._head = b"".join(lines)
        self.response_started = True
        self.continue_awaited = False
        if self._left is None and not self._bodiless:
            # A stream may have nothing to say for long; what has a length goes out with its first part.
            self._connection.transport.write(self._head)
            self._head = b""

    def _go_on(self, body: bytes, more: bool) -> None:
        if self._bodiless:
            body = b""
        elif self._chunked:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                body += b"0\r\n\r\n"
        elif self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the body of the answer is not as long as its Content-Length")
        transport = self._connection.transport
        if self._head:
            if len(body) > _BUFFER:
                transport.write(self._head)
            else:
                body = self._head + body
            self._head = b""
        if body:
            transport.write(body)
        if not more:
            self.response_complete = True
            self._wake()
            if not self.keep_alive:
                transport.close()
            self._connection.answered()


@lru_cache(1024)
def _target(url: bytes) -> tuple[str, bytes, bytes]:
    """Path, path as sent, and query of a request's target."""
    parsed = httptools.parse_url(url)
    raw_path = parsed.path
    path = raw_path.decode("ascii")
    return unquote(path) if "%" in path else path, raw_path, parsed.query or b""


# RFC 9110, 5.6.2 (token) and 5.5 (field values): what could end a line would let a value forge headers.
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")


_ALIKE: Final = frozenset({b"content-type"})
"""Headers that have few values: their lines are worth remembering."""


@lru_cache(64)
def _lines(headers: tuple[Header, ...]) -> bytes:
    return b"".join(_checked_line(name, value) for name, value in headers)


def _checked_line(name: bytes, value: bytes) -> bytes:
    """A line of a head.

    Raises:
        RuntimeError: it could forge another.
    """
    if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
        raise RuntimeError("a header of the answer has characters that it must not have")
    return name.lower() + b": " + value + b"\r\n"


_line = lru_cache(1024)(_checked_line)  # nearly all of them are the same in every answer


def _last_words(status: int, detail: str) -> bytes:
    """A whole answer, after which the connection ends."""
    status_line = STATUS_LINE[status]
    title = status_line.split(b" ", 2)[2].strip().decode()
    body = orjson.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail})
    retry = b"retry-after: 5\r\n" if status == 503 else b""
    return (
        b"%bcontent-type: application/problem+json\r\ncontent-length: %d\r\n%bconnection: close\r\n\r\n%b"
        % (status_line, len(body), retry, body)
    )
