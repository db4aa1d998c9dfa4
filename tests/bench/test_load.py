"""The load generator says what happened: otherwise no figure made with it is worth anything."""

from __future__ import annotations

import json
import re
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench._events import as_json, as_lines, make
from bench._load import Plan, prepare
from scrapewatch.events import validate


class Answering(socketserver.ThreadingTCPServer):
    """Answers each request with the next of ``statuses`` (202 when there is none), after ``pauses`` seconds; keeps the bodies."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, statuses: list[int], pauses: list[float]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses, self.pauses = statuses, pauses
        self.bodies: list[bytes] = []
        self.lock = threading.Lock()


class Handler(socketserver.StreamRequestHandler):
    server: Answering

    def handle(self) -> None:
        while self.rfile.readline():
            length = 0
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            body = self.rfile.read(length)
            with self.server.lock:
                self.server.bodies.append(body)
                status = self.server.statuses.pop(0) if self.server.statuses else 202
                pause = self.server.pauses.pop(0) if self.server.pauses else 0.0
            time.sleep(pause)
            if status == 0:
                return
            # In two pieces: an answer need not come in one.
            self.wfile.write(b"HTTP/1.1 %d Said\r\ncontent-le" % status)
            self.wfile.flush()
            self.wfile.write(b"ngth: 2\r\n\r\nok")


@contextmanager
def answering(statuses: list[int] | None = None, pauses: list[float] | None = None) -> Iterator[Answering]:
    with Answering(statuses or [], pauses or []) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def plan(server: Answering, events: int, batch: int, connections: int = 4, rate: float | None = None) -> Plan:
    return Plan(server.server_address[1], "/x", events, batch, 10, connections, rate=rate)


@pytest.mark.parametrize("rate", [None, 500.0])
def test_every_event_is_sent_once(rate: float | None) -> None:
    with answering() as server:
        outcome = prepare(plan(server, 2_000, 100, rate=rate)).run()
    events = [event for body in server.bodies for event in json.loads(body)]
    assert outcome.statuses == {"202": 20}
    assert len(server.bodies) == 20
    assert len(events) == 2_000
    assert {event["session_id"] for event in events} == {f"bench-{k:04d}" for k in range(10)}


@pytest.mark.parametrize("rate", [None, 500.0])
def test_an_answer_that_is_no_success_is_reported(rate: float | None) -> None:
    with answering([202, 503, 202, 429]) as server:
        outcome = prepare(plan(server, 40, 1, rate=rate)).run()
    assert outcome.failures == {"503": 1, "429": 1}
    assert outcome.statuses["202"] == 38


def test_a_connection_that_breaks_is_reported() -> None:
    with answering([202, 0]) as server:
        outcome = prepare(plan(server, 40, 1)).run()
    assert outcome.failures == {"0": 1}
    assert outcome.statuses["202"] == 39


def test_requests_that_nobody_is_left_to_send_are_reported() -> None:
    with answering([0, 0]) as server:
        outcome = prepare(plan(server, 40, 1, connections=2)).run()
    assert outcome.failures == {"0": 40}


def test_a_stall_shows_in_every_ack_that_it_held_up() -> None:
    with answering(pauses=[1.0]) as server:
        outcome = prepare(plan(server, 50, 1, connections=1, rate=100.0)).run()
    # Of 50 requests in half a second each waited for the first, the last still more than half a second.
    assert outcome.p50_ms > 500
    assert outcome.max_ms >= 1_000


def test_events_are_valid_and_of_the_size_that_is_said() -> None:
    texts = list(as_json(make(20_000, 100, start=time.time_ns() // 1000, spread=4)))
    for text in texts[:500]:
        validate(json.loads(text))
    assert sum(map(len, texts)) / len(texts) == pytest.approx(258, abs=3)


def test_no_two_lines_are_one_point() -> None:
    lines = list(as_lines(make(20_000, 10, start=1, spread=0.001)))
    points = {re.sub(r" .* ", " ", line) for line in lines}
    assert len(points) == len(lines)
