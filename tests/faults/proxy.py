"""A proxy in front of InfluxDB that misbehaves on demand, and records every write that came through."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from tests.loopback import free_port

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host", "expect"})


@dataclass(frozen=True, slots=True)
class Fault:
    """How the proxy behaves. ``status`` and ``retry_after`` (s) of an answer that it gives itself, ``seconds`` of a delay.

    With a ``tenant`` it is so for requests about that tenant's buckets alone.
    """

    name: str
    status: int = 0
    retry_after: int | None = None
    seconds: float = 0.0
    marker: bytes = b""
    tenant: str = ""

    def of(self, tenant: str) -> Fault:
        """The same for one tenant alone."""
        return replace(self, tenant=tenant)


PASS: Final = Fault("pass")
STALL: Final = Fault("stall")
"""Takes requests and never answers."""
RESET_AFTER_COMMIT: Final = Fault("reset after commit")
"""Forwards a request, swallows the answer and resets the connection."""
REFUSE: Final = Fault("refuse")
"""Takes no connections, as a server that is not running."""
UNAUTHORIZED: Final = Fault("unauthorized", 401)
NOT_FOUND: Final = Fault("not found", 404)


def busy(status: int, retry_after: int | None = None) -> Fault:
    """Every request is answered with ``status``."""
    return Fault(f"busy {status}", status, retry_after)


def slow(seconds: float) -> Fault:
    """Every request is forwarded, late."""
    return Fault("slow", seconds=seconds)


def partial(status: int, marker: str) -> Fault:
    """Lines with ``marker`` are refused as InfluxDB does: with a 400 nothing of the request is stored, with a 422 the rest is."""
    return Fault(f"partial {status}", status, marker=marker.encode())


_CODES = {
    401: ("unauthorized", "unauthorized access"),
    404: ("not found", 'bucket "fleet" not found'),
    429: ("too many requests", "too many requests"),
    503: ("unavailable", "hinted handoff queue not empty"),
}


@dataclass(slots=True)
class Write:
    """A request to ``/api/v2/write``: ``at`` and ``ended`` in seconds since 1970, ``status`` 0 where no answer was given.

    ``lines`` are digests of its lines, ``stored`` those of its lines that were forwarded to InfluxDB with success (with ``keep``).
    """

    at: float
    fault: str
    bucket: str
    lines: frozenset[bytes]
    status: int = 0
    ended: float = float("inf")
    stored: bytes = b""


@dataclass(slots=True)
class _Request:
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes


@dataclass(slots=True)
class _Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class FaultProxy:
    """Stands at :attr:`url` in front of the HTTP server at ``upstream`` until its block ends.

    With ``keep`` it remembers what each write stored, so that the state of InfluxDB at any moment can be made again.
    """

    def __init__(self, upstream: str, *, keep: bool = False) -> None:
        parts = urlsplit(upstream)
        assert parts.hostname is not None and parts.port is not None
        self.upstream = (parts.hostname, parts.port)
        self.writes: list[Write] = []
        self.keep = keep
        self._fault = PASS
        self._changed = threading.Event()
        self._lock = threading.RLock()
        self._connections: set[socket.socket] = set()
        self._server: _Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> FaultProxy:
        self._port = free_port()
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def fault(self) -> Fault:
        """How it behaves now."""
        return self._fault

    def set(self, fault: Fault) -> None:
        """Behave like that from now on; requests that stall come to an end, without an answer."""
        with self._lock:
            before, self._fault = self._fault, fault
            changed, self._changed = self._changed, threading.Event()
            changed.set()
            if fault is REFUSE and before is not REFUSE:
                self._close()
            elif before is REFUSE and fault is not REFUSE:
                self._open()

    def refused(self, since: float = 0.0) -> list[Write]:
        """The writes since then that were answered with a fault."""
        return [write for write in self.writes if write.at >= since and not 200 <= write.status < 300]

    # --- its server

    def _open(self) -> None:
        self._server = _Server(("127.0.0.1", self._port), self)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def _close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        with self._lock:
            held = list(self._connections)
        for connection in held:
            _reset(connection)

    def _holds(self, connection: socket.socket, *, held: bool) -> None:
        with self._lock:
            (self._connections.add if held else self._connections.discard)(connection)

    # --- one request

    def answer(self, request: _Request) -> _Answer | None:
        """What to answer; None: nothing, and the connection is reset."""
        with self._lock:
            fault, changed = self._fault, self._changed
        write = self._recorded(request, fault)
        found = self._answer(request, fault, changed, write)
        if write is not None:
            write.status = found.status if found is not None else 0
            write.ended = time.time()
        return found

    def _recorded(self, request: _Request, fault: Fault) -> Write | None:
        if urlsplit(request.target).path != "/api/v2/write" or not request.body:
            return None
        bucket = parse_qs(urlsplit(request.target).query)["bucket"][0]
        digests = frozenset(hashlib.blake2b(line, digest_size=8).digest() for line in _lines(request))
        write = Write(time.time(), fault.name, bucket, digests if self.keep else frozenset())
        self.writes.append(write)
        return write

    def _answer(
        self, request: _Request, fault: Fault, changed: threading.Event, write: Write | None
    ) -> _Answer | None:
        if fault.tenant and f"{fault.tenant}." not in request.target + request.body.decode(errors="replace"):
            fault = PASS
        if fault is STALL or fault is REFUSE:
            changed.wait()
            return None
        if fault.marker and write is not None:
            return self._partial(request, fault, write)
        if fault.status and not fault.marker:
            code, message = _CODES[fault.status]
            return _refusal(fault.status, code, message, fault.retry_after)
        if fault.seconds:
            changed.wait(fault.seconds)
        found = self._forward(request, write)
        return None if fault is RESET_AFTER_COMMIT else found

    def _partial(self, request: _Request, fault: Fault, write: Write) -> _Answer | None:
        lines = _lines(request)
        good = [line for line in lines if fault.marker not in line]
        if len(good) == len(lines):
            return self._forward(request, write)
        if fault.status == 400:
            return _refusal(400, "invalid", "unable to parse a line: it is refused here")
        if good:
            plain = [(name, value) for name, value in request.headers if name.lower() != "content-encoding"]
            forwarded = self._forward(
                _Request(request.method, request.target, plain, b"\n".join(good)), write
            )
            if forwarded is None or forwarded.status >= 300:
                return forwarded
        dropped = len(lines) - len(good)
        return _refusal(
            422,
            "unprocessable entity",
            f"failure writing points to database: partial write: refused here dropped={dropped}",
        )

    def _forward(self, request: _Request, write: Write | None) -> _Answer | None:
        connection = http.client.HTTPConnection(*self.upstream, timeout=60)
        try:
            headers = {name: value for name, value in request.headers if name.lower() not in _HOP_BY_HOP}
            connection.request(request.method, request.target, request.body, headers)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            return None  # it is down itself
        finally:
            connection.close()
        if write is not None and self.keep and 200 <= answer.status < 300:
            write.stored = b"\n".join(_lines(request))
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP]
        return _Answer(answer.status, kept, body)


def _lines(request: _Request) -> Sequence[bytes]:
    body = request.body
    if any(name.lower() == "content-encoding" and value == "gzip" for name, value in request.headers):
        body = gzip.decompress(body)
    return [line for line in body.split(b"\n") if line]


def _refusal(status: int, code: str, message: str, retry_after: int | None = None) -> _Answer:
    headers = [("Content-Type", "application/json; charset=utf-8"), ("X-Platform-Error-Code", code)]
    if retry_after is not None:
        headers.append(("Retry-After", str(retry_after)))
    return _Answer(status, headers, json.dumps({"code": code, "message": message}).encode())


def _reset(connection: socket.socket) -> None:
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)  # wakes the thread that reads from it, which closes it
    except OSError:
        pass


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], proxy: FaultProxy) -> None:
        self.proxy = proxy
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks off is what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def handle(self) -> None:
        self.server.proxy._holds(self.connection, held=True)
        try:
            super().handle()
        except OSError:
            pass
        finally:
            self.server.proxy._holds(self.connection, held=False)

    def serve(self) -> None:
        request = _Request(self.command, self.path, self.headers.items(), self._body())
        answer = self.server.proxy.answer(request)
        if answer is None:
            _reset(self.connection)
            self.close_connection = True
            # Closed here and now: with no time to linger this resets it.
            self.connection.close()
            return
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = serve  # noqa: N815 - the names of its base

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def log_message(self, *_: Any) -> None:
        """Nothing: the writes are recorded."""
