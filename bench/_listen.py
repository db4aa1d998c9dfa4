"""WebSocket clients, hundreds in one process that costs the shared cores little: what they hear, and how late.

:func:`listen` starts the process, which is ready once every client has its first message; :meth:`Listening.stop` asks what was heard.
An event's latency runs from the time that it bears, which the load generator sets to when its request was due, to its arrival.
"""

from __future__ import annotations

import json
import os
import re
import resource
import select
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

_TIME: Final = re.compile(rb'"time":"([^"]+)Z"')
_TEXT, _CLOSE, _PING = 1, 8, 9


@dataclass(frozen=True)
class Room:
    """Whom to let listen: so many clients to ``path`` at ``port`` of this machine."""

    port: int
    path: str
    clients: int


@dataclass(frozen=True)
class Heard:
    """``events`` heard by all clients together, how late, how many clients lost the connection, and the listeners' own CPU (s)."""

    events: int
    p50_ms: float
    p99_ms: float
    max_ms: float
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
        self.socket.setblocking(False)

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
        self.lost = 0
        self._moments: dict[bytes, float] = {}

    def add(self, client: _Client) -> None:
        fd = client.socket.fileno()
        self.clients[fd] = client
        self.poll.register(fd, select.EPOLLIN)

    def hear(self, timeout: float | None) -> bool:
        """Take what comes within ``timeout``, and answer pings; False once standard input has something."""
        for fd, _ in self.poll.poll(timeout):
            if fd == 0:
                return False
            client = self.clients[fd]
            try:
                data = client.socket.recv(1 << 18)
                if not data:
                    raise ConnectionError
                client.data += data
                messages = client.messages()
            except BlockingIOError:
                continue
            except ConnectionError:
                self.poll.unregister(fd)
                self.lost += 1
                continue
            now = time.time()
            for message in messages:
                self.late += [now - self._moment(text) for text in _TIME.findall(message)]
        return True

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
    print("ready", flush=True)
    began = time.process_time()
    while ears.hear(None):
        pass
    late = sorted(ears.late) or [0.0]
    p50, p99, most = (round(late[min(int(len(late) * q), len(late) - 1)] * 1e3, 2) for q in (0.5, 0.99, 1))
    return Heard(len(ears.late), p50, p99, most, ears.lost, time.process_time() - began)


def main() -> None:
    """Serve one room: a line of JSON in, ``ready`` out, a line in to end, what was heard as JSON out."""
    # Without a buffer: what waits in one would not wake the poll.
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1)
    print(json.dumps(asdict(_work(Room(**json.loads(line))))), flush=True)


if __name__ == "__main__":
    main()
