"""A receiver of OpenTelemetry's traces over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Receiver:
    """The spans that came to ``url``."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[ExportTraceServiceRequest] = []

    @property
    def spans(self) -> list[Any]:
        """All spans, in the order in which they came."""
        return [
            found
            for request in list(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for found in scope.spans
        ]

    def named(self, name: str) -> list[Any]:
        """The spans of that name."""
        return [found for found in self.spans if found.name == name]

    def resources(self) -> list[dict[str, Any]]:
        """What is said of the processes that sent."""
        return [
            attributes(resource.resource)
            for request in list(self.requests)
            for resource in request.resource_spans
        ]


def attributes(told: Any) -> dict[str, Any]:
    """The attributes of a span or resource."""
    found = {}
    for each in told.attributes:
        kind = each.value.WhichOneof("value")
        value = getattr(each.value, kind)
        found[each.key] = [item.string_value for item in value.values] if kind == "array_value" else value
    return found


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on a port of its own, for the length of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf":
                receiver.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
            else:
                self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
