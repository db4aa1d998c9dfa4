"""The load generator: prepared requests over raw sockets, in a process of its own that costs the shared cores as little as can be.

:func:`prepare` starts the process, which builds all requests before it says that it is ready; :meth:`Load.run` lets it send them.
Closed loop: each connection sends its next request once the last is answered. Open loop (``rate``): requests are due at fixed times
whatever became of those before, and an ack is timed from when its request was due, so that a stall shows in all that it held up.
"""

from __future__ import annotations

import gc
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench import _events

_READ: Final = 65_536

PATIENCE: Final = 60.0
"""Seconds without any answer after which those that are missing count as failed."""


@dataclass(frozen=True)
class Plan:
    """What to send: ``events`` in requests of ``batch`` over ``sessions``, to ``path`` at ``port`` of this machine.

    The events' times begin at ``start`` (µs since 1970; None: now) and are spread over ``spread`` seconds. With a ``rate``, requests a
    second, the loop is open, and they are the times at which their request is due.
    """

    port: int
    path: str
    events: int
    batch: int
    sessions: int
    connections: int
    form: str = "json"
    start: int | None = None
    spread: float = 4.0
    rate: float | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What came of it. ``began`` (first request) and ``ended`` (last ack) by the monotonic clock, which all processes share.

    ``statuses``: status → answers; 0 for a connection that broke, or an answer that never came. ``cpu``: seconds that the generator
    itself took.
    """

    began: float
    ended: float
    statuses: dict[str, int]
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu: float

    @property
    def failures(self) -> dict[str, int]:
        """What was answered with anything but 2xx, or not at all."""
        return {status: n for status, n in self.statuses.items() if not status.startswith("2")}


class Load:
    """A generator that waits with its requests ready."""

    def __init__(self, plan: Plan) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench._load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[1],
            text=True,
        )
        self._say(json.dumps(asdict(plan)))
        if self._hear() != "ready":
            raise RuntimeError("the load generator did not start")

    def start(self) -> None:
        """Begin to send."""
        self._say("go")

    def wait(self) -> Outcome:
        """Wait until all is answered."""
        outcome = Outcome(**json.loads(self._hear()))
        self._process.communicate()
        return outcome

    def run(self) -> Outcome:
        """Send all, and wait until all is answered."""
        self.start()
        return self.wait()

    def stop(self) -> None:
        """End it, whatever it had still to send; what came of the rest is not told."""
        self._process.terminate()
        self._process.communicate()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def prepare(plan: Plan) -> Load:
    """A generator whose requests are built."""
    return Load(plan)


# --- in the process of its own


def _head(plan: Plan, length: int) -> bytes:
    content_type = "application/json" if plan.form == "json" else "text/plain"
    lines = [f"POST {plan.path} HTTP/1.1", f"Host: 127.0.0.1:{plan.port}", f"Content-Type: {content_type}"]
    lines += [f"{name}: {value}" for name, value in plan.headers.items()]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


def _prepared(plan: Plan) -> list[bytes]:
    start = time.time_ns() // 1000 if plan.start is None else plan.start
    events = _events.make(plan.events, plan.sessions, start=start, spread=plan.spread)
    bodies = _events.json_bodies if plan.form == "json" else _events.line_bodies
    return [_head(plan, len(body)) + body for body in bodies(events, plan.batch)]


def _stamped(plan: Plan, shapes: list[bytes], start: float) -> Iterator[bytes]:
    """Requests of an open loop, each made when it is due; ``start`` in seconds since 1970."""
    assert plan.rate is not None
    for k in range(plan.events // plan.batch):
        due = datetime.fromtimestamp(start + k / plan.rate, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
        yield shapes[k % len(shapes)].replace(_events.STAMP, due)


class _Connection:
    __slots__ = ("answer", "fd", "rest", "since", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # So that a request of 1,000 events goes in one call.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
        self.socket.setblocking(False)
        self.fd = self.socket.fileno()
        self.rest = b""
        self.answer = b""
        self.since = 0.0


class _Run:
    """All that is on its way, and what came of what is not."""

    def __init__(self, plan: Plan) -> None:
        self.poll = select.epoll()
        self.connections = [_Connection(plan.port) for _ in range(plan.connections)]
        self.by_fd = {connection.fd: connection for connection in self.connections}
        for fd in self.by_fd:
            self.poll.register(fd, select.EPOLLIN)
        self.statuses: Counter[bytes] = Counter()
        self.acks: list[float] = []
        self.failed = 0
        self.moved = True

    def send(self, connection: _Connection, request: bytes, since: float) -> None:
        connection.since = since
        try:
            sent = connection.socket.send(request)
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = len(request)  # the answer that does not come will tell
        if sent < len(request):
            connection.rest = request[sent:]
            self.poll.modify(connection.fd, select.EPOLLIN | select.EPOLLOUT)

    def _send_rest(self, connection: _Connection) -> None:
        try:
            sent = connection.socket.send(connection.rest)
        except BlockingIOError:
            return
        except OSError:
            sent = len(connection.rest)
        connection.rest = connection.rest[sent:]
        if not connection.rest:
            self.poll.modify(connection.fd, select.EPOLLIN)

    def answered(self, timeout: float | None) -> list[_Connection]:
        """Wait up to ``timeout`` for something to happen; the connections that have their answer."""
        done = []
        ready = self.poll.poll(timeout)
        self.moved = bool(ready)
        for fd, what in ready:
            connection = self.by_fd[fd]
            if what & select.EPOLLOUT:
                self._send_rest(connection)
                if not what & select.EPOLLIN:
                    continue
            try:
                data = connection.socket.recv(_READ)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                self.broken(connection)
                continue
            if connection.answer:
                data = connection.answer + data
            if _is_whole(data):
                connection.answer = b""
                self.acks.append(time.monotonic() - connection.since)
                self.statuses[data[9:12]] += 1
                done.append(connection)
            else:
                connection.answer = data
        return done

    def broken(self, connection: _Connection) -> None:
        """Count the request of ``connection`` as failed, and use it no more."""
        self.failed += 1
        self.statuses[b"0"] += 1
        self.poll.unregister(connection.fd)
        del self.by_fd[connection.fd]
        connection.socket.close()


def _is_whole(data: bytes) -> bool:
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    if data[9:12] == b"204":
        return True
    head = data[:end].lower()
    at = head.find(b"\r\ncontent-length:")
    if at < 0:  # chunked, as no path answers for long
        return data.endswith(b"0\r\n\r\n") or b"transfer-encoding: chunked" not in head
    stop = head.find(b"\r\n", at + 2)
    return len(data) - end - 4 >= int(head[at + 17 : stop if stop > 0 else None])


def _closed(run: _Run, requests: list[bytes]) -> None:
    requests.reverse()
    take, clock, send, acks = requests.pop, time.monotonic, run.send, run.acks
    sent = min(len(requests), len(run.connections))
    for connection in run.connections[:sent]:
        send(connection, take(), clock())
    while len(acks) + run.failed < sent:
        done = run.answered(PATIENCE)
        if not done and not run.moved:
            return
        for connection in done:
            if requests:
                send(connection, take(), clock())
                sent += 1


def _open(run: _Run, requests: Iterator[bytes], rate: float, began: float) -> None:
    idle = deque(run.connections)
    due = began
    waiting: deque[tuple[bytes, float]] = deque()
    request = next(requests, None)
    sent = 0
    while request is not None or waiting or len(idle) < len(run.by_fd):
        now = time.monotonic()
        while request is not None and due <= now:
            waiting.append((request, due))
            sent += 1
            due, request = began + sent / rate, next(requests, None)
        while waiting and idle:
            connection = idle.popleft()
            if connection.fd in run.by_fd:
                run.send(connection, *waiting.popleft())
        if not run.by_fd:
            run.statuses[b"0"] += len(waiting)
            return
        # select waits for microseconds, epoll for whole milliseconds: these would be added to each ack.
        pause = PATIENCE if request is None else max(due - time.monotonic(), 0.0)
        if select.select([run.poll.fileno()], [], [], pause)[0]:
            idle.extend(run.answered(0))
        elif request is None:
            return


def _work(plan: Plan) -> Outcome:
    run = _Run(plan)
    requests = [] if plan.rate else _prepared(plan)
    shapes = []
    if plan.rate:
        bodies = _events.templates(plan.batch, plan.sessions, max(plan.sessions // plan.batch, 1) * 6)
        shapes = [_head(plan, len(body)) + body for body in bodies]
    expected = plan.events // plan.batch
    gc.collect()
    gc.disable()
    print("ready", flush=True)
    sys.stdin.readline()
    used = time.process_time()
    began = time.monotonic()
    if plan.rate:
        _open(run, _stamped(plan, shapes, time.time()), plan.rate, began)
    else:
        _closed(run, requests)
    ended, used = time.monotonic(), time.process_time() - used
    lost = expected - sum(run.statuses.values())
    if lost > 0:
        run.statuses[b"0"] += lost
    acks = sorted(run.acks) or [0.0]
    return Outcome(
        began=began,
        ended=ended,
        statuses={status.decode(): n for status, n in run.statuses.items()},
        p50_ms=round(acks[len(acks) // 2] * 1e3, 3),
        p99_ms=round(acks[min(len(acks) * 99 // 100, len(acks) - 1)] * 1e3, 3),
        max_ms=round(acks[-1] * 1e3, 3),
        cpu=used,
    )


def main() -> None:
    """Serve one plan: a line of JSON in, ``ready`` out, a line in to begin, the outcome as JSON out."""
    outcome = _work(Plan(**json.loads(sys.stdin.readline())))
    print(json.dumps(asdict(outcome)), flush=True)
    os._exit(0)  # the requests need no tidying up


if __name__ == "__main__":
    main()
