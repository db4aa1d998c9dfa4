"""A fleet at work for long: 1,000 sessions, 20,000 events a second at fixed times: ``make bench-sustained ARGS="--minutes 10"``.

An open loop: requests are due at fixed times whatever became of those before, so that every stall shows in the acks.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from bench import _report
from bench._load import Plan, prepare
from bench._results import console, influxd_version, surroundings, write
from bench._running import Cost, Served, fetch, metric, ours
from influx.bootstrap import bootstrap
from tests.influxd import Influxd

DRAIN_SECONDS = 120.0


def hold(events_per_s: float, batch: int, sessions: int, seconds: float) -> dict[str, Any]:
    """What a load that lasts does to the collector: acks, errors, memory, backlog."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, Influxd() as server:
        token = bootstrap(server.url, server.org, server.token)["default"]
        environment = {"INFLUX_URL": server.url, "INFLUX_ORG": server.org, "INFLUX_TOKEN": token}
        with ours(Path(name), environment) as served:
            rate = events_per_s / batch
            plan = Plan(
                port=served.port,
                path="/api/v1/monitoring/metrics",
                events=int(rate * seconds) * batch,
                batch=batch,
                sessions=sessions,
                connections=32,
                rate=rate,
            )
            load = prepare(plan)
            cost, store = Cost(served.pid), Cost(server.pid)
            samples: list[dict[str, float]] = []
            ended = threading.Event()
            watch = threading.Thread(
                target=_watch, args=(served, cost, samples, ended, max(seconds / 60, 1.0))
            )
            watch.start()
            try:
                outcome = load.run()
                stopped = time.monotonic()
                while (delivered := _delivered(served)) < plan.events:
                    if time.monotonic() > stopped + DRAIN_SECONDS:
                        break
                    time.sleep(0.1)
                drained = time.monotonic() - stopped
            finally:
                ended.set()
                watch.join()
            used, stored = cost.cpu, store.cpu
    third = samples[: max(len(samples) // 3, 1)]
    return {
        "events_per_s": events_per_s,
        "batch": batch,
        "sessions": sessions,
        "seconds": seconds,
        "requests": plan.events // batch,
        "failures": outcome.failures,
        "undelivered": round(plan.events - delivered),
        "ack_p50_ms": outcome.p50_ms,
        "ack_p99_ms": outcome.p99_ms,
        "ack_max_ms": outcome.max_ms,
        "cpu_us_per_event": round(used / plan.events * 1e6, 2),
        "influxd_cpu_us_per_event": round(stored / plan.events * 1e6, 2),
        "load_cpu_us_per_event": round(outcome.cpu / plan.events * 1e6, 2),
        "rss_start_mb": samples[0]["rss_mb"],
        "rss_third_mb": max(sample["rss_mb"] for sample in third),
        "rss_middle_mb": samples[len(samples) // 2]["rss_mb"],
        "rss_end_mb": samples[-1]["rss_mb"],
        "rss_peak_mb": cost.rss_mb,
        "backlog_most": max(sample["spooled"] for sample in samples),
        "drained_after_s": round(drained, 1),
        "samples": samples,
    }


def _delivered(served: Served) -> float:
    return metric(fetch(f"{served.url}/metrics"), "scrapewatch_events_delivered_total")


def _watch(
    served: Served, cost: Cost, samples: list[dict[str, float]], ended: threading.Event, every: float
) -> None:
    began = time.monotonic()
    while True:
        spooled = metric(fetch(f"{served.url}/metrics"), "scrapewatch_events_spooled")
        rss = round(cost.look() / 2**20, 1)
        samples.append({"at_s": round(time.monotonic() - began, 1), "rss_mb": rss, "spooled": spooled})
        if ended.wait(every):
            return


def tell(row: dict[str, Any]) -> None:
    """Say what came of a load."""
    errors = row["failures"] or "none"
    console.print(
        f"{row['events_per_s']:,.0f} events/s, {row['batch']} a request, {row['sessions']:,} sessions, {row['seconds']:g} s",
        f"acks: p50 {row['ack_p50_ms']:.1f} ms, p99 {row['ack_p99_ms']:.1f} ms, max {row['ack_max_ms']:.0f} ms",
        f"failures: {errors}; acked but not delivered: {row['undelivered']}",
        f"CPU µs an event: {row['cpu_us_per_event']:.2f}; influxd {row['influxd_cpu_us_per_event']:.2f}, "
        f"load {row['load_cpu_us_per_event']:.2f}",
        f"RSS MiB: {row['rss_start_mb']:.0f} at the start, {row['rss_middle_mb']:.0f} in the middle, {row['rss_end_mb']:.0f} at the end",
        f"waited at most: {row['backlog_most']:,.0f} events; drained {row['drained_after_s']} s after the last ack",
        sep="\n  ",
        highlight=False,
        soft_wrap=True,
    )


def main() -> None:
    """Measure and write the results."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--minutes", type=float, default=1.0, help="the goal is set for 10")
    options.add_argument("--rate", type=float, default=20_000, help="events a second")
    options.add_argument("--batch", type=int, default=100)
    options.add_argument("--sessions", type=int, default=1_000)
    options.add_argument("--quick", action="store_true", help="10 s; writes nothing")
    given = options.parse_args()
    row = hold(given.rate, given.batch, given.sessions, 10.0 if given.quick else given.minutes * 60)
    tell(row)
    if not given.quick:
        write("sustained", {"rows": [row], **surroundings(influxd=influxd_version())})
        _report.update()


if __name__ == "__main__":
    main()
