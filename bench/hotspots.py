"""Where the collector's processor time goes, under load: ``make bench-hotspots ARGS="--batch 100 --sessions 100"``.

Samples every thread of a real ``scrapewatch collector`` with py-spy (that of ``.venv``, unless PY_SPY names another) and shares out
the processor time that the kernel counted, in µs an event: by thread, by function (its own time), and by function with all it calls.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil
from rich.console import Console
from rich.table import Table

from bench._load import Plan, prepare
from bench._running import fetch, metric, ours
from bench._watched import MARK
from bench.collector import CONNECTIONS
from influx.bootstrap import bootstrap
from tests.influxd import Influxd

SAMPLES_A_SECOND: Final = 400

TRUNK: Final = (
    "<frozen",
    "(typer/",
    "(threading.py",
    "(asyncio/",
    "(stack/cli.py",
    "(scrapewatch/command.py",
)
"""Frames that every stack begins with, which tell nothing."""

console = Console(width=150)


def main() -> None:
    """Profile one load, and print where its time went."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--batch", type=int, default=100)
    options.add_argument("--sessions", type=int, default=100)
    options.add_argument("--events", type=int, default=200_000)
    options.add_argument(
        "--rate", type=float, help="requests a second; default: as fast as they are answered"
    )
    options.add_argument("--top", type=int, default=30, help="functions shown")
    options.add_argument("--native", action="store_true", help="C functions, too (slower)")
    options.add_argument("--raw", type=Path, help="keep the collapsed stacks here, for a flame graph")
    given = options.parse_args()
    spy = os.environ.get("PY_SPY") or str(Path(sys.executable).parent / "py-spy")
    with tempfile.TemporaryDirectory(prefix="bench-") as name, Influxd() as server:
        folder = Path(name)
        token = bootstrap(server.url, server.org, server.token)["default"]
        environment = {"INFLUX_URL": server.url, "INFLUX_ORG": server.org, "INFLUX_TOKEN": token}
        with ours(folder, environment, module="bench._watched") as served:
            plan = Plan(
                port=served.port,
                path="/api/v1/monitoring/metrics",
                events=given.events - given.events % given.batch,
                batch=given.batch,
                sessions=given.sessions,
                connections=CONNECTIONS.get(given.batch, 16),
                rate=given.rate,
            )
            load = prepare(plan)
            stacks = given.raw or folder / "stacks"
            command = [
                spy,
                "record",
                "--pid",
                str(served.pid),
                "--format",
                "raw",
                "--threads",
                "--subprocesses",
                "--rate",
                str(SAMPLES_A_SECOND),
            ]
            command += [
                "--nonblocking",
                "--duration",
                "600",
                "--output",
                str(stacks),
                *(["--native"] if given.native else []),
            ]
            with (folder / "spy.log").open("wb") as log:
                spying = subprocess.Popen(command, stdout=log, stderr=log)
            time.sleep(1.0)
            process = psutil.Process(served.pid)
            before = _threads(process)
            outcome = load.run()
            while metric(fetch(f"{served.url}/metrics"), "scrapewatch_events_delivered_total") < plan.events:
                time.sleep(0.1)
            seconds = time.monotonic() - outcome.began
            spent = {thread: used - before.get(thread, 0.0) for thread, used in _threads(process).items()}
            used = sum(spent.values())
            spying.send_signal(2)
            spying.wait(30)
            ended = time.monotonic()
        console.print(
            f"{plan.events:,} events in {seconds:.1f} s ({plan.events / seconds:,.0f}/s, {used / seconds:.0%} of a core), "
            f"{used / plan.events * 1e6:.2f} µs CPU an event; acks p50 {outcome.p50_ms} ms, p99 {outcome.p99_ms} ms, "
            f"statuses {outcome.statuses}",
            highlight=False,
        )
        if not stacks.is_file():
            sys.exit((folder / "spy.log").read_text(errors="replace")[-1_000:])
        _show_pauses(served.log.read_text(errors="replace"), outcome.began, ended)
        _show(stacks, {thread: used / plan.events * 1e6 for thread, used in spent.items()}, given.top)


def _show_pauses(log: str, began: float, ended: float) -> None:
    """Say how long the garbage collector stopped all threads between ``began`` and ``ended``; no sample shows that."""
    said = next((line for line in log.splitlines() if line.startswith(MARK)), None)
    if said is None:
        return
    for generation, pauses in json.loads(said.removeprefix(MARK)).items():
        lengths = [length * 1e3 for at, length in pauses if began <= at < ended]
        if lengths:
            console.print(
                f"garbage of generation {generation}: collected {len(lengths)} times, {sum(lengths):.0f} ms in all, "
                f"{max(lengths):.0f} ms the longest",
                highlight=False,
            )


def _threads(process: psutil.Process) -> dict[int, float]:
    """Processor seconds of each thread of ``process`` and of those it started."""
    return {
        thread.id: thread.user_time + thread.system_time
        for each in [process, *process.children(recursive=True)]
        for thread in each.threads()
    }


def _stacks(path: Path) -> Iterator[tuple[str, list[str], int]]:
    """Thread, frames from the outermost in, and samples."""
    for line in path.read_text(encoding="utf-8").splitlines():
        text, _, count = line.rpartition(" ")
        first, *frames = [frame for frame in text.split(";") if not frame.startswith("process ")]
        yield first, frames or [first], int(count)


def _show(path: Path, spent: dict[int, float], top: int) -> None:
    stacks = list(_stacks(path))
    samples: Counter[str] = Counter()
    for thread, _, count in stacks:
        samples[thread] += count
    # A sample counts as much as the kernel says that its thread used: a wait for a disk is sampled, too, and costs nothing.
    weights = {thread: spent.get(_thread_id(thread), 0.0) / count for thread, count in samples.items()}
    threads, own, lines, whole = (defaultdict[str, float](float) for _ in range(4))
    for thread, frames, count in stacks:
        cost = weights[thread] * count
        threads[thread] += cost
        lines[frames[-1]] += cost
        functions = [_function(frame) for frame in frames]
        own[functions[-1]] += cost
        for function in set(functions):
            if not any(part in function for part in TRUNK):
                whole[function] += cost
    total = sum(spent.values()) or 1.0
    for title, costs, shown in (
        ("threads", threads, 12),
        ("own time by function", own, top),
        ("own time by line", lines, top),
        ("time by function with all it calls", whole, top),
    ):
        console.print(_table(title, _largest(costs, shown), total))


def _largest(costs: Mapping[str, float], most: int) -> list[tuple[str, float]]:
    return sorted(costs.items(), key=lambda item: -item[1])[:most]


def _thread_id(thread: str) -> int:
    found = re.search(r"\((\d+)\)", thread)
    return int(found[1]) if found else 0


def _function(frame: str) -> str:
    # name (file:line): a function is one whatever the line.
    head, _, line = frame.rpartition(":")
    return f"{head})" if line.rstrip(")").isdigit() else frame


def _table(title: str, costs: Sequence[tuple[str, float]], total: float) -> Table:
    table = Table("share", "µs/event", title)
    table.columns[0].justify = table.columns[1].justify = "right"
    for name, cost in costs:
        table.add_row(f"{cost / total:.1%}", f"{cost:.2f}", name.replace("[", "\\["))
    return table


if __name__ == "__main__":
    main()
