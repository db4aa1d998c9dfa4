"""The collector's path against raw InfluxDB, on the same events, in the same run: ``make bench-collector``.

What counts are the ratios: the machines are shared. Ours is durable before each ack and counts once the series store has everything; raw
InfluxDB takes a line an event, as many a write as we take a request.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from influx.bootstrap import bootstrap
from scrapewatch import __version__
from tests.influxd import Influxd, find_influxd
from tests.stack.running import Up

RESULTS = Path(__file__).parent / "results" / "collector.json"
CONNECTIONS = 4


@dataclass(frozen=True)
class Load:
    """So many events in requests of ``batch``, over ``sessions`` sessions."""

    events: int
    batch: int
    sessions: int

    def requests(self) -> list[list[dict[str, Any]]]:
        """The events of each request: pages and jobs in turn, as a crawl reports them."""
        made = []
        for k in range(self.events):
            session = f"bench-{k % self.sessions}"
            site = ("indeed", "linkedin", "glassdoor")[k % 3]
            value: dict[str, Any] = {
                "site": site,
                "status": 200,
                "duration": 0.25 + k % 100 / 100,
                "bytes": 50_000,
            }
            made.append(
                {"session_id": session, "metric": "page_processed", "value": value}
                if k % 2
                else {"session_id": session, "metric": "job_scraped", "value": {"site": site, "count": 1}}
            )
        return [made[k : k + self.batch] for k in range(0, len(made), self.batch)]


def post_all(
    port: int, path: str, headers: dict[str, str], bodies: list[bytes], expected: int
) -> list[float]:
    """Post ``bodies`` over a few connections; the time of each answer in seconds."""
    waiting = iter(bodies)
    lock = threading.Lock()
    times: list[float] = []
    failures: list[str] = []

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while True:
            with lock:
                body = next(waiting, None)
            if body is None:
                return
            began = time.perf_counter()
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            answer.read()
            times.append(time.perf_counter() - began)
            if answer.status != expected:
                failures.append(f"{answer.status}")

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]
    return times


def row(path: str, load: Load, seconds: float, cpu: float, acks: list[float], rss: float) -> dict[str, Any]:
    """A row of the results."""
    ordered = sorted(acks)
    return {
        "path": path,
        "batch": load.batch,
        "sessions": load.sessions,
        "events_per_s": round(load.events / seconds),
        "cpu_us_per_event": round(cpu / load.events * 1e6, 2),
        "ack_p50_ms": round(statistics.median(ordered) * 1e3, 2),
        "ack_p99_ms": round(ordered[min(int(len(ordered) * 0.99), len(ordered) - 1)] * 1e3, 2),
        "rss_mb": round(rss / 2**20, 1),
    }


def cpu_of(process: psutil.Process) -> float:
    """Processor time of ``process`` so far, in seconds."""
    used = process.cpu_times()
    return float(used.user + used.system)


def measure_ours(up: Up, process: psutil.Process, name: str, load: Load) -> dict[str, Any]:
    """Our path: until the last event is in the stores."""
    bodies = [json.dumps(events).encode() for events in load.requests()]
    cpu, began = cpu_of(process), time.perf_counter()
    acks = post_all(up.port, "/api/v1/monitoring/metrics", {"Content-Type": "application/json"}, bodies, 202)
    up.drain()
    return row(
        name, load, time.perf_counter() - began, cpu_of(process) - cpu, acks, process.memory_info().rss
    )


def measure_raw(server: Influxd, token: str, load: Load) -> dict[str, Any]:
    """InfluxDB alone: a line an event, each with a time of its own."""
    process = psutil.Process(server.pid)
    at = time.time_ns()
    bodies, position = [], 0
    for events in load.requests():
        lines = []
        for event in events:
            position += 1
            value = event["value"]
            fields = (
                "count=1i"
                if "status" not in value
                else f"count=1i,duration={value['duration']},bytes={value['bytes']}i"
            )
            lines.append(
                f"{event['metric']},session_id={event['session_id']},site={value['site']} {fields} {at + position}"
            )
        bodies.append("\n".join(lines).encode())
    headers = {"Authorization": f"Token {token}", "Content-Type": "text/plain"}
    path = f"/api/v2/write?org={server.org}&bucket=sessions&precision=ns"
    cpu, began = cpu_of(process), time.perf_counter()
    acks = post_all(int(server.url.rpartition(":")[2]), path, headers, bodies, 204)
    return row(
        "raw_influxd",
        load,
        time.perf_counter() - began,
        cpu_of(process) - cpu,
        acks,
        process.memory_info().rss,
    )


@contextmanager
def running(environment: dict[str, str]) -> Iterator[tuple[Up, psutil.Process]]:
    """The product in a process of its own, with its default flushes."""
    with tempfile.TemporaryDirectory() as folder:
        up = Up(Path(folder), {"SCRAPEWATCH_FLUSH_INTERVAL": "1", **environment})
        with up:
            (found,) = [
                process
                for process in psutil.Process().children()
                if process.is_running() and str(up.port) in process.environ().get("SCRAPEWATCH_PORT", "")
            ]
            yield up, found


def main() -> None:
    """Measure, print a table and write the results."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=40_000)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    loads = [
        Load(given.events // 20, 1, 1),
        Load(given.events, 100, 1),
        Load(given.events, 100, 100),
        Load(given.events, 1_000, 100),
    ]
    rows: list[dict[str, Any]] = []
    if find_influxd() is None:
        sys.exit("no influxd here: `make influxd` builds one")
    with Influxd() as server:
        token = bootstrap(server.url, server.org, server.token)["default"]
        influx = {"INFLUX_URL": server.url, "INFLUX_ORG": server.org, "INFLUX_TOKEN": token}
        with running(influx) as (on_influx, one), running({}) as (embedded, other):
            paths: list[Callable[[Load], dict[str, Any]]] = [
                lambda load: measure_raw(server, token, load),
                lambda load: measure_ours(on_influx, one, "ours", load),
                lambda load: measure_ours(embedded, other, "ours_embedded", load),
            ]
            for load in loads:
                # Interleaved, so that what else the machine does falls on all alike.
                rounds = [[path(load) for path in paths] for _ in range(given.rounds)]
                for k in range(len(paths)):
                    measured = [found[k] for found in rounds]
                    middle = sorted(measured, key=lambda found: float(found["events_per_s"]))[
                        len(measured) // 2
                    ]
                    rows.append(middle)
                    baseline = next(r for r in reversed(rows) if r["path"] == "raw_influxd")
                    ratio = middle["events_per_s"] / baseline["events_per_s"]
                    print(f"{json.dumps(middle)}  {ratio:.2f} of raw", flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    versions = {"scrapewatch": __version__, "python": platform.python_version(), "influxd": "2.9.1"}
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    document = {
        "rows": rows,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": versions,
        "revision": revision.stdout.strip(),
        "date": time.strftime("%Y-%m-%d"),
        "load": os.getloadavg(),
    }
    RESULTS.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
