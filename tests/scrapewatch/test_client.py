from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from scrapewatch.client import Client, SendError
from scrapewatch.command import client_half

Answer = tuple[int, dict[str, str], Any] | None
"""Status, headers and body; None breaks the connection."""
ACCEPTED: Answer = (202, {}, {"accepted": 1, "duplicates": 0, "rejected": []})
EVENT = {"session_id": "s", "metric": "job_scraped", "value": {"site": "a"}}


class Server:
    """Answers in turn what it was given, and remembers what it was sent."""

    def __init__(self, answers: list[Answer]) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((self.path, dict(self.headers), body))
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                if answer is None:
                    self.close_connection = True
                    return
                status, headers, content = answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(json.dumps(content).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def keys(self) -> list[str]:
        """The idempotency keys that came."""
        return [headers["Idempotency-Key"] for _, headers, _ in self.requests]


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    running: list[Server] = []

    def start(*answers: Answer) -> Server:
        running.append(Server(list(answers)))
        return running[-1]

    yield start
    for server in running:
        server.close()


def test_a_send_returns_what_was_made_durable(serve: Callable[..., Server]) -> None:
    rejected = [{"index": 1, "field": "metric", "reason": "is no type of event"}]
    server = serve((202, {}, {"accepted": 1, "duplicates": 2, "rejected": rejected}))
    receipt = Client(server.url, api_key="k").send([EVENT, {}], backfill=True)
    assert (receipt.accepted, receipt.duplicates, receipt.rejected) == (1, 2, rejected)
    path, headers, body = server.requests[0]
    assert path == "/api/v1/monitoring/metrics?backfill=true"
    assert headers["Authorization"] == "Bearer k"
    assert json.loads(body) == [EVENT, {}]


def test_every_try_has_the_same_key_so_an_answer_lost_on_the_way_costs_nothing(
    serve: Callable[..., Server],
) -> None:
    server = serve(None, (503, {"Retry-After": "2"}, {}), (429, {}, {}), ACCEPTED)
    waits: list[float] = []
    assert Client(server.url, sleep=waits.append).send([EVENT]).accepted == 1
    assert len(server.requests) == 4
    assert len(set(server.keys)) == 1
    assert waits[1] >= 2


def test_what_users_wish_is_told_once_and_known_until_the_scraper_has_answered_it(
    serve: Callable[..., Server],
) -> None:
    def answer(*wishes: tuple[str, str]) -> Answer:
        told = [{"session_id": session_id, "wish": wish} for session_id, wish in wishes]
        return (202, {}, {"accepted": 1, "duplicates": 0, "rejected": [], "wishes": told})

    server = serve(answer(("s", "pause")), answer(("s", "pause")), ACCEPTED, answer(("s", "pause")), ACCEPTED)
    told: list[tuple[str, str]] = []
    client = Client(server.url, on_wish=lambda session_id, wish: told.append((session_id, wish)))
    assert client.send([EVENT]).wishes == {"s": "pause"}
    client.send([EVENT])
    assert told == [("s", "pause")] and client.wishes == {"s": "pause"}
    client.send([EVENT | {"session_id": "another"}])
    assert client.wishes == {"s": "pause"}, "the answer is about other sessions"
    client.send([EVENT])
    client.send([EVENT])
    assert told == [("s", "pause")] and client.wishes == {}


@pytest.mark.parametrize(
    "answer",
    [
        (202, {"Content-Length": "1000"}, {"accepted": 1}),
        (503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, {}),
        (408, {}, {}),
    ],
    ids=["broken off in the middle", "a date in Retry-After", "too slow"],
)
def test_what_a_bad_connection_or_a_proxy_answers_is_asked_again(
    serve: Callable[..., Server], answer: Answer
) -> None:
    server = serve(answer, ACCEPTED)
    assert Client(server.url, sleep=lambda _: None).send([EVENT]).accepted == 1
    assert len(set(server.keys)) == 1 and len(server.keys) == 2


def test_an_answer_that_is_no_receipt_is_none_of_a_collector(serve: Callable[..., Server]) -> None:
    with pytest.raises(SendError, match="URL of a collector"):
        Client(serve((200, {}, "welcome")).url).send([EVENT])


def test_two_sends_have_keys_of_their_own(serve: Callable[..., Server]) -> None:
    server = serve(ACCEPTED)
    client = Client(server.url)
    client.send([EVENT])
    client.send([EVENT])
    client.send([EVENT], idempotency_key="mine")
    assert len(set(server.keys)) == 3
    assert server.keys[2] == "mine"


@pytest.mark.parametrize("status", [400, 401, 409, 413, 415, 422])
def test_a_refusal_for_good_is_raised_and_not_tried_again(serve: Callable[..., Server], status: int) -> None:
    server = serve((status, {}, {"detail": "no"}))
    with pytest.raises(SendError) as raised:
        Client(server.url).send([EVENT])
    assert raised.value.status == status
    assert len(server.requests) == 1


def test_a_collector_that_never_takes_it_is_given_up_with_the_reason() -> None:
    client = Client("http://127.0.0.1:9", give_up_after=0.5, sleep=lambda _: None)
    with pytest.raises(ConnectionError, match="refused"):
        client.send([EVENT])


def test_an_address_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="http://"):
        Client("localhost:8000")


@pytest.mark.parametrize(
    "text", [json.dumps(EVENT), json.dumps([EVENT]), f"{json.dumps(EVENT)}\n{json.dumps(EVENT)}\n"]
)
def test_the_command_of_the_published_package_sends_what_is_on_standard_input(
    serve: Callable[..., Server],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
) -> None:
    server = serve(ACCEPTED)
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert client_half(["send", "--url", server.url]) == 0
    assert json.loads(capsys.readouterr().out)["accepted"] == 1
    assert json.loads(server.requests[0][2])[0] == EVENT


@pytest.mark.parametrize("text", ["", "not json", "[]"])
def test_the_command_says_what_is_wrong_with_its_input(
    serve: Callable[..., Server],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
) -> None:
    server = serve(ACCEPTED)
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert client_half(["send", "--url", server.url]) == 1
    assert capsys.readouterr().err.startswith("scrapewatch: ")
    assert server.requests == []


def test_the_command_of_the_published_package_says_where_the_servers_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        client_half(["--help"])
    assert "checkout" in capsys.readouterr().out
    assert client_half(["grafana", "sync"]) == 2
    assert "run them from a checkout" in capsys.readouterr().err
