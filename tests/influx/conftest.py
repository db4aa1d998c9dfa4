"""A real InfluxDB for the tests of this room, and servers that misbehave on purpose."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from influx.bootstrap import bootstrap
from influx.store import InfluxStore
from tests.influxd import Influxd

_tenants = (f"influx-{number}" for number in itertools.count())

Reply = tuple[int, dict[str, str], bytes]
"""Status, headers and body of an answer."""
Answering = Callable[[Callable[[str, bytes], Reply]], str]


@pytest.fixture
def tenant() -> str:
    """A tenant of the test's own."""
    return next(_tenants)


@pytest.fixture
def store(influxd: Influxd, tenant: str) -> Iterator[InfluxStore]:
    """A store with the buckets of ``tenant``."""
    opened = InfluxStore(
        influxd.url, influxd.org, bootstrap(influxd.url, influxd.org, influxd.token, [tenant])
    )
    yield opened
    opened.close()


@pytest.fixture
def answering() -> Iterator[Answering]:
    """Starts an HTTP server that answers each POST with what a function makes of its path and body; gives its URL."""
    running: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(answer: Callable[[str, bytes], Reply]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                status, headers, body = answer(
                    self.path, self.rfile.read(int(self.headers["Content-Length"] or 0))
                )
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join()
