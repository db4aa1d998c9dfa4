"""From event to subscriber: ``make bench-live``. Against ``scrapewatch up`` with its default settings but for the limit of WebSockets.

An event is posted at fixed times to one session, and every client hears it: all at once, which is harder than a session each. Late is
how long after its request was due an event has reached a client.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import _report
from bench._listen import Room, listen
from bench._load import Plan, prepare
from bench._results import console, surroundings, write
from bench._running import Cost, ours, watching


def measure(clients: int, rate: float, seconds: float) -> dict[str, Any]:
    """A row: ``clients`` hear ``rate`` events a second for ``seconds``."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        # No DATABASE_URL and no INFLUX_URL: the embedded stores, as after `scrapewatch up`.
        environment = {
            "SCRAPEWATCH_WEBSOCKET_MAX_CONNECTIONS": str(clients + 10),
            "SCRAPEWATCH_SAMPLER": "true",
            "SCRAPEWATCH_DATABASE_URL": "",
        }
        with ours(Path(folder), environment, part="up") as served:
            plan = Plan(
                port=served.port,
                path="/api/v1/monitoring/metrics",
                events=int(rate * seconds),
                batch=1,
                sessions=1,
                connections=4,
                rate=rate,
            )
            listening = listen(Room(served.port, "/api/v1/ws/sessions/bench-0000", clients))
            load = prepare(plan)
            time.sleep(2.0)
            cost = Cost(served.pid)
            with watching(cost):
                outcome = load.run()
                time.sleep(1.0)
            used = cost.cpu
            heard = listening.stop()
    return {
        "clients": clients,
        "events_per_s": rate,
        "seconds": seconds,
        "heard": heard.events,
        "missed": plan.events * clients - heard.events,
        "lost_connections": heard.lost,
        "p50_ms": heard.p50_ms,
        "p99_ms": heard.p99_ms,
        "max_ms": heard.max_ms,
        "socket_p50_ms": heard.socket_p50_ms,
        "socket_p99_ms": heard.socket_p99_ms,
        "ack_p99_ms": outcome.p99_ms,
        "failures": outcome.failures,
        "cores": round(used / (seconds + 1.0), 3),
        "listeners_cores": round(heard.cpu / (seconds + 1.0), 3),
        "rss_mb": cost.rss_mb,
    }


def main() -> None:
    """Measure both loads and write the results."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--seconds", type=float, default=30.0)
    options.add_argument("--clients", default="100,1000", help="by commas")
    options.add_argument("--rate", type=float, default=10.0, help="events a second, each to every client")
    options.add_argument("--quick", action="store_true", help="5 s each; writes nothing")
    given = options.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rows = []
    for clients in (int(part) for part in given.clients.split(",")):
        row = measure(clients, given.rate, 5.0 if given.quick else given.seconds)
        rows.append(row)
        console.print(
            f"{clients:,} clients at {given.rate:g} Hz: p50 {row['p50_ms']} ms, p99 {row['p99_ms']} ms, max {row['max_ms']} ms "
            f"(at the socket p50 {row['socket_p50_ms']}, p99 {row['socket_p99_ms']}), "
            f"{row['missed']} missed, {row['lost_connections']} lost; {row['cores']:.2f} core (listeners {row['listeners_cores']:.2f})",
            highlight=False,
        )
    if not given.quick:
        write("live", {"rows": rows, **surroundings()})
        _report.update()


if __name__ == "__main__":
    main()
