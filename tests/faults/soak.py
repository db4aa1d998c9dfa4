"""Faults, load and kills for as long as you like, and then the exact comparison: ``make soak``, an hour by default.

Every few seconds something happens, by chance: InfluxDB goes down, hangs, breaks off, is too busy, refuses points, or is killed; the
collector is killed, told to end, or finds its disk full. Clients send all the while. At the end dead letters are replayed, and what
InfluxDB and the records hold must be what was acknowledged.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.disk import no_room
from tests.faults.ledger import Writer
from tests.faults.proxy import (
    NOT_FOUND,
    PASS,
    REFUSE,
    RESET_AFTER_COMMIT,
    STALL,
    UNAUTHORIZED,
    busy,
    partial,
    slow,
)
from tests.faults.rig import Load, Rig
from tests.influxd import Influxd, find_influxd
from tests.loopback import wait_for

STORE_FAULTS = (
    REFUSE,
    STALL,
    RESET_AFTER_COMMIT,
    UNAUTHORIZED,
    NOT_FOUND,
    busy(429, 2),
    busy(503),
    slow(0.5),
    # Lines of one site in one session are refused: they become dead letters.
    partial(400, "s0-0,site=linkedin"),
    partial(422, "s1-1,site=indeed"),
)
DEADLINE = 30.0


class Weather:
    """What happens to a rig, by chance; counts what did."""

    def __init__(self, rig: Rig, chance: random.Random) -> None:
        self.happened: collections.Counter[str] = collections.Counter()
        self.most_memory = 0
        self._rig = rig
        self._chance = chance
        self._kinds: dict[Callable[[], None], float] = {
            self._store_fault: 6,
            self._kill: 4,
            self._kill_while_it_starts: 1,
            self._terminate: 1,
            self._kill_forwarding: 2,
            self._suspend_forwarding: 1,
            self._fill_the_disk: 1,
            self._kill_influxd: 1,
            self._calm: 3,
        }

    def next(self) -> None:
        """Let one thing happen, and wait until it is over."""
        (kind,) = self._chance.choices(list(self._kinds), list(self._kinds.values()))
        kind()

    def look(self) -> None:
        """Note the memory used, and hold the figures to their law.

        Raises:
            AssertionError: an accepted event is nowhere, or in two places.
        """
        self.most_memory = max(self.most_memory, self._rig.process.memory())
        now = self._rig.process.totals()
        assert now["accepted"] == now["delivered"] + now["spooled"] + now["dead_lettered"], now

    def _for_a_while(self, least: float, most: float) -> None:
        deadline = time.monotonic() + self._chance.uniform(least, most)
        while time.monotonic() < deadline:
            self.look()
            time.sleep(0.5)

    def _calm(self) -> None:
        self.happened["calm"] += 1
        self._for_a_while(2, 10)

    def _store_fault(self) -> None:
        fault = self._chance.choice(STORE_FAULTS)
        self.happened[f"influxdb: {fault.name}"] += 1
        self._rig.proxy.set(fault)
        self._for_a_while(1, 12)
        if self._chance.random() < 0.3:
            self._kill()
        self._rig.proxy.set(PASS)

    def _kill(self) -> None:
        self.happened["collector: kill -9"] += 1
        self._rig.process.kill()
        self._rig.process.start()
        self._for_a_while(0, 3)

    def _kill_while_it_starts(self) -> None:
        self.happened["collector: kill -9 while it starts"] += 1
        self._rig.process.kill()
        self._rig.process.launch()
        time.sleep(self._chance.uniform(0.1, 3))
        self._kill()

    def _terminate(self) -> None:
        self.happened["collector: SIGTERM"] += 1
        self._rig.process.terminate()
        assert self._rig.process.wait(DEADLINE) == 0
        self._rig.process.start()

    def _kill_forwarding(self) -> None:
        self.happened["forwarding: kill -9"] += 1
        self._rig.process.forwarding().kill()
        self._for_a_while(0, 3)

    def _suspend_forwarding(self) -> None:
        self.happened["forwarding: suspended"] += 1
        forwarding = self._rig.process.forwarding()
        forwarding.suspend()
        self._for_a_while(1, 10)
        forwarding.resume()

    def _fill_the_disk(self) -> None:
        self.happened["collector: disk full"] += 1
        with no_room(self._rig):
            time.sleep(self._chance.uniform(0.5, 5))
            if self._chance.random() < 0.3:
                self.happened["collector: kill -9"] += 1
                self._rig.process.kill()
        if not self._rig.process.runs:
            self._rig.process.start()

    def _kill_influxd(self) -> None:
        self.happened["influxdb: kill -9"] += 1
        self._rig.influxd.kill()
        time.sleep(self._chance.uniform(0.5, 5))
        self._rig.influxd.restart()


def soak(minutes: float, seed: int, clients: int, pause: float, folder: Path) -> dict[str, Any]:
    """Run it; the figures.

    Raises:
        AssertionError: the law was broken; says how.
    """
    chance = random.Random(seed)
    began = time.monotonic()
    with Influxd() as influxd, Rig(folder, influxd) as rig:
        weather = Weather(rig, chance)
        said = began
        with Load(
            rig,
            lambda k: Writer(random.Random(seed + k), f"{k}").request,
            clients=clients,
            pause=pause,
        ) as load:
            while time.monotonic() < began + 60 * minutes:
                weather.next()
                assert not load.failures, load.failures
                if time.monotonic() - said > 15:
                    said = time.monotonic()
                    totals = rig.process.totals()
                    print(
                        f"{(said - began) / 60:5.1f} min  {len(load.acks):,} requests acknowledged, "
                        f"{rig.ledger.events:,} events, {totals['spooled']:,} wait, "
                        f"{sum(weather.happened.values())} faults, {weather.most_memory / 2**20:.0f} MiB",
                        flush=True,
                    )
            requests = len(load.acks)
        rig.proxy.set(PASS)
        for sent in rig.ledger.open():
            rig.deliver(sent)
        rig.process.drain()
        letters = rig.process.totals()["dead_lettered"]
        if any("partial" in name for name in weather.happened):
            replayed = rig.process.command("spool", "replay", "--all")
            assert replayed.returncode == 0, replayed.stdout + replayed.stderr
            wait_for(lambda: rig.process.totals()["dead_lettered"] == 0, what="dead letters are replayed")
        rig.must_be_exact(seconds=600)
        weather.look()
        acks = sorted(load.acks)
        return {
            "minutes": round((time.monotonic() - began) / 60, 1),
            "seed": seed,
            "requests": requests,
            "events": rig.ledger.events,
            "exact": True,  # or the comparison had raised
            "kills": sum(count for name, count in weather.happened.items() if "collector: kill" in name),
            "faults": dict(sorted(weather.happened.items())),
            "events_replayed": letters,
            "max_rss_mb": round(weather.most_memory / 2**20, 1),
            "ack_p50_ms": round(acks[len(acks) // 2] * 1e3, 2),
            "ack_p99_ms": round(acks[int(len(acks) * 0.99)] * 1e3, 2),
        }


def main() -> None:
    """Soak, and print the figures as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=60)
    options.add_argument("--clients", type=int, default=6)
    options.add_argument("--pause", type=float, default=0.03, help="seconds between the requests of a client")
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options.add_argument("--output", type=Path, help="a file for the figures")
    given = options.parse_args()
    if find_influxd() is None:
        sys.exit("no influxd here: `make influxd` builds one")
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    print(f"seed {given.seed}, in {folder}", flush=True)
    figures = soak(given.minutes, given.seed, given.clients, given.pause, folder)
    shutil.rmtree(folder)  # after a failure it stays, to be looked into
    text = json.dumps(figures, indent=2)
    print(text)
    if given.output is not None:
        given.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
