"""What the API says of itself at /metrics."""

from __future__ import annotations

from collections.abc import Callable

from fastapi.routing import iter_route_contexts
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from api.app import PREFIX
from api.live.sockets import FULL
from tests.api.stacks import BASE, Stack, event

SYSTEM = "ws://127.0.0.1/ws/system"
SESSIONS = "/api/v1/monitoring/sessions"


def figures(client: TestClient, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Samples of ``name`` by the values of ``labels``."""
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name == name
    }


def test_each_answer_is_counted_and_timed_by_template_and_status(stack: Stack, client: TestClient) -> None:
    stack.store([event("job_scraped", {"site": "indeed"})])
    for path in ("/s1", "/none", "/neither", "?limit=0", "?cursor=!", "", "/s1/metrics?interval=2m"):
        client.get(SESSIONS + path)
    client.post(f"{SESSIONS}/none/pause")
    labels = ("method", "route", "status")
    counted = figures(client, "scrapewatch_api_requests_total", *labels)
    one = "/monitoring/sessions/{session_id}"
    assert counted == {
        ("GET", one, "200"): 1,
        ("GET", one, "404"): 2,
        ("GET", "/monitoring/sessions", "200"): 1,
        ("GET", "/monitoring/sessions", "422"): 2,
        ("GET", f"{one}/metrics", "422"): 1,
        ("POST", f"{one}/pause", "404"): 1,
    }
    assert figures(client, "scrapewatch_api_request_seconds_count", *labels) == counted


def test_every_route_of_the_api_is_measured_but_the_stream(stack: Stack) -> None:
    unmeasured = [
        f"{method} {context.path_format}"
        for context in iter_route_contexts(stack.app.routes)
        for method in context.methods or ()
        if str(context.path_format).startswith(PREFIX)
        and type(context.original_route).__name__ != "MeasuredRoute"
    ]
    assert unmeasured == [f"GET {PREFIX}/monitoring/stream"]


def test_what_stores_take_is_told_by_question_and_by_call(stack: Stack, client: TestClient) -> None:
    stack.store([event("job_scraped", {"site": "indeed"})])
    client.get(f"{SESSIONS}/s1/metrics")
    client.get("/api/v1/monitoring/questions/throughput")
    client.get("/api/v1/monitoring/questions/no-such-question")
    asked = figures(client, "scrapewatch_store_seconds_count", "store", "call")
    assert asked == {
        ("records", "session"): 1,
        ("series", "session_metrics"): 1,
        ("series", "throughput"): 1,
    }, "what a user makes up must not make series"
    assert figures(client, "scrapewatch_store_failures_total", "store", "call") == {}


def test_a_store_that_does_not_answer_is_counted(stack: Stack, client: TestClient) -> None:
    stack.store([event("job_scraped", {"site": "indeed"})])
    stack.series.close()
    assert client.get("/api/v1/monitoring/questions/throughput").status_code == 503
    failed = figures(client, "scrapewatch_store_failures_total", "store", "call")
    assert failed == {("series", "throughput"): 1}
    answered = figures(client, "scrapewatch_api_requests_total", "status")
    assert answered == {("503",): 1}


def test_a_session_that_is_not_there_is_an_answer_of_the_store(stack: Stack, client: TestClient) -> None:
    client.get(f"{SESSIONS}/none")
    assert figures(client, "scrapewatch_store_failures_total", "store", "call") == {}


def test_websockets_are_counted_and_those_that_find_no_room(make: Callable[..., Stack]) -> None:
    stack = make(websocket_max_connections=1)
    with TestClient(stack.app, base_url=BASE) as client, client.websocket_connect(SYSTEM):
        with client.websocket_connect(SYSTEM) as refused:
            assert refused.receive()["code"] == FULL
        assert figures(client, "scrapewatch_api_websockets") == {(): 1}
        assert figures(client, "scrapewatch_api_websockets_accepted_total") == {(): 1}
        assert figures(client, "scrapewatch_api_websockets_refused_total") == {(): 1}
