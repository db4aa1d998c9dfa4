"""What Grafana Live is told, received by a real HTTP server and read by a parser that is not ours."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from line_protocol_parser import parse_line
from pydantic import SecretStr

from collector import grafana_live
from collector.fold import fold
from collector.grafana_live import MOST_SESSION_LINES, GrafanaLive, Second, build
from scrapewatch import histogram
from scrapewatch.live import MemoryHub, Message
from scrapewatch.measurements import MEASUREMENTS, SITE, Fold, Tier
from scrapewatch.settings import Settings
from scrapewatch.time import MINUTE, now_ns
from tests.collector.events import NOW as STORED_NOW
from tests.collector.events import counted, points, request

NOW = 1_795_000_000_000_000_000


def message(
    metric: str, session: str | None = "s1", *, tenant: str = "default", at: int | None = None, **value: Any
) -> Message:
    return {
        "tenant": tenant,
        "session_id": session,
        "metric": metric,
        "value": {"site": "indeed", "count": 1, **value},
        "time": now_ns() if at is None else at,
    }


def page(session: str | None = "s1", **value: Any) -> Message:
    return message("page_processed", session, at=NOW, **{"blocked": False, **value})


def parsed(lines: Sequence[str]) -> list[dict[str, Any]]:
    return [dict(parse_line(line)) for line in lines]


def told(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The lines of a push of ``messages``."""
    second = Second()
    second.add(messages, NOW)
    return parsed(second.lines(NOW)[0])


def of(lines: Sequence[dict[str, Any]], measurement: str, **tags: str) -> dict[str, Any]:
    """The fields of the one line of that measurement and tags."""
    found = [line for line in lines if line["measurement"] == measurement and line["tags"] == tags]
    assert len(found) == 1, lines
    return dict(found[0]["fields"])


# --- the lines


def test_jobs_are_summed_by_site_and_by_session() -> None:
    lines = told(
        [
            message("job_scraped", "s1", at=NOW, count=3, duplicate=1),
            message("job_scraped", "s1", at=NOW, count=2, saved=1, invalid=1),
            message("job_scraped", "s2", at=NOW, count=5),
            message("job_scraped", None, at=NOW, site="glassdoor"),
        ]
    )
    assert of(lines, "jobs", site="indeed") == {
        "scraped": 10,
        "saved": 8,
        "duplicate": 1,
        "dropped": 0,
        "invalid": 1,
    }
    assert of(lines, "jobs", site="glassdoor")["scraped"] == 1
    assert of(lines, "session_jobs", site="indeed", session_id="s1")["scraped"] == 5
    assert of(lines, "session_jobs", site="indeed", session_id="s2")["scraped"] == 5
    assert len(lines) == 4


def test_pages_are_summed_by_site_and_class_of_status_and_their_times_by_site() -> None:
    lines = told(
        [
            page(status=200, duration=0.5, bytes=100),
            page(status=204, duration=3.0, count=2),
            page("s2", status=200, blocked=True),
            page("s2", status=429, duration=4.0),
            page("s2"),
        ]
    )
    assert of(lines, "pages", site="indeed", status_class="2xx") == {
        "count": 4,
        "ok": 3,
        "blocked": 1,
        "bytes": 100,
        "duration_sum": 3.5,
        "duration_count": 3,
        "duration_max": 1.5,
    }
    assert of(lines, "pages", site="indeed", status_class="4xx")["ok"] == 0
    assert of(lines, "pages", site="indeed", status_class="none")["ok"] == 1
    assert of(lines, "session_pages", site="indeed", status_class="2xx", session_id="s1")["count"] == 3
    assert of(lines, "response_times", site="indeed") == {"response_time": 7.5 / 4, "duration_max": 4.0}


def test_errors_are_counted_by_a_type_of_which_there_are_few() -> None:
    lines = told(
        [
            message("error_occurred", at=NOW, type="timeout", count=2),
            message("error_occurred", at=NOW, type="503"),
            message("error_occurred", at=NOW, type="a type of my own"),
            message("error_occurred", at=NOW, type="another"),
        ]
    )
    assert of(lines, "errors", site="indeed", type="timeout") == {"count": 2}
    assert of(lines, "errors", site="indeed", type="503") == {"count": 1}
    assert of(lines, "errors", site="indeed", type="other") == {"count": 2}


def test_names_and_types_are_those_of_the_registry_and_a_measurement_always_has_the_same_fields() -> None:
    lines = told(
        [
            message("job_scraped", at=NOW),
            message("job_scraped", "s2", at=NOW, saved=1, duplicate=1, dropped=1, invalid=1, count=4),
            page(),
            page("s2", status=200, duration=1.0, bytes=10),
            message("error_occurred", at=NOW, type="captcha"),
            message("progress", at=NOW, done=1),
        ]
    )
    fields: dict[str, list[list[str]]] = defaultdict(list)
    for line in lines:
        fields[line["measurement"]].append(list(line["fields"]))
        assert line["time"] == NOW
        if line["measurement"] == "response_times":
            continue
        known = MEASUREMENTS[line["measurement"].removeprefix("session_")]
        assert set(line["tags"]) - {"session_id"} == {tag.name for tag in known.tags}
        assert ("session_id" in line["tags"]) == line["measurement"].startswith("session_")
        for name, value in line["fields"].items():
            assert type(value) is known.field(name).type, (line, name)
    assert set(fields) == {
        *("jobs", "pages", "errors", "session_jobs", "session_pages", "session_errors"),
        "response_times",
    }
    assert all(names == found[0] for found in fields.values() for names in found)
    assert SITE.name in lines[0]["tags"]


@pytest.mark.parametrize(
    "name", ["a,b=c d", "back\\slash", "new\nline", "ünï 💼", "quo\"te'", "tab\there", "a\\"]
)
def test_hostile_names_stay_one_tag_of_one_line(name: str) -> None:
    second = Second()
    second.add([message("job_scraped", name, at=NOW, site=name)], NOW)
    lines, _ = second.lines(NOW)
    assert all("\n" not in line for line in lines)
    found = parsed(lines)
    assert [line["measurement"] for line in found] == ["jobs", "session_jobs"]
    expected = name.translate(str.maketrans("\\\n\t", "/  "))
    assert found[0]["tags"] == {"site": expected}
    assert found[1]["tags"] == {"site": expected, "session_id": expected}


def test_a_series_that_falls_silent_is_zero_once() -> None:
    first, second, third = Second(), Second(), Second()
    first.add([message("job_scraped", at=NOW, count=3), page(duration=1.0)], NOW)
    _, before = first.lines(NOW)
    second.add([page(duration=1.0)], NOW)
    lines, before = second.lines(NOW, before)
    found = parsed(lines)
    assert of(found, "jobs", site="indeed")["scraped"] == 0
    assert of(found, "session_jobs", site="indeed", session_id="s1")["scraped"] == 0
    assert of(found, "pages", site="indeed", status_class="none")["count"] == 1
    lines, before = third.lines(NOW, before)
    assert {line["measurement"] for line in parsed(lines)} == {"pages", "session_pages"}
    assert Second().lines(NOW, before) == ([], set())


def test_what_is_late_is_not_what_happens_now() -> None:
    assert told([message("job_scraped", at=NOW - 2 * MINUTE)]) == []


def test_of_very_many_sessions_the_busiest_are_told_and_the_sites_have_them_all() -> None:
    sessions = MOST_SESSION_LINES * 3
    lines = told(
        [message("job_scraped", f"s{n}", at=NOW, count=1 + (n == 500)) for n in range(sessions)]
        + [message("job_scraped", "s500", at=NOW) for _ in range(10)]
    )
    assert of(lines, "jobs", site="indeed")["scraped"] == sessions + 11
    of_sessions = [line for line in lines if line["measurement"] == "session_jobs"]
    assert len(of_sessions) == MOST_SESSION_LINES
    assert of(lines, "session_jobs", site="indeed", session_id="s500")["scraped"] == 12


def test_a_session_that_is_left_out_is_not_told_as_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grafana_live, "MOST_SESSION_LINES", 1)
    first, second = Second(), Second()
    first.add([message("job_scraped", "a", at=NOW, count=5), message("job_scraped", "b", at=NOW)], NOW)
    _, before = first.lines(NOW)
    second.add([message("job_scraped", "a", at=NOW), message("job_scraped", "b", at=NOW, count=5)], NOW)
    found = parsed(second.lines(NOW, before)[0])
    assert [line["tags"].get("session_id") for line in found] == [None, "b"]


Totals = dict[tuple[str, frozenset[tuple[str, str]]], dict[str, float]]


def stored(events: Sequence[dict[str, Any]], tier: Tier, prefix: str = "") -> Totals:
    """What the fold stores of ``events``, all seconds of a series added up, but for the histogram."""
    totals: Totals = defaultdict(lambda: defaultdict(float))
    for point in points(fold([request(events)], {}, collector_no=1, number=1), tier):
        total = totals[prefix + point.measurement, frozenset(point.tags.items())]
        for name, value in point.fields.items():
            assert not isinstance(value, str)
            if MEASUREMENTS[point.measurement].field(name).fold is Fold.MAX:
                total[name] = max(total[name], value)
            elif name not in histogram.FIELDS:
                total[name] += value
    return totals


@given(st.lists(counted, max_size=30))
def test_live_lines_say_what_is_stored(events: list[dict[str, Any]]) -> None:
    events = [{**event, "time": STORED_NOW - k * 10**9} for k, event in enumerate(events)]
    second = Second()
    second.add([{"tenant": "default", **event} for event in events], STORED_NOW)
    lines, _ = second.lines(STORED_NOW)
    live = {
        (line["measurement"], frozenset(line["tags"].items())): line["fields"]
        for line in parsed(lines)
        if line["measurement"] != "response_times"
    }
    expected = {**stored(events, Tier.FLEET), **stored(events, Tier.SESSIONS, "session_")}
    assert live.keys() == expected.keys()
    for series, fields in expected.items():
        for name, value in live[series].items():
            assert value == pytest.approx(fields.get(name, 0), rel=1e-9), (series, name)
        assert fields.keys() <= live[series].keys()


# --- the way to Grafana


class Grafana:
    """A receiver of pushes; ``answer`` is the status it gives, ``hold`` makes it hang until set."""

    def __init__(self) -> None:
        self.answer = 200
        self.headers: dict[str, str] = {}
        self.hold = threading.Event()
        self.hold.set()
        self.asked: list[tuple[float, str, str | None]] = []
        self.lines: list[dict[str, Any]] = []
        self._server: ThreadingHTTPServer | None = None
        self.url = ""
        self.start()

    def start(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                receiver.asked.append((time.monotonic(), self.path, self.headers["Authorization"]))
                receiver.hold.wait(20)
                if receiver.answer == 200:
                    receiver.lines += parsed(body.splitlines())
                self.send_response(receiver.answer)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        port = int(self.url.rpartition(":")[2]) if self.url else 0
        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}).start()

    def stop(self) -> None:
        if self._server is not None:
            self.hold.set()
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def sum(self, measurement: str, field: str, **tags: str) -> int:
        return sum(
            line["fields"][field]
            for line in list(self.lines)
            if line["measurement"] == measurement and tags.items() <= line["tags"].items()
        )


@pytest.fixture
def grafana(monkeypatch: pytest.MonkeyPatch) -> Iterator[Grafana]:
    monkeypatch.setattr(grafana_live, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(grafana_live, "_LONGEST_PAUSE", 0.2)
    receiver = Grafana()
    yield receiver
    receiver.stop()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(30):
            await scenario

    asyncio.run(in_time())


async def until(wanted: Callable[[], bool]) -> None:
    while not wanted():
        await asyncio.sleep(0.01)


def test_everything_of_the_tenant_arrives_in_few_pushes_and_nothing_of_another(grafana: Grafana) -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        pusher = GrafanaLive(grafana.url + "/", "secret", hub, interval=0.2)
        async with pusher.running():
            await asyncio.sleep(0)
            for n in range(100):
                hub.publish([message("job_scraped", f"s{n % 3}") for _ in range(20)])
                hub.publish([message("job_scraped", tenant="another", site="theirs")])
                await asyncio.sleep(0.005)
            await until(lambda: grafana.sum("jobs", "scraped") == 2_000)
        assert grafana.sum("session_jobs", "scraped", session_id="s0") == 34 * 20
        assert {line["tags"]["site"] for line in grafana.lines} == {"indeed"}
        assert {(path, token) for _, path, token in grafana.asked} == {
            ("/api/live/push/scrapewatch", "Bearer secret")
        }
        assert len(grafana.asked) < 40, "pushes are batched, however many events come"
        assert (pusher.failed, pusher.dropped, pusher.problem) == (0, 0, None)

    run(scenario())


def test_where_nothing_happens_nothing_is_pushed(grafana: Grafana) -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        pusher = GrafanaLive(grafana.url, "secret", hub, interval=0.02)
        async with pusher.running():
            hub.publish([message("host")])
            await asyncio.sleep(0.2)
        assert grafana.asked == [] and pusher.pushed == 0

    run(scenario())


@pytest.mark.parametrize("fault", ["refused", "unavailable", "forbidden", "gone"])
def test_after_grafana_was_away_what_happens_then_is_pushed_again(
    grafana: Grafana, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def begin() -> None:
        if fault == "gone":
            grafana.stop()
        else:
            grafana.answer = {"refused": 401, "unavailable": 503, "forbidden": 403}[fault]

    async def scenario() -> None:
        hub = MemoryHub()
        pusher = GrafanaLive(grafana.url, "secret", hub, interval=0.02)
        async with pusher.running():
            await asyncio.sleep(0)
            begin()

            async def go_on(wanted: Callable[[], bool]) -> None:
                while not wanted():
                    hub.publish([message("job_scraped")])
                    await asyncio.sleep(0.01)

            await go_on(lambda: pusher.failed >= 3)
            assert pusher.problem is not None and pusher.dropped > 0
            assert grafana.lines == []
            if fault == "gone":
                grafana.start()
            grafana.answer = 200
            await go_on(lambda: pusher.pushed >= 3)
            assert not pusher.problem
        assert grafana.sum("jobs", "scraped") > 0

    run(scenario())
    printed = capsys.readouterr().out
    assert printed.count("does not take") == 1, "said once, however long it lasts"
    assert "secret" not in printed


def test_a_grafana_that_hangs_holds_up_nobody_and_costs_bounded_memory(
    grafana: Grafana, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grafana_live, "_ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(grafana_live, "_MOST_WAITING", 1_000)

    async def scenario() -> None:
        hub = MemoryHub()
        other = hub.subscribe()
        pusher = GrafanaLive(grafana.url, "secret", hub, interval=0.02)
        async with pusher.running():
            await asyncio.sleep(0)
            grafana.hold.clear()
            published = seen = 0
            while not pusher.failed:
                hub.publish([message("job_scraped") for _ in range(200)])
                published += 200
                await asyncio.sleep(0.01)
                seen += sum(len(found.messages) for found in other.take(10**6))
            assert seen + 200 >= published > 1_000
            assert pusher.dropped > 0
            grafana.hold.set()
            while not pusher.pushed:
                hub.publish([message("job_scraped")])
                await asyncio.sleep(0.01)

    run(scenario())


def test_retry_after_is_honoured(grafana: Grafana, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grafana_live, "_LONGEST_PAUSE", 1.0)

    async def scenario() -> None:
        hub = MemoryHub()
        grafana.answer, grafana.headers = 429, {"Retry-After": "1"}
        async with GrafanaLive(grafana.url, "secret", hub, interval=0.02).running():
            while len(grafana.asked) < 3:
                hub.publish([message("job_scraped")])
                await asyncio.sleep(0.01)
        (first, *_), (second, *_), (third, *_) = grafana.asked[:3]
        assert second - first >= 1 and third - second >= 1

    run(scenario())


def test_while_grafana_is_away_events_are_not_even_made_for_it(
    grafana: Grafana, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grafana_live, "_LONGEST_PAUSE", 30.0)

    async def scenario() -> None:
        hub = MemoryHub()
        grafana.answer, grafana.headers = 503, {"Retry-After": "30"}
        pusher = GrafanaLive(grafana.url, "secret", hub, interval=0.02)
        async with pusher.running():
            while not pusher.failed:
                hub.publish([message("job_scraped")])
                await asyncio.sleep(0.01)
            await asyncio.sleep(0)
            assert not hub._tenants

    run(scenario())


def test_without_a_url_or_a_token_there_is_no_pusher() -> None:
    hub, token = MemoryHub(), SecretStr("secret")
    assert build(Settings(), hub) is None
    assert build(Settings(grafana_url="http://127.0.0.1:3000"), hub) is None
    assert build(Settings(grafana_token=token), hub) is None
    assert build(Settings(grafana_url="http://127.0.0.1:3000", grafana_token=token), hub) is not None
