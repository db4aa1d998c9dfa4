"""OpenTelemetry's traces, at a receiver of our own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from scrapewatch.client import Client
from scrapewatch.problems import ConfigurationError, StoreUnavailable
from scrapewatch.settings import Settings
from scrapewatch.tracing import span
from stack.tracing import ENDPOINTS, tracing
from tests.loopback import wait_for
from tests.otlp import attributes, receiving
from tests.stack.running import Up

SERVER = 2
ERROR = 2
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(autouse=True)
def _no_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENDPOINTS:
        monkeypatch.delenv(name, raising=False)


def test_a_trace_leads_from_a_request_to_the_stores_and_flushes_tell_of_their_steps(tmp_path: Path) -> None:
    with receiving() as receiver:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        with Up(tmp_path, environment) as up:
            Client(up.url).send([{"session_id": "s1", "metric": "job_scraped", "value": {"site": "hunter2"}}])
            up.drain()
            asked = urllib.request.Request(
                f"{up.url}/api/v1/monitoring/sessions/s1/metrics?interval=5m",
                headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "X-Request-Id": "asked-1"},
            )
            with urllib.request.urlopen(asked) as answer:
                assert answer.status == 200
            wait_for(lambda: bool(receiver.named("mark windows")), what="the last step was told")
        (request,) = receiver.named("GET /monitoring/sessions/{session_id}/metrics")
        assert request.kind == SERVER
        assert request.trace_id.hex() == TRACE, "it is part of the caller's trace"
        assert attributes(request) == {
            "http.request.method": "GET",
            "http.route": "/monitoring/sessions/{session_id}/metrics",
            "http.response.status_code": 200,
            "scrapewatch.request_id": "asked-1",
        }
        for name in ("records session", "series session_metrics"):
            (within,) = receiver.named(name)
            assert (within.trace_id, within.parent_span_id) == (request.trace_id, request.span_id)
        for name in ("fold", "write points", "apply records"):
            steps = [attributes(each) for each in receiver.named(name)]
            assert any(step["scrapewatch.flush"] == 1 and step["scrapewatch.events"] >= 1 for step in steps)
        assert receiver.resources()[0]["service.name"] == "scrapewatch"
        assert receiver.resources()[0]["scrapewatch.parts"] == ["collector", "api"]
        assert not [each for each in receiver.spans if "metrics" in each.name and "POST" in each.name], (
            "the way of an event is not traced"
        )
        assert b"hunter2" not in b"".join(each.SerializeToString() for each in receiver.requests)


def test_what_fails_is_marked_by_its_kind_and_tells_no_text() -> None:
    with receiving() as receiver:
        with tracing(Settings(otlp_endpoint=f"{receiver.url}/"), ["collector"]):
            with pytest.raises(StoreUnavailable), span("fails"):
                raise StoreUnavailable("password=hunter2")
            for status in (404, 503):
                with pytest.raises(StoreUnavailable), span(f"answers {status}", headers=[]) as answering:
                    answering.set({"http.response.status_code": status})
                    raise StoreUnavailable("password=hunter2")
        (failed,) = receiver.named("fails")
        assert (failed.status.code, attributes(failed)["error.type"]) == (ERROR, "StoreUnavailable")
        (refused,), (broken,) = receiver.named("answers 404"), receiver.named("answers 503")
        assert refused.status.code != ERROR, "a client's fault is none of the server's"
        assert (broken.status.code, attributes(broken)["error.type"]) == (ERROR, "503")
        assert b"hunter2" not in b"".join(each.SerializeToString() for each in receiver.requests)


def test_a_receiver_that_hangs_does_not_hold_up_the_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with (
            tracing(Settings(otlp_endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}"), ["api"]),
            span("one"),
        ):
            pass
        assert time.monotonic() - began < 5


def test_without_a_receiver_nothing_of_opentelemetry_is_imported() -> None:
    program = """
import sys
import stack.serve
from api.app import build_router
from scrapewatch.settings import Settings
from scrapewatch.tracing import span
from stack.tracing import tracing
with tracing(Settings(), ["api"]), span("one") as one:
    one.set({"a": 1})
print(*sorted(name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


def test_a_receiver_without_the_extra_is_an_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with (
        pytest.raises(ConfigurationError, match=r"scrapewatch\[otel\]"),
        tracing(Settings(otlp_endpoint="http://127.0.0.1:4318"), ["api"]),
    ):
        pass
