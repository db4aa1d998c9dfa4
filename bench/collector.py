"""The collector against what else could take its events: ``make bench-collector``.

Four paths into one InfluxDB, on the same events (bench/_events.py), in turns, so that what else the machine does falls on all alike:

- ``ours``: ``scrapewatch collector``, durable before each ack, with its default settings;
- ``raw_influxd``: InfluxDB alone, a line an event, as many a write as the others take a request;
- ``naive``: what one writes first: FastAPI, a list of models, the client library's points and its batching writer (bench/_naive.py);
- ``telegraf``: http_listener_v2 with json_v2, in memory only (bench/README.md says how to have it).

The clock stops when the last event is in the store. What counts are the ratios: machines differ.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench._load import Plan, prepare
from bench._running import Cost, Served, fetch, metric, ours, suspended, watching
from influx.bootstrap import bootstrap
from tests.influxd import Influxd, find_influxd

PATHS: Final = ("ours", "raw_influxd", "naive", "telegraf")
BATCHES: Final = (1, 100, 1_000)
SESSIONS: Final = (1, 100, 1_000)

CONNECTIONS: Final = {1: 64, 100: 16, 1_000: 8}
"""Connections by events a request."""

FIRST_GUESS: Final = {1: 1_000, 100: 8_000, 1_000: 10_000}
"""Events a second that a path is expected to take before it was measured, by events a request."""

MOST_EVENTS: Final = 2_000_000
STORED_SECONDS: Final = 120.0

console = Console()


@dataclass(frozen=True)
class Way:
    """A path that is up: where its requests go, and how many events it has brought to the store (None: those it acked)."""

    name: str
    pid: int
    port: int
    path: str
    form: str = "json"
    headers: dict[str, str] = field(default_factory=dict)
    stored: Callable[[], float] | None = None


@dataclass(frozen=True)
class Case:
    """Events a request, and sessions."""

    batch: int
    sessions: int


def measure(
    way: Way, case: Case, events: int, seconds: float, influxd: int, others: Sequence[int]
) -> dict[str, Any]:
    """A row: ``events`` by ``way``, until the last is stored, while the processes ``others`` stand still."""
    events -= events % case.batch
    plan = Plan(
        port=way.port,
        path=way.path,
        events=events,
        batch=case.batch,
        sessions=case.sessions,
        connections=CONNECTIONS[case.batch],
        form=way.form,
        spread=seconds,
        headers=way.headers,
    )
    with suspended(others):
        load = prepare(plan)
        before = way.stored() if way.stored else 0.0
        cost, store = Cost(way.pid), Cost(influxd)
        with watching(cost):
            outcome = load.run()
            if outcome.failures:
                raise RuntimeError(f"{way.name}: answers other than 2xx: {outcome.failures}")
            ended = outcome.ended
            if way.stored:
                while (missing := before + events - way.stored()) > 0:
                    if time.monotonic() > outcome.ended + STORED_SECONDS:
                        raise RuntimeError(
                            f"{way.name}: {missing:.0f} of {events} events were acked but never stored"
                        )
                    time.sleep(0.03)
                ended = time.monotonic()
    return {
        "path": way.name,
        "batch": case.batch,
        "sessions": case.sessions,
        "events_per_s": round(events / (ended - outcome.began)),
        "cpu_us_per_event": round(cost.cpu / events * 1e6, 2),
        "ack_p50_ms": outcome.p50_ms,
        "ack_p99_ms": outcome.p99_ms,
        "rss_mb": cost.rss_mb,
        "influxd_cpu_us_per_event": round(store.cpu / events * 1e6, 2),
        "load_cpu_us_per_event": round(outcome.cpu / events * 1e6, 2),
        "acked_per_s": round(events / (outcome.ended - outcome.began)),
        "events": events,
    }


def median(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure of ``rows``, which are of one path and case."""
    found = dict(rows[0])
    for name, value in rows[0].items():
        if not isinstance(value, str) and name not in ("batch", "sessions"):
            middle = statistics.median(row[name] for row in rows)
            found[name] = round(middle) if isinstance(value, int) else round(middle, 3)
    found["events_per_s_range"] = [min(r["events_per_s"] for r in rows), max(r["events_per_s"] for r in rows)]
    return found


# --- the paths


class Store:
    """The InfluxDB of all paths, with a bucket for each but ours, which has its own."""

    def __init__(self, server: Influxd) -> None:
        self.server = server
        self._org = json.loads(self._ask(f"/api/v2/orgs?org={server.org}"))["orgs"][0]["id"]

    def _ask(self, path: str, body: bytes | None = None, kind: str = "application/json") -> str:
        return fetch(self.server.url + path, token=self.server.token, body=body, kind=kind)

    def bucket(self, name: str) -> str:
        """Make a bucket; its id."""
        body = json.dumps({"orgID": self._org, "name": name, "retentionRules": []}).encode()
        return str(json.loads(self._ask("/api/v2/buckets", body))["id"])

    def points(self, bucket_id: str) -> float:
        """Points written to a bucket so far, as the server's own metrics count them: to ask for them would cost it more."""
        text = fetch(f"{self.server.url}/metrics")
        label = f'bucket="{bucket_id}"'
        return metric(text, "storage_shard_write_sum", label) - metric(
            text, "storage_shard_write_err_sum", label
        )

    def events(self, bucket: str, fields: Sequence[str], function: str) -> int:
        """Events in a bucket, as a query finds them: ``function`` (count or sum) over ``fields``, of which each event has one."""
        wanted = " or ".join(f'r._field == "{name}"' for name in fields)
        flux = f'from(bucket: "{bucket}") |> range(start: -1d, stop: 1d) '
        flux += f'|> filter(fn: (r) => {wanted}) |> {function}() |> keep(columns: ["_value"])'
        answer = self._ask(f"/api/v2/query?org={self.server.org}", flux.encode(), "application/vnd.flux")
        return sum(
            int(float(line.rpartition(",")[2]))
            for line in answer.splitlines()[1:]
            if line and not line.endswith("_value")
        )


@contextlib.contextmanager
def ways(names: Sequence[str], store: Store, folder: Path) -> Iterator[list[Way]]:
    """The paths ``names``, up and ready."""
    server = store.server
    influx = {"INFLUX_URL": server.url, "INFLUX_ORG": server.org}
    with contextlib.ExitStack() as up:
        found = []
        for name in names:
            place = folder / name
            place.mkdir()
            if name == "ours":
                token = bootstrap(server.url, server.org, server.token)["default"]
                found.append(_ours(up.enter_context(ours(place, {**influx, "INFLUX_TOKEN": token}))))
            elif name == "raw_influxd":
                store.bucket(name)
                found.append(_raw(server))
            elif name == "naive":
                found.append(_naive(up, store, place, store.bucket(name)))
            else:
                found.append(_telegraf(up, store, place, store.bucket(name)))
        yield found


def _ours(served: Served) -> Way:
    def stored() -> float:
        text = fetch(f"{served.url}/metrics")
        if dead := metric(text, "scrapewatch_events_dead_lettered_total"):
            raise RuntimeError(f"ours: {dead:.0f} events in the dead letters")
        return metric(text, "scrapewatch_events_delivered_total")

    return Way("ours", served.pid, served.port, "/api/v1/monitoring/metrics", stored=stored)


def _raw(server: Influxd) -> Way:
    path = f"/api/v2/write?org={server.org}&bucket=raw_influxd&precision=ns"
    headers = {"Authorization": f"Token {server.token}"}
    return Way("raw_influxd", server.pid, int(server.url.rpartition(":")[2]), path, "lines", headers)


def _naive(up: contextlib.ExitStack, store: Store, folder: Path, bucket_id: str) -> Way:
    raise NotImplementedError


def _telegraf(up: contextlib.ExitStack, store: Store, folder: Path, bucket_id: str) -> Way:
    raise NotImplementedError


def main() -> None:
    """Measure, print a table and write the results."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--paths", default=",".join(PATHS), help="by commas (default: all that can be had)")
    options.add_argument("--batches", default="1,100,1000", help="events a request, by commas")
    options.add_argument("--sessions", default="1,100,1000", help="sessions, by commas")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=5.0, help="length of each measurement")
    options.add_argument(
        "--quick",
        action="store_true",
        help="one round of 3 s at 100 a request, 1 and 100 sessions; writes nothing",
    )
    given = options.parse_args()
    if given.quick:
        given.rounds, given.seconds = 1, 3.0
        if given.batches == "1,100,1000" and given.sessions == "1,100,1000":
            given.batches, given.sessions = "100", "1,100"
    if find_influxd() is None:
        sys.exit("no influxd here: `make influxd` builds one")
    cases = [
        Case(batch, sessions)
        for batch, sessions in itertools.product(_numbers(given.batches), _numbers(given.sessions))
    ]
    rows = run(given.paths.split(","), cases, given.rounds, given.seconds)
    show(rows)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def run(names: Sequence[str], cases: Sequence[Case], rounds: int, seconds: float) -> list[dict[str, Any]]:
    """The medians of all paths and cases."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Influxd() as server:
        store = Store(server)
        with ways(names, store, Path(folder)) as found:
            pids = {way.pid for way in found} - {server.pid}
            sent = dict.fromkeys(names, 0)
            for case in cases:
                rates = {way.name: float(FIRST_GUESS[case.batch]) for way in found}
                measured: dict[str, list[dict[str, Any]]] = {way.name: [] for way in found}
                for turn in range(rounds + 1):
                    # The first turn warms up, and tells how many events fill the time. Each has every other before it in turn.
                    for way in found[turn % len(found) :] + found[: turn % len(found)]:
                        events = min(int(rates[way.name] * (seconds if turn else 1.5)), MOST_EVENTS)
                        others = sorted(pids - {way.pid})
                        row = measure(way, case, max(events, case.batch * 8), seconds, server.pid, others)
                        sent[way.name] += row["events"]
                        rates[way.name] = row["events_per_s"] if turn else row["acked_per_s"]
                        if turn:
                            measured[way.name].append(row)
                            console.print(_line(row), highlight=False)
                rows += [median(measured[way.name]) for way in found]
    return rows


def _line(row: dict[str, Any]) -> str:
    return (
        f"[dim]{row['batch']:>5} a request {row['sessions']:>5} sessions  {row['path']:<12}[/] {row['events_per_s']:>8,} events/s "
        f"{row['cpu_us_per_event']:>8.2f} µs CPU  p99 {row['ack_p99_ms']:.1f} ms  "
        f"[dim]load {row['load_cpu_us_per_event']:.2f} µs, influxd {row['influxd_cpu_us_per_event']:.2f} µs[/]"
    )


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print ``rows`` as a table."""
    table = Table(
        "a request",
        "sessions",
        "path",
        "events/s",
        "of raw",
        "CPU µs/event",
        "ack p50 ms",
        "ack p99 ms",
        "RSS MiB",
        title="collector",
    )
    for column in table.columns[:2] + table.columns[3:]:
        column.justify = "right"
    for row in rows:
        raw = next(
            (
                r["events_per_s"]
                for r in rows
                if r["path"] == "raw_influxd"
                and (r["batch"], r["sessions"]) == (row["batch"], row["sessions"])
            ),
            0,
        )
        table.add_row(
            f"{row['batch']:,}",
            f"{row['sessions']:,}",
            row["path"],
            f"{row['events_per_s']:,}",
            f"{row['events_per_s'] / raw:.2f}" if raw else "",
            f"{row['cpu_us_per_event']:.2f}",
            f"{row['ack_p50_ms']:.1f}",
            f"{row['ack_p99_ms']:.1f}",
            f"{row['rss_mb']:.0f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
