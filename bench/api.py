"""How long the API takes to answer, with 90 days of a busy fleet behind it: ``make bench-api``.

Every GET route of the OpenAPI document and every question, with ranges of up to 90 days, on InfluxDB with PostgreSQL and on the embedded
stores; with nothing else to do, and while 10 sessions report. Beside it, in turns with it, a bare FastAPI echo. Requests come one after
another over one connection; each round asks everything once, so that nothing is measured right after itself. The first does not count.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import os
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from rich.progress import track
from rich.table import Table

from bench import _report
from bench._cases import Case, cases
from bench._filled import KINDS, discard, echo, filled, serving
from bench._fleet import DAYS, Fleet, Size
from bench._load import Plan, prepare
from bench._results import console, influxd_version, read, surroundings, write
from bench._running import Served
from scrapewatch.time import now_ns
from tests.loopback import free_port

SESSIONS: Final = 10
REQUESTS_A_SECOND: Final = 10.0
EVENTS_A_REQUEST: Final = 10

PATIENCE_SECONDS: Final = 10.0
"""How long all requests of one kind may take: a slow one is asked less often, but :data:`LEAST` times."""
LEAST: Final = 5
EXCEPTED_ROUNDS: Final = 3
EXCEPTED_SECONDS: Final = 2.0
"""Requests without a goal are made this often, or as long as they have taken no more together; and only in the run that is idle."""

_FULL: Final = Size(10_100_000, 20_000, 500_000)
_PAGES: Final = 40
_SHOWN: Final = 30


@dataclass(slots=True)
class Asked:
    """What came of the requests of one kind: how long each took (ms), and how they were answered."""

    taken: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    size: int = 0


class Client:
    """One connection that asks, and waits for the whole answer."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def ask(self, target: str) -> tuple[float, int, bytes]:
        """How long the answer to ``GET target`` took (ms), its status (0 where there was none) and its body."""
        began = time.perf_counter()
        status, body = 0, b""
        try:
            self._connection.request("GET", target)
            answer = self._connection.getresponse()
            body = answer.read()
            status = answer.status
        except (OSError, http.client.HTTPException):
            self._connection.close()  # the next request opens it anew
        return (time.perf_counter() - began) * 1e3, status, body

    def json(self, target: str) -> Any:
        """The JSON that answers ``GET target``.

        Raises:
            RuntimeError: it is no 200.

        """
        _, status, body = self.ask(target)
        if status != 200:
            raise RuntimeError(f"GET {target} is answered with {status}: {body[:500]!r}")
        return json.loads(body)


def at(share: float, taken: Sequence[float]) -> float:
    """The quantile ``share`` of ``taken``, which is one of them; ms."""
    ordered = sorted(taken)
    return round(ordered[max(math.ceil(share * len(ordered)) - 1, 0)], 2)


def far_down(client: Client, case: Case) -> Case | None:
    """``case`` with a cursor from far down its list, or None where the list has one page."""
    path, _, query = case.target.partition("?")
    asked = {name: value for name, value in parse_qsl(query) if name != "cursor"}
    cursor: str | None = None
    for _ in range(_PAGES):
        place = {} if cursor is None else {"cursor": cursor}
        following = client.json(f"{path}?{urlencode({**asked, 'limit': case.pages, **place})}").get(
            "next_cursor"
        )
        if following is None:
            break
        cursor = following
    return (
        None if cursor is None else replace(case, target=f"{path}?{urlencode({**asked, 'cursor': cursor})}")
    )


def all_cases(client: Client, size: Size) -> list[Case]:
    """Everything to be asked of the server behind ``client``."""
    document = client.json("/openapi.json")
    questions = client.json("/api/v1/monitoring/questions")["items"]
    middle = Fleet.name_of(size.sessions * 2 // 3)
    found, unasked = cases(document, questions, {"session_id": middle, "alert_id": "1"})
    if unasked:
        console.print(f"not asked, as streams or for want of a value: {', '.join(unasked)}")
    ready = (far_down(client, case) if case.pages else case for case in found)
    return [case for case in ready if case is not None]


def ask_all(
    client: Client, bare: Client, to_ask: Sequence[Case], rounds: int, seconds: float, what: str
) -> tuple[dict[Case, Asked], Asked]:
    """Ask everything ``rounds`` times after a first that does not count; and the echo before each request.

    No round begins later than ``seconds`` after the first.
    """
    until = time.monotonic() + seconds
    found: dict[Case, Asked] = defaultdict(Asked)
    echoed = Asked()
    for number in track(range(rounds + 1), description=what, console=console):
        if number > 1 and time.monotonic() > until:
            break
        for case in to_ask:
            asked = found[case]
            spent = sum(asked.taken) / 1e3
            if case.excepted and (not 0 < number <= EXCEPTED_ROUNDS or spent > EXCEPTED_SECONDS):
                continue
            if spent > PATIENCE_SECONDS and len(asked.taken) >= LEAST:
                continue
            bare_ms, *_ = bare.ask("/echo?text=hello")
            taken, status, body = client.ask(case.target)
            if number:
                echoed.taken.append(bare_ms)
                asked.taken.append(taken)
                asked.statuses[status] += 1
                asked.size = len(body)
    return found, echoed


@contextmanager
def reporting(served: Served) -> Iterator[None]:
    """10 sessions that report for the length of the block."""
    plan = Plan(
        port=served.port,
        path="/api/v1/monitoring/metrics",
        events=int(EVENTS_A_REQUEST * REQUESTS_A_SECOND * 7_200),
        batch=EVENTS_A_REQUEST,
        sessions=SESSIONS,
        connections=4,
        rate=REQUESTS_A_SECOND,
    )
    load = prepare(plan)
    load.start()
    try:
        time.sleep(2.0)
        yield
    finally:
        load.stop()


def rows_of(store: str, sessions: int, found: Mapping[Case, Asked], echoed: Asked) -> list[dict[str, Any]]:
    """The rows of one run, which ends now: what was asked, and how long it took."""
    load = round(os.getloadavg()[0], 2)
    return [
        {
            "store": store,
            "route": case.route,
            "question": case.question,
            "query": case.query,
            "reporting_sessions": sessions,
            "excepted": case.excepted,
            "requests": len(asked.taken),
            "p50_ms": at(0.5, asked.taken),
            "p95_ms": at(0.95, asked.taken),
            "max_ms": at(1.0, asked.taken),
            "echo_p50_ms": at(0.5, echoed.taken),
            "echo_p95_ms": at(0.95, echoed.taken),
            "load_average": load,
            "bytes": asked.size,
            "statuses": {str(status): n for status, n in asked.statuses.items()},
        }
        for case, asked in found.items()
    ]


def measure(kind: str, size: Size, rounds: int, seconds: float, only: str) -> list[dict[str, Any]]:
    """All rows of one pair of stores."""
    kept = filled(kind, size)
    rows: list[dict[str, Any]] = []
    port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        echo(Path(folder), port),
        serving(kind, kept) as served,
    ):
        client, bare = Client(served.port), Client(port)
        to_ask = [case for case in all_cases(client, size) if only in case.name]
        name = KINDS[kind]
        time.sleep(3.0)  # checks and the live feed have begun
        found, echoed = ask_all(client, bare, to_ask, rounds, seconds, f"{name}, idle")
        rows += rows_of(name, 0, found, echoed)
        with reporting(served):
            to_ask = [case for case in to_ask if not case.excepted]
            found, echoed = ask_all(
                client, bare, to_ask, rounds, seconds, f"{name}, {SESSIONS} sessions report"
            )
        rows += rows_of(name, SESSIONS, found, echoed)
    return rows


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the slowest kinds of requests, and all that miss the goal or are not answered with 200."""
    for store, sessions in dict.fromkeys((row["store"], row["reporting_sessions"]) for row in rows):
        those = [row for row in rows if (row["store"], row["reporting_sessions"]) == (store, sessions)]
        echo_p50, echo_p95 = those[0]["echo_p50_ms"], those[0]["echo_p95_ms"]
        table = Table(
            title=f"{store}, {f'{sessions} sessions report' if sessions else 'idle'}; a bare echo: {echo_p50} / {echo_p95} ms",
            title_justify="left",
        )
        for column in ("route", "p50 ms", "p95 ms", "max ms", "bytes", ""):
            table.add_column(column, justify="left" if column in ("route", "") else "right", overflow="fold")
        for place, row in enumerate(sorted(those, key=lambda row: -row["p95_ms"])):
            path = row["route"].replace("{question}", row["question"] or "{question}")
            said = [f"{n} × {status}" for status, n in row["statuses"].items() if status != "200"]
            if row["excepted"]:
                said.append("no goal")
            elif row["p95_ms"] >= _report.API_GOAL_MS:
                said.append("MISSED")
            if place >= _SHOWN and not said:
                continue
            table.add_row(
                f"{path}?{row['query']}" if row["query"] else path,
                *(f"{row[name]:,.1f}" for name in ("p50_ms", "p95_ms", "max_ms")),
                f"{row['bytes']:,}",
                ", ".join(said),
            )
        console.print(table)
        missed = sum(not row["excepted"] and row["p95_ms"] >= _report.API_GOAL_MS for row in those)
        console.print(
            f"{len(those)} kinds of requests, of which {missed} miss the goal of {_report.API_GOAL_MS:g} ms at p95"
        )


def main() -> None:
    """Fill the stores if need be, measure, and write the results."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--points", type=int, default=_FULL.points, help="folded points over all tiers")
    options.add_argument("--sessions", type=int, default=_FULL.sessions)
    options.add_argument("--postings", type=int, default=_FULL.postings)
    options.add_argument("--stores", default=",".join(KINDS), help="by commas")
    options.add_argument("--rounds", type=int, default=20, help="how often everything is asked")
    options.add_argument("--seconds", type=float, default=210.0, help="after so many no further round begins")
    options.add_argument("--only", default="", help="only requests with this in them; writes nothing")
    options.add_argument("--quick", action="store_true", help="a hundredth, 5 rounds; writes nothing")
    given = options.parse_args()
    size, rounds = Size(given.points, given.sessions, given.postings), given.rounds
    if given.quick:
        size, rounds = size.hundredth(), 5
    rows = []
    for kind in given.stores.split(","):
        if kind not in KINDS:
            options.error(f"--stores takes {', '.join(KINDS)}")
        rows += measure(kind, size, rounds, given.seconds, given.only)
        if given.quick:
            discard(kind, size)
    show(rows)
    if not given.quick and not given.only:
        points = sum(number for *_, number in Fleet(size, now_ns()).tables())
        loaded = {"points": points, "sessions": size.sessions, "postings": size.postings, "days": DAYS}
        before = read("api") or {}
        measured = {row["store"] for row in rows}
        if before.get("loaded") == loaded:  # what was not measured now stays
            rows = [row for row in before["rows"] if row["store"] not in measured] + rows
        around = surroundings(influxd=influxd_version(), **_stores())
        write("api", {"rows": rows, "loaded": loaded, "goal_ms": _report.API_GOAL_MS, **around})
        _report.update()


def _stores() -> dict[str, str]:
    import sqlite3
    from importlib.metadata import version

    return {"duckdb": version("duckdb"), "sqlite": sqlite3.sqlite_version, "fastapi": version("fastapi")}


if __name__ == "__main__":
    main()
