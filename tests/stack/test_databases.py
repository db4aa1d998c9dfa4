"""Row 22 of the faults, over HTTP: a database that is busy or restarted is a 503 that says when to come back, and never a 500."""

from __future__ import annotations

import contextlib
import http.client
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.loopback import wait_for
from tests.postgres import Postgres
from tests.stack.running import Up

SILENCES = "/api/v1/monitoring/silences"
EVENTS = "/api/v1/monitoring/metrics"


@dataclass(frozen=True)
class Answer:
    method: str
    path: str
    status: int
    retry_after: str | None


def ask(up: Up, method: str, path: str, body: Any = None) -> Answer:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", up.port, timeout=60)) as connection:
        connection.request(
            method,
            path,
            None if body is None else json.dumps(body),
            {"Content-Type": "application/json"},
        )
        answer = connection.getresponse()
        answer.read()
        return Answer(method, path, answer.status, answer.getheader("Retry-After"))


def silence(name: str) -> Mapping[str, Any]:
    return {"matchers": [{"name": "resource", "value": name}], "duration": "1h", "comment": name}


@contextlib.contextmanager
def asking(up: Up, clients: int, ask_all: Callable[[int, int], list[Answer]]) -> Iterator[list[Answer]]:
    """So many clients, each of which asks again and again while the block lasts; what they were answered."""
    answers: list[Answer] = []
    over = threading.Event()

    def work(client: int) -> None:
        turn = 0
        while not over.is_set():
            answers.extend(ask_all(client, turn))
            turn += 1

    threads = [threading.Thread(target=work, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        over.set()
        for thread in threads:
            thread.join()


def assert_only_503_fails(answers: list[Answer]) -> None:
    for answer in answers:
        assert answer.status in (200, 201, 202, 503), answer
        if answer.status == 503:
            assert int(answer.retry_after or "") > 0, answer


def test_twenty_writers_and_a_long_reader_of_sqlite_meet_no_500(tmp_path: Path) -> None:
    path = tmp_path / "data" / "records.sqlite"
    path.parent.mkdir()
    with Up(tmp_path, {"DATABASE_URL": f"sqlite:///{path}?timeout=0.3"} | NO_LIMITS) as up:

        def ask_all(client: int, turn: int) -> list[Answer]:
            name = f"{client}-{turn}"
            event = {"session_id": name, "metric": "job_scraped", "value": {"site": "indeed"}}
            return [
                ask(up, "POST", SILENCES, silence(name)),
                ask(up, "POST", EVENTS, event),
                ask(up, "GET", "/api/v1/monitoring/sessions"),
            ]

        with (
            contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader,
            contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as writer,
        ):
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM scrape_sessions").fetchall()
            with asking(up, 20, ask_all) as answers:
                wait_for(lambda: len(answers) > 100, what="all are at it")
                writer.execute("BEGIN IMMEDIATE")
                refused = [answer for answer in answers if answer.status == 503]
                wait_for(
                    lambda: sum(answer.status == 503 for answer in answers) > len(refused),
                    what="a writer is told to come back",
                )
                writer.execute("ROLLBACK")
                before = len(answers)
                wait_for(lambda: len(answers) > before + 100, what="they go on")
            assert_only_503_fails(answers)
            made = sum((answer.path, answer.status) == (SILENCES, 201) for answer in answers)
            assert made > 20
            events = [answer.status for answer in answers if answer.path == EVENTS]
            assert set(events) == {202}, "events wait for no database"
            assert reader.execute("SELECT count(*) FROM scrape_sessions").fetchone() == (0,), "it read on"
            reader.execute("ROLLBACK")
            up.drain()
            assert reader.execute("SELECT count(*) FROM silences").fetchone() == (made,)
            assert reader.execute("SELECT count(*) FROM scrape_sessions").fetchone() == (len(events),)


def test_a_restart_of_postgresql_under_load_is_no_500(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.database()
    try:
        with Up(tmp_path, {"DATABASE_URL": url} | NO_LIMITS) as up:

            def ask_all(client: int, turn: int) -> list[Answer]:
                name = f"{client}-{turn}"
                event = {"session_id": name, "metric": "job_scraped", "value": {"site": "indeed"}}
                return [
                    ask(up, "POST", EVENTS, event),
                    ask(up, "POST", SILENCES, silence(name)),
                    *(ask(up, "GET", f"/api/v1/{route}") for route in ROUTES),
                ]

            with asking(up, 4, ask_all) as answers:
                wait_for(lambda: len(answers) > 50, what="all are at it")
                try:
                    postgres.stop()
                    wait_for(lambda: any(answer.status == 503 for answer in answers), what="it is missed")
                    time.sleep(0.5)
                finally:
                    postgres.restart()
                wait_for(lambda: ask(up, "GET", SILENCES).status == 200, what="it is back")
                before = len(answers)
                wait_for(lambda: len(answers) > before + 50, what="they go on")
            assert_only_503_fails(answers)
            assert {answer.status for answer in answers[-5:]} <= {200, 201, 202}
            events = [answer.status for answer in answers if answer.path == EVENTS]
            assert set(events) == {202}, "events wait for no database"
            up.drain()
            assert len(up.sessions()) == len(events)
    finally:
        postgres.drop(url)


ROUTES = (
    "monitoring/sessions",
    "monitoring/dashboard",
    "monitoring/jobs/active",
    "monitoring/alerts",
    "monitoring/health/system",
    "monitoring/system-health",
    "analytics/market/insights",
)
NO_LIMITS = {f"SCRAPEWATCH_{whose}_REQUESTS_PER_MINUTE": "0" for whose in ("KEY", "TENANT", "ADDRESS")}
