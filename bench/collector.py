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
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from bench import _report
from bench._events import step_of
from bench._load import Plan, prepare
from bench._results import console, influxd_version, surroundings, write
from bench._running import Cost, Served, fetch, metric, ours, suspended, watching
from bench._telegraf import PATH as TELEGRAF_PATH
from bench._telegraf import find_telegraf, serve_telegraf, telegraf_version
from influx.bootstrap import bootstrap
from tests.influxd import Influxd, find_influxd
from tests.loopback import free_port

PATHS: Final = ("ours", "raw_influxd", "naive", "telegraf")
BATCHES: Final = (1, 100, 1_000)
SESSIONS: Final = (1, 100, 1_000)

CONNECTIONS: Final = {1: 64, 100: 16, 1_000: 8}
"""Connections by events a request."""

FIRST_GUESS: Final = {1: 1_000, 100: 8_000, 1_000: 10_000}
"""Events a second that a path is expected to take before it was measured, by events a request."""

WARM_UP_SECONDS: Final = 1.5

MOST_EVENTS: Final = 2_000_000
STILL_SECONDS: Final = 15.0
"""Seconds without another event in the store after which those that are missing are lost."""


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
    way: Way, case: Case, events: int, start: int, seconds: float, influxd: int, others: Sequence[int]
) -> dict[str, Any]:
    """A row: ``events`` by ``way``, until the last is stored, while the processes ``others`` stand still.

    The events' times begin at ``start`` (µs since 1970) and are spread over ``seconds``.
    """
    plan = Plan(
        port=way.port,
        path=way.path,
        events=events,
        batch=case.batch,
        sessions=case.sessions,
        connections=CONNECTIONS[case.batch],
        form=way.form,
        start=start,
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
            missing = 0.0
            if way.stored:
                ended, missing = _stored(way.stored, before + events)
    if missing and way.name == "ours":
        raise RuntimeError(f"{missing:.0f} of {events} events were acked but did not reach the store")
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
        "lost": round(missing),
    }


def _stored(stored: Callable[[], float], wanted: float) -> tuple[float, float]:
    """When ``stored`` reached ``wanted``, and what was still missing when it had stood still for long."""
    most, since = stored(), time.monotonic()
    while most < wanted and time.monotonic() < since + STILL_SECONDS:
        time.sleep(0.03)
        now = stored()
        if now > most:
            most, since = now, time.monotonic()
    return since, max(wanted - most, 0.0)


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
        # InfluxDB 2.9.1 has the names crossed: `_count` counts points, and `_sum` requests.
        label = f'bucket="{bucket_id}"'
        return metric(text, "storage_shard_write_count", label) - metric(
            text, "storage_shard_write_err_count", label
        )

    def events(self, way: str, since: int) -> int:
        """Events of a path in its bucket, as a query finds them. ``since``: seconds since 1970."""
        bucket, function, wanted = _COUNTED[way]
        flux = (
            f'from(bucket: "{bucket}") |> range(start: {since}, stop: 1h) |> filter(fn: (r) => {wanted}) '
            f'|> {function}() |> group() |> sum() |> keep(columns: ["_value"])'
        )
        answer = self._ask(f"/api/v2/query?org={self.server.org}", flux.encode(), "application/vnd.flux")
        values = [line.rpartition(",")[2] for line in answer.split()]
        return int(values[-1]) if values and values[-1].isdigit() else 0


# Of a path: its bucket, and how its events are counted in it. Each event has one of these fields; ours are sums already.
_COUNTED: Final = {
    name: (name, "count", 'r._field == "duration" or r._field == "count"')
    for name in ("raw_influxd", "naive", "telegraf")
} | {
    "ours": (
        "fleet",
        "sum",
        '(r._measurement == "pages" and r._field == "count") or (r._measurement == "jobs" and r._field == "scraped")',
    )
}


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
                stored = partial(store.points, store.bucket(name))
                served = up.enter_context(_serve_naive(place, server))
                found.append(Way(name, served.pid, served.port, "/events", stored=stored))
            else:
                stored = partial(store.points, store.bucket(name))
                served = up.enter_context(serve_telegraf(place, server, bucket=name))
                found.append(Way(name, served.pid, served.port, TELEGRAF_PATH, stored=stored))
        yield found


def _ours(served: Served) -> Way:
    def stored() -> float:
        text = fetch(f"{served.url}/metrics")
        if dead := metric(text, "scrapewatch_events_dead_lettered"):
            raise RuntimeError(f"ours: {dead:.0f} events in the dead letters")
        return metric(text, "scrapewatch_events_delivered_total")

    return Way("ours", served.pid, served.port, "/api/v1/monitoring/metrics", stored=stored)


def _raw(server: Influxd) -> Way:
    path = f"/api/v2/write?org={server.org}&bucket=raw_influxd&precision=ns"
    headers = {"Authorization": f"Token {server.token}"}
    return Way("raw_influxd", server.pid, int(server.url.rpartition(":")[2]), path, "lines", headers)


def _serve_naive(folder: Path, server: Influxd) -> Served:
    port = free_port()
    environment = {
        "INFLUX_URL": server.url,
        "INFLUX_ORG": server.org,
        "INFLUX_TOKEN": server.token,
        "INFLUX_BUCKET": "naive",
    }
    command = [sys.executable, "-m", "uvicorn", "bench._naive:app", "--port", str(port), "--no-access-log"]
    return Served(command, folder, environment, port=port, probe="/docs")


def main() -> None:
    """Measure, print a table and write the results."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--paths", help="by commas; default: all that can be had")
    options.add_argument("--batches", help="events a request, by commas; default: 1,100,1000 (quick: 100)")
    options.add_argument("--sessions", help="by commas; default: 1,100,1000 (quick: 1,100)")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=5.0, help="length of each measurement")
    options.add_argument("--quick", action="store_true", help="one round of 3 s; writes nothing")
    given = options.parse_args()
    if find_influxd() is None:
        sys.exit("no influxd here: `make influxd` builds one")
    telegraf = find_telegraf()
    names = given.paths.split(",") if given.paths else [p for p in PATHS if p != "telegraf" or telegraf]
    if unknown := set(names) - set(PATHS):
        options.error(f"no such path: {', '.join(unknown)}")
    if telegraf is None:
        print("no Telegraf here: it is left out; bench/README.md says how to have it", file=sys.stderr)
    batches = _numbers(given.batches) or ((100,) if given.quick else BATCHES)
    sessions = _numbers(given.sessions) or ((1, 100) if given.quick else SESSIONS)
    cases = [Case(*case) for case in itertools.product(batches, sessions)]
    rounds, seconds = (1, 3.0) if given.quick else (given.rounds, given.seconds)
    rows = run(names, cases, rounds, seconds)
    show(rows)
    if not given.quick:
        versions = {"influxd": influxd_version(), "influxdb-client": version("influxdb-client")}
        if telegraf is not None and "telegraf" in names:
            versions["telegraf"] = telegraf_version(telegraf)
        write("collector", {"rows": rows, "rounds": rounds, "seconds": seconds, **surroundings(**versions)})
        _report.update()


def _numbers(text: str | None) -> list[int]:
    return [int(part) for part in text.split(",")] if text else []


def run(names: Sequence[str], cases: Sequence[Case], rounds: int, seconds: float) -> list[dict[str, Any]]:
    """The medians of all paths and cases."""
    rows = []
    since = int(time.time()) - 60
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Influxd() as server:
        store = Store(server)
        with ways(names, store, Path(folder)) as found:
            pids = {way.pid for way in found} - {server.pid}
            sent = dict.fromkeys(names, 0)
            free = dict.fromkeys(names, 0)
            for case in cases:
                rates = {way.name: float(FIRST_GUESS[case.batch]) for way in found}
                measured: dict[str, list[dict[str, Any]]] = {way.name: [] for way in found}
                for turn in range(rounds + 1):
                    # The first turn warms up, and tells how many events fill the time. Each path goes first in turn.
                    first = turn % len(found)
                    for way in found[first:] + found[:first]:
                        events = int(rates[way.name] * (seconds if turn else WARM_UP_SECONDS))
                        events = min(max(events, case.batch * 8), MOST_EVENTS) // case.batch * case.batch
                        # No two points of a path may have one time: the second would overwrite the first.
                        start = max(time.time_ns() // 1000, free[way.name])
                        free[way.name] = start + events * step_of(events, seconds)
                        others = sorted(pids - {way.pid})
                        row = measure(way, case, events, start, seconds, server.pid, others)
                        sent[way.name] += row["events"] - row["lost"]
                        rates[way.name] = row["events_per_s"] if turn else row["acked_per_s"]
                        if turn:
                            measured[way.name].append(row)
                            console.print(_line(row), highlight=False, soft_wrap=True)
                rows += [median(measured[way.name]) for way in found]
        for name in names:
            if (counted := store.events(name, since)) != sent[name]:
                raise RuntimeError(f"{name}: {sent[name]} events were stored, but a query finds {counted}")
    return rows


def _line(row: dict[str, Any]) -> str:
    return (
        f"[dim]{row['batch']:>5} a request {row['sessions']:>5} sessions  {row['path']:<12}[/] {row['events_per_s']:>8,} events/s "
        f"{row['cpu_us_per_event']:>8.2f} µs CPU  p99 {row['ack_p99_ms']:>6.1f} ms  "
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
