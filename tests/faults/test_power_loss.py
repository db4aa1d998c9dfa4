"""The power fails right after an acknowledgement: what was acknowledged is on the disk, whatever else is."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.ledger import Request, Writer
from tests.faults.power_loss import (
    Disk,
    Survivors,
    Trace,
    all_but_the_first,
    none,
    some,
    torn,
    tracer,
)
from tests.faults.proxy import Write
from tests.faults.rig import Load, Rig
from tests.influxd import Influxd

IMAGES = int(os.environ.get("FAULTS_POWER_LOSSES", "3"))


@dataclass(frozen=True)
class Run:
    """A run that was traced: who sent what and when, what InfluxDB stored and when."""

    trace: Trace
    sent: dict[str, tuple[float, Request]]
    writes: Sequence[Write]


@pytest.fixture(scope="module")
def run(influxd: Influxd, tmp_path_factory: pytest.TempPathFactory) -> Run:
    if shutil.which("strace") is None:
        pytest.skip("no strace here, so not the power losses: install it (Debian: strace)")
    folder = tmp_path_factory.mktemp("traced")
    trace = folder / "trace"
    with Rig(folder / "rig", influxd, keep=True, wrapper=tracer(trace)) as rig:
        with Load(rig, lambda k: Writer(random.Random(), f"{k}").request, clients=3, pause=0.005):
            time.sleep(4)
        rig.process.kill()
        return Run(Trace(trace, folder / "rig" / "data"), rig.ledger.history(), list(rig.proxy.writes))


def restore(rig: Rig, writes: Sequence[Write], at: float, chance: random.Random) -> None:
    """Make what InfluxDB, on a machine of its own, held then: of a write that was under way nobody knows."""
    for write in writes:
        if write.stored and (write.ended < at or (write.at < at and chance.random() < 0.5)):
            rig.restore(write)


def test_a_sync_of_the_spool_comes_between_each_request_and_its_acknowledgement(run: Run) -> None:
    disk = Disk(run.trace)
    acks = list(disk.play())
    assert len(acks) > 50
    for ack in acks:
        asked = run.sent[ack.key][0]
        synced = [
            sync
            for sync in disk.syncs
            if sync.file.startswith("spool/") and sync.covers > asked and sync.ended < ack.index
        ]
        assert synced, f"request {ack.key} was acknowledged before anything was synced"


def test_what_was_acknowledged_before_the_power_failed_counts_once_whatever_else_is_on_the_disk(
    run: Run, influxd: Influxd, tmp_path: Path
) -> None:
    chance = random.Random()
    count = sum(1 for _ in Disk(run.trace).play())
    moments = [count - 1, *sorted(chance.sample(range(count // 10, count - 1), IMAGES - 1), reverse=True)]
    fates: list[Survivors] = [none, torn(chance), all_but_the_first, some(chance)]
    for k, moment in enumerate(moments):
        disk = Disk(run.trace)
        *_, last = (ack for place, ack in zip(range(moment + 1), disk.play(), strict=False))
        folder = tmp_path / f"{k}"
        disk.image(folder / "data", fates[k % len(fates)])
        rig = Rig(folder, influxd)
        restore(rig, run.writes, last.at, chance)
        with rig:
            for asked, request in run.sent.values():
                if asked < last.at:
                    rig.ledger.send(request)
            for ack in disk.acks:
                rig.ledger.ack(run.sent[ack.key][1])
            # Clients that heard nothing send again; those that were told that it is durable do not.
            rig.must_be_exact()
