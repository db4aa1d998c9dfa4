"""WebSocket clients, hundreds in one process that costs the shared cores little: what they hear, and how late.

:func:`listen` starts the process, which is ready once every client has its first message; :meth:`Listening.stop` asks what was heard.
An event's latency runs from the time that it bears, which the load generator sets to when its request was due, to when its client
has read it. One process reads for all clients, one after another, on the processors that the server runs on: what it is late by itself is
told by a second figure, which runs to the moment that the kernel noted when the bytes came to the client's socket.
"""

from __future__ import annotations

import gc
import json
import os
import re
import resource
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

_TIME: Final = re.compile(rb'"time":"([^"]+)Z"')
_TEXT, _CLOSE, _PING = 1, 8, 9
_SO_TIMESTAMPNS: Final = 35  # of Linux; the socket module has no name for it
_BUFFER: Final = memoryview(bytearray(65_536))
_ARRIVED: Final = struct.Struct("@ll")  # seconds and nanoseconds since 1970


@dataclass(frozen=True)
class Room:
    """Whom to let listen: so many clients to ``path`` at ``port`` of this machine."""

    port: int
    path: str
    clients: int


@dataclass(frozen=True)
class Heard:
    """``events`` heard by all clients together, how late, how many clients lost the connection, and the listeners' own CPU (s).

    ``p50_ms``, ``p99_ms`` and ``max_ms`` run until the client had read it, ``socket_p50_ms`` and ``socket_p99_ms`` until it came to the
    client's socket.
    """

    events: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    socket_p50_ms: float
    socket_p99_ms: float
    lost: int
    cpu: float


class Listening:
    """Clients that listen."""

    def __init__(self, room: Room) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench._listen"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[1],
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(room)) + "\n")
        self._process.stdin.flush()
        if self._process.stdout.readline().strip() != "ready":
            raise RuntimeError("not every client got its first message")

    def stop(self) -> Heard:
        """End, and say what was heard."""
        said, _ = self._process.communicate("stop\n")
        return Heard(**json.loads(said))


def listen(room: Room) -> Listening:
    """Clients that have their first message."""
    return Listening(room)


# --- in the process of its own


class _Client:
    def __init__(self, room: Room) -> None:
        self.socket = socket.create_connection(("127.0.0.1", room.port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(
            f"GET {room.path} HTTP/1.1\r\nHost: 127.0.0.1:{room.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2NyYXBld2F0Y2hiZW5jaA==\r\n\r\n".encode()
        )
        self.data = b""
        while (end := self.data.find(b"\r\n\r\n")) < 0:
            self.data += self._receive()
        if not self.data.startswith(b"HTTP/1.1 101"):
            raise RuntimeError(f"no WebSocket: {self.data[:end].decode()}")
        self.data = self.data[end + 4 :]
        while not self.messages():
            self.data += self._receive()
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.socket.setblocking(False)

    def arrived(self) -> tuple[bytes, float]:
        """What came, and when the last of it did, in seconds since 1970.

        Raises:
            BlockingIOError: nothing came.
            ConnectionError: nothing comes any more.
        """
        size, about, _, _ = self.socket.recvmsg_into([_BUFFER], 64)
        if not size:
            raise ConnectionError
        for level, kind, value in about:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, ns = _ARRIVED.unpack(value)
                return bytes(_BUFFER[:size]), float(seconds + ns / 1e9)
        return bytes(_BUFFER[:size]), time.time()

    def _receive(self) -> bytes:
        data = self.socket.recv(1 << 20)
        if not data:
            raise RuntimeError("the server closed a WebSocket before its first message")
        return data

    def messages(self) -> list[bytes]:
        """The whole messages in what has come, as RFC 6455 frames them; pings are answered, and a close raises ConnectionError."""
        found = []
        data, at = self.data, 0
        while len(data) >= at + 2:
            kind, length, start = data[at] & 15, data[at + 1], at + 2
            if length > 125:
                start += 2 if length == 126 else 8
                length = int.from_bytes(data[at + 2 : start])
                if len(data) < start:
                    break
            if len(data) < start + length:
                break
            at = start + length
            if kind == _TEXT:
                found.append(data[start:at])
            elif kind == _PING:
                self.socket.send(bytes([0x8A, 0x80 | length, 0, 0, 0, 0]) + data[start:at])
            elif kind == _CLOSE:
                raise ConnectionError
        self.data = data[at:]
        return found


class _Ears:
    """All clients, and what they heard."""

    def __init__(self) -> None:
        self.poll = select.epoll()
        self.clients: dict[int, _Client] = {}
        self.late: list[float] = []
        self.socket_late: list[float] = []
        self._lost: set[int] = set()
        self._came: list[tuple[int, bytes, float, float]] = []
        self._moments: dict[bytes, float] = {}

    def add(self, client: _Client) -> None:
        fd = client.socket.fileno()
        self.clients[fd] = client
        self.poll.register(fd, select.EPOLLIN)

    def hear(self, timeout: float | None) -> bool:
        """Take what comes within ``timeout``; False once standard input has something.

        What came is only looked at once nothing else waits to be read, so that no client is late for the sake of another.
        """
        ready = self.poll.poll(0 if self._came else timeout)
        if not ready:
            self._look()
        for fd, _ in ready:
            if fd == 0:
                self._look()
                return False
            client = self.clients[fd]
            try:
                data, arrived = client.arrived()
            except BlockingIOError:
                continue
            except ConnectionError:
                self._lose(fd)
                continue
            self._came.append((fd, data, time.time(), arrived))
        return True

    def _look(self) -> None:
        """Find the events in what came, and answer pings."""
        for fd, data, now, arrived in self._came:
            client = self.clients[fd]
            client.data += data
            try:
                messages = client.messages()
            except ConnectionError:
                self._lose(fd)
                continue
            for message in messages:
                for text in _TIME.findall(message):
                    moment = self._moment(text)
                    self.late.append(now - moment)
                    self.socket_late.append(arrived - moment)
        self._came.clear()

    def _lose(self, fd: int) -> None:
        if fd in self._lost:
            return
        self._lost.add(fd)
        self.poll.unregister(fd)

    @property
    def lost(self) -> int:
        """Clients that lost their connection."""
        return len(self._lost)

    def _moment(self, text: bytes) -> float:
        moment = self._moments.get(text)
        if moment is None:
            moment = self._moments[text] = datetime.fromisoformat(f"{text.decode()}+00:00").timestamp()
        return moment


def _work(room: Room) -> Heard:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ears = _Ears()
    for _ in range(room.clients):
        ears.add(_Client(room))
        ears.hear(0)  # those that are connected must answer pings meanwhile
    ears.poll.register(0, select.EPOLLIN)
    ears.late.clear()
    ears.socket_late.clear()
    gc.collect()
    gc.disable()
    print("ready", flush=True)
    began = time.process_time()
    while ears.hear(None):
        pass
    cpu = time.process_time() - began
    p50, p99, most = _quantiles(ears.late, 0.5, 0.99, 1)
    socket_p50, socket_p99 = _quantiles(ears.socket_late, 0.5, 0.99)
    return Heard(len(ears.late), p50, p99, most, socket_p50, socket_p99, ears.lost, cpu)


def _quantiles(late: Sequence[float], *wanted: float) -> list[float]:
    """The ``wanted`` quantiles (0–1) of ``late`` in milliseconds; zeros where nothing was heard."""
    ordered = sorted(late) or [0.0]
    return [round(ordered[min(int(len(ordered) * q), len(ordered) - 1)] * 1e3, 2) for q in wanted]


def main() -> None:
    """Serve one room: a line of JSON in, ``ready`` out, a line in to end, what was heard as JSON out."""
    # Without a buffer: what waits in one would not wake the poll.
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1)
    print(json.dumps(asdict(_work(Room(**json.loads(line))))), flush=True)


if __name__ == "__main__":
    main()
