"""HTTP as it is on the wire: what clients may take their time over, and what an answer looks like."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from scrapewatch.http import Respond, Shortcut
from scrapewatch.settings import Settings
from stack import connection
from stack.connection import Connection
from stack.quiet_server import QuietServer
from tests.stack.running import Up

PATH = "/api/v1/monitoring/metrics"


class Echo:
    """An application that does what the path says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, Any], bytes]] = []
        self.gone = threading.Event()
        self.cancelled = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/early":
            await self._say(send, 413, b"no")
            return
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone.set()
                return
            body += message["body"]
            if not message["more_body"]:
                break
        self.seen.append((scope, body))
        match scope["path"]:
            case "/slow":
                await asyncio.sleep(1.0)
            case "/hang":
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    self.cancelled.set()
                    raise
            case "/fail":
                raise RuntimeError("password=hunter2")
            case "/stream":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                for part in (b"one", b"", b"three"):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                await send({"type": "http.response.body"})
                return
            case "/forged":
                headers = [(b"x-name", b"a\r\nset-cookie: stolen")]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
            case "/half":
                headers = [(b"content-length", b"10")]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": b"12345"})
                return
            case "/empty":
                await send({"type": "http.response.start", "status": 204, "headers": []})
                await send({"type": "http.response.body"})
                return
        await self._say(send, 200, b"%s %d" % (scope["path"].encode(), len(body)))

    async def _say(self, send: Any, status: int, body: bytes) -> None:
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Served:
    """``app`` behind the connection, in a thread with its own loop."""

    def __init__(self, app: Any, **options: Any) -> None:
        config = uvicorn.Config(
            app, port=0, http=Connection, log_config=None, lifespan="off", server_header=False, **options
        )
        self.server = QuietServer(config)
        self._thread = threading.Thread(target=self.server.run)

    def __enter__(self) -> Served:
        self._thread.start()
        while not self.server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)
        self.port: int = self.server.servers[0].sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self._thread.join()

    def line(self) -> socket.socket:
        """A connection to it."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def served(echo: Echo) -> Iterator[Served]:
    with Served(echo) as server:
        yield server


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that ticks fast."""
    monkeypatch.setattr(connection, "TICK", 0.02)


class Counting:
    """What takes requests at once whose bodies are whole: it counts their bytes, later or never where the body says so."""

    def __init__(self, echo: Echo) -> None:
        self._echo = echo
        self.at_once_taken: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._echo(scope, receive, send)

    def at_once(self, scope: Any, body: bytes, respond: Respond) -> bool:
        if body == b"not at once":
            return False
        if body == b"fail":
            raise RuntimeError("password=hunter2")
        self.at_once_taken.append(body)
        headers = [(b"x-name", b"a\r\nset-cookie: stolen" if body == b"forge" else b"a")]

        def answer() -> None:
            respond(202, headers, b"%d at once" % len(body))

        if body == b"later":
            asyncio.get_running_loop().call_later(0.3, answer)
        elif body != b"never":
            answer()
        return True


@pytest.fixture
def counting(echo: Echo) -> Counting:
    return Counting(echo)


@pytest.fixture
def short(echo: Echo, counting: Counting) -> Iterator[Served]:
    """A server with a short way to what takes requests at once."""
    settings = Settings(allowed_hosts=("a",))
    shortcut = Shortcut(echo, settings, "POST", ["/count"], counting)
    with Served(shortcut, proxy_headers=False) as server:
        yield server


def counted(body: bytes, more: bytes = b"") -> bytes:
    return b"POST /count HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n%b" % (more, len(body), body)


def until_closed(line: socket.socket) -> bytes:
    """All that comes until the other side ends the connection."""
    found = b""
    try:
        while data := line.recv(65_536):
            found += data
    except ConnectionResetError:
        pass
    return found


def ask(served: Served, request: bytes) -> bytes:
    """What is answered to ``request`` until the end of the connection."""
    with served.line() as line:
        line.sendall(request)
        return until_closed(line)


CLOSE = b"Host: a\r\nConnection: close\r\n"


def test_a_request_comes_to_the_application_whole(served: Served, echo: Echo) -> None:
    answer = ask(
        served, b"POST /a%20b?q=%31&x HTTP/1.1\r\nX-Mixed: Yes\r\nContent-Length: 3\r\n" + CLOSE + b"\r\nabc"
    )
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n/a b 3")
    assert b"connection: close\r\n" in answer
    assert re.search(rb"\r\ndate: \w{3}, ", answer)
    ((scope, body),) = echo.seen
    assert (scope["method"], scope["path"], scope["raw_path"], scope["query_string"]) == (
        "POST",
        "/a b",
        b"/a%20b",
        b"q=%31&x",
    )
    assert (b"x-mixed", b"Yes") in scope["headers"]
    assert scope["client"][0] == "127.0.0.1"
    assert body == b"abc"


def test_a_body_in_chunks_is_one_and_its_trailers_are_no_headers(served: Served, echo: Echo) -> None:
    body = b"3\r\nabc\r\n2\r\nde\r\n0\r\nHost: evil\r\nX-Late: 1\r\n\r\n"
    ask(served, b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + CLOSE + b"\r\n" + body)
    ((scope, found),) = echo.seen
    assert found == b"abcde"
    assert [value for name, value in scope["headers"] if name == b"host"] == [b"a"]
    assert b"x-late" not in dict(scope["headers"])


def test_a_large_body_comes_through_whatever_its_parts(served: Served, echo: Echo) -> None:
    body = bytes(range(256)) * 20_000
    ask(served, b"POST / HTTP/1.1\r\nContent-Length: %d\r\n" % len(body) + CLOSE + b"\r\n" + body)
    assert echo.seen[0][1] == body


def test_a_client_that_asks_first_is_told_to_go_on(served: Served) -> None:
    with served.line() as line:
        line.sendall(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n" + CLOSE + b"\r\n")
        assert line.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.sendall(b"abc")
        assert until_closed(line).endswith(b"/ 3")


def test_a_client_that_asks_first_and_is_refused_need_not_send(served: Served) -> None:
    with served.line() as line:
        line.sendall(b"POST /early HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 413")


def test_requests_that_are_sent_ahead_are_answered_in_order(served: Served, echo: Echo) -> None:
    paths = [b"/slow", *(b"/%d" % k for k in range(20))]
    request = b"".join(b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab" % path for path in paths)
    answer = ask(served, request + b"GET /last HTTP/1.1\r\n" + CLOSE + b"\r\n")
    assert re.findall(rb"(/\w+) \d", answer) == [*paths, b"/last"]
    assert [body for _, body in echo.seen] == [b"ab"] * 21 + [b""]


def test_a_connection_is_used_again_after_a_refusal_whose_body_nobody_read(served: Served) -> None:
    body = b"x" * 1_000_000
    answer = ask(
        served,
        b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
        + body
        + b"GET /next HTTP/1.1\r\n"
        + CLOSE
        + b"\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 413")
    assert answer.endswith(b"/next 0")


def test_a_stream_goes_out_in_chunks_and_to_old_clients_until_the_end(served: Served) -> None:
    answer = ask(served, b"GET /stream HTTP/1.1\r\n" + CLOSE + b"\r\n")
    assert answer.endswith(
        b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\none\r\n5\r\nthree\r\n0\r\n\r\n"
    )
    answer = ask(served, b"GET /stream HTTP/1.0\r\nHost: a\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nonethree")
    assert b"chunked" not in answer


def test_an_answer_without_a_body_has_none(served: Served) -> None:
    answer = ask(served, b"HEAD /x HTTP/1.1\r\n" + CLOSE + b"\r\n")
    assert b"content-length: 4\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")
    answer = ask(served, b"GET /empty HTTP/1.1\r\n" + CLOSE + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 204")
    assert b"transfer-encoding" not in answer


def test_a_request_that_comes_whole_is_answered_at_once_with_all_headers_of_others(short: Served) -> None:
    answer = ask(short, counted(b"abc") + counted(b"de", b"Connection: close\r\n"))
    first, second = answer.split(b"3 at once")
    assert first.startswith(b"HTTP/1.1 202 Accepted\r\n")
    for line in (
        rb"date: \w{3}, ",
        rb"x-content-type-options: nosniff",
        rb"cache-control: no-store",
        rb"x-request-id: \w+",
    ):
        assert re.search(rb"\r\n" + line, first)
    assert b"connection: close" not in first
    assert b"connection: close\r\n\r\n2 at once" in second


@pytest.mark.parametrize(
    "pieces",
    [
        [counted(b"abcdef")[:-3], b"def"],
        [counted(b"abcdef")[:-6], b"abcdef"],
        [b"POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"0\r\n\r\n"],
        [counted(b"not at once")],
        [b"POST /count?x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na"],
        [b"POST /other HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na"],
    ],
)
def test_a_request_that_cannot_be_answered_at_once_is_answered_as_any_other(
    short: Served, counting: Counting, pieces: list[bytes]
) -> None:
    with short.line() as line:
        for piece in pieces:
            line.sendall(piece)
            time.sleep(0.1)
        assert line.recv(65_536).startswith(b"HTTP/1.1 200 OK\r\n")
        line.sendall(counted(b"next"))
        assert b"4 at once" in line.recv(65_536)
    assert counting.at_once_taken == [b"next"]


def test_a_head_that_is_known_is_read_no_otherwise(short: Served, counting: Counting, echo: Echo) -> None:
    known = counted(b"ab")
    with short.line() as line:
        for request_, answered in [
            (known, b"2 at once"),
            (known, b"2 at once"),
            (known[:-1], b""),  # the same head with a body that has not come yet
            (b"b", b"/count 2"),
            (counted(b"ab", b"X-Request-Id: mine\r\n"), b"x-request-id: mine"),
            (known, b"2 at once"),
        ]:
            line.sendall(request_)
            time.sleep(0.1)
            if answered:
                answer = line.recv(65_536)
                assert answered in answer
                assert answer.count(b"HTTP/1.1") == 1
        line.sendall(known + known)
        time.sleep(0.2)
        assert line.recv(65_536).count(b"2 at once") == 2
    assert [body for _, body in echo.seen] == [b"ab"]


def test_a_part_of_a_head_is_never_known_as_one(short: Served) -> None:
    whole = counted(b"xy")
    with short.line() as line:
        line.sendall(whole[:7])
        time.sleep(0.1)
        line.sendall(whole[7:])
        assert b"2 at once" in line.recv(65_536)
    assert ask(short, whole[7:]).startswith(b"HTTP/1.1 400")


def test_requests_behind_one_that_is_answered_later_wait_for_their_turn(short: Served) -> None:
    answer = ask(short, counted(b"later") + counted(b"de") + b"GET /last HTTP/1.1\r\n" + CLOSE + b"\r\n")
    assert re.findall(rb"5 at once|/count 2|/last 0", answer) == [b"5 at once", b"/count 2", b"/last 0"]


def test_the_guard_stands_in_front_of_what_is_answered_at_once(short: Served, counting: Counting) -> None:
    assert ask(short, counted(b"abc", b"Origin: http://evil\r\nConnection: close\r\n")).startswith(
        b"HTTP/1.1 403"
    )
    assert ask(short, counted(b"abc", b"Connection: close\r\n").replace(b"Host: a", b"Host: b")).startswith(
        b"HTTP/1.1 421"
    )
    assert counting.at_once_taken == []


@pytest.mark.parametrize("body", [b"fail", b"forge"])
def test_what_fails_at_once_is_a_500_that_tells_nothing(short: Served, body: bytes) -> None:
    answer = ask(short, counted(body, b"Connection: close\r\n"))
    assert answer.startswith(b"HTTP/1.1 500")
    assert b"hunter2" not in answer
    assert b"set-cookie" not in answer


def test_a_client_that_leaves_before_its_answer_is_let_go_of_and_others_are_answered(short: Served) -> None:
    with short.line() as line:
        line.sendall(counted(b"later"))
        time.sleep(0.1)
    time.sleep(0.4)
    assert ask(short, counted(b"abc", b"Connection: close\r\n")).endswith(b"3 at once")


def test_what_is_to_be_answered_at_once_and_outlasts_the_end_of_the_server_is_told_to_come_back(
    echo: Echo, counting: Counting
) -> None:
    shortcut = Shortcut(echo, Settings(allowed_hosts=("a",)), "POST", ["/count"], counting)
    with Served(shortcut, proxy_headers=False, timeout_graceful_shutdown=1) as server:
        line = server.line()
        line.sendall(counted(b"never"))
        time.sleep(0.1)
    with line:
        assert until_closed(line).startswith(b"HTTP/1.1 503")


@pytest.mark.parametrize("path", [b"/fail", b"/forged"])
def test_what_fails_unforeseen_is_a_500_that_tells_nothing(served: Served, path: bytes) -> None:
    answer = ask(served, b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
    assert answer.startswith(b"HTTP/1.1 500")
    assert b"hunter2" not in answer
    assert b"stolen" not in answer


def test_an_answer_that_is_not_as_long_as_it_said_is_broken_off(served: Served) -> None:
    answer = ask(served, b"GET /half HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"content-length: 10" not in answer or not answer.endswith(b"12345")


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    ],
    ids=["nonsense", "space before the colon", "two lengths", "length below zero", "no chunk"],
)
def test_what_is_no_http_is_a_400_and_the_end(served: Served, request_: bytes) -> None:
    answer = ask(served, request_)
    assert answer.startswith(b"HTTP/1.1 400")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == 400


def test_a_request_that_is_whole_is_answered_though_nonsense_follows(served: Served) -> None:
    answer = ask(served, b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\nnonsense\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"/slow 0")


def test_a_head_without_end_is_refused(served: Served) -> None:
    with served.line() as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        answer = b""
        try:
            for k in range(10_000):
                line.sendall(b"X-%d: " % k + b"a" * 1_000 + b"\r\n")
        except OSError:
            pass
        answer = until_closed(line)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431")
    assert ask(served, b"GET /x HTTP/1.1\r\n" + CLOSE + b"\r\n").startswith(b"HTTP/1.1 200")


def test_a_client_that_leaves_in_the_middle_of_its_body_is_told_to_the_application(
    served: Served, echo: Echo
) -> None:
    with served.line() as line:
        line.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\nabc")
    assert echo.gone.wait(10)
    assert echo.seen == []


# --- the clock


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("start", "drip", "status"),
    [
        (b"", b"", b""),
        (b"", b"\r\n", b""),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"X: y\r\n", b"HTTP/1.1 408"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n", b"x", b"HTTP/1.1 408"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", b"HTTP/1.1 408"),
        (b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n", b"x", b"HTTP/1.1 413"),
    ],
    ids=["nothing", "empty lines", "head", "body", "chunks", "after the answer"],
)
def test_who_drips_is_let_go_of(served: Served, start: bytes, drip: bytes, status: bytes) -> None:
    with served.line() as line:
        stopped = threading.Event()

        def send() -> None:
            try:
                line.sendall(start)
                while not stopped.wait(0.02):
                    line.sendall(drip)
            except OSError:
                pass

        thread = threading.Thread(target=send)
        thread.start()
        answer = until_closed(line)
        stopped.set()
        thread.join()
    # A reset may overtake the answer.
    assert answer[: len(status)] in (status, b"")


@pytest.mark.usefixtures("quick")
def test_a_steady_body_may_take_longer_and_a_request_that_the_server_works_on_too(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SLOWEST", 10)
    with served.line() as line:
        line.sendall(b"POST /slow HTTP/1.1\r\nContent-Length: 1000\r\n" + CLOSE + b"\r\n")
        for _ in range(50):
            line.sendall(b"x" * 20)
            time.sleep(0.02)
        assert until_closed(line).endswith(b"/slow 1000")


@pytest.mark.usefixtures("quick")
def test_who_does_not_read_its_answer_is_let_go_of(echo: Echo) -> None:
    async def flood(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while flooding.server.server_state.connections:
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
            await asyncio.sleep(0)
        echo.gone.set()

    with Served(flood) as flooding, flooding.line() as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert echo.gone.wait(20)


@pytest.mark.usefixtures("quick")
def test_a_connection_that_idles_is_ended_after_its_time_and_not_before(echo: Echo) -> None:
    with Served(echo, timeout_keep_alive=1) as served, served.line() as line:
        line.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.5)
        line.sendall(b"GET /y HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = until_closed(line)
        assert answer.count(b"HTTP/1.1 200") == 2


def test_requests_that_outlast_the_end_of_the_server_are_told_to_come_back(echo: Echo) -> None:
    with Served(echo, timeout_graceful_shutdown=1) as served, served.line() as line:
        line.sendall(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
        while not echo.seen:
            time.sleep(0.01)
        served.server.should_exit = True
        answer = until_closed(line)
    assert echo.cancelled.is_set()
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after" in answer


def test_events_without_end_do_not_hold_up_the_end_of_the_server(echo: Echo) -> None:
    async def events(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        echo.gone.set()

    with Served(events, timeout_graceful_shutdown=20) as served, served.line() as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b""
        while b"data: 1" not in answer:
            answer += line.recv(1_000)
        served.server.should_exit = True
        assert echo.gone.wait(5)
        assert until_closed(line) == b""


# --- row 15, on the real process


def test_slow_heads_and_bodies_are_closed_within_ten_seconds_while_others_are_served(tmp_path: Path) -> None:
    head = b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\n" % PATH.encode()
    body = json.dumps(
        {"session_id": "s1", "metric": "job_scraped", "value": {"site": "a", "count": 1}}
    ).encode()
    with Up(tmp_path) as up:

        def drip(start: bytes, part: bytes) -> float:
            began = time.monotonic()
            with socket.create_connection(("127.0.0.1", up.port), timeout=60) as line:
                line.settimeout(0.5)
                line.sendall(start)
                while True:
                    try:
                        if not line.recv(1_000):
                            break
                    except TimeoutError:
                        pass
                    except ConnectionError:
                        break
                    try:
                        line.sendall(part)
                    except OSError:
                        break
            return time.monotonic() - began

        slow: list[Callable[[], float]] = [
            lambda: drip(head, b"X-A: b\r\n"),
            lambda: drip(head + b"Content-Length: 5000\r\n\r\n", b" "),
            lambda: drip(head + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
            lambda: drip(b"", b""),
        ]
        with ThreadPoolExecutor(20) as pool:
            waiting = [pool.submit(one) for one in slow * 5]
            served = 0
            while not all(one.done() for one in waiting):
                with socket.create_connection(("127.0.0.1", up.port), timeout=60) as line:
                    line.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                    assert line.recv(1_000).startswith(b"HTTP/1.1 202")
                served += 1
                time.sleep(0.1)
            took = [one.result() for one in waiting]
        assert max(took) < 10.5
        assert min(took) > 5, "nobody is cut short"
        up.drain()
        assert [session["total_jobs_found"] for session in up.sessions()] == [served]
