"""Reading the machine: processors, memory, file systems, interfaces, and what uses them."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass

import psutil

from scrapewatch.time import now_ns

UNREAL = frozenset({"squashfs", "iso9660", "tmpfs", "devtmpfs", "overlay"})
"""File systems that are full by nature, or show another's space."""
READ_EVERY = 5.0
"""Seconds between readings in the background, so that rates are those of the last seconds and who asks waits for none."""
LATELY = 60.0
"""Seconds over which the use of the processors says that they are short, and not that something just ran."""
LOOK_SECONDS = 0.2
"""How long processes are watched for what they use."""
TOP_PROCESSES = 10
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Partition:
    """A mounted file system; sizes in bytes. ``percent`` is of what its users may have, as ``df`` has it."""

    mount: str
    device: str
    kind: str
    total: int
    used: int
    free: int
    percent: float


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface: bytes and errors since the machine started, and bytes per second lately."""

    name: str
    up: bool | None
    sent: int
    received: int
    sent_per_second: float
    received_per_second: float
    errors: int


@dataclass(frozen=True, slots=True)
class DiskRates:
    """What a disk, or all together, read and wrote per second lately: bytes, and operations."""

    name: str
    read_per_second: float
    written_per_second: float
    reads_per_second: float
    writes_per_second: float


@dataclass(frozen=True, slots=True)
class Processors:
    """Use of the processors in percent (0–100) since the reading before: of all, of each, and by what; ``lately`` over a minute."""

    percent: float
    lately: float
    cores: list[float]
    user: float
    system: float
    waiting: float


@dataclass(frozen=True, slots=True)
class MachineReading:
    """The machine at ``at`` (ns); sizes in bytes, usages in percent (0–100). ``load`` is None where the system has none."""

    at: int
    host: str
    booted_at: int
    processors: Processors
    load: tuple[float, float, float] | None
    memory_total: int
    memory_available: int
    memory_percent: float
    swap_total: int
    swap_used: int
    swap_percent: float
    partitions: list[Partition]
    interfaces: list[Interface]
    disk: DiskRates | None
    disks: list[DiskRates]

    @property
    def sent_per_second(self) -> float:
        """Bytes per second sent over all interfaces but the loopback."""
        return sum(each.sent_per_second for each in self.interfaces if not _is_loopback(each.name))

    @property
    def received_per_second(self) -> float:
        """Bytes per second received over all interfaces but the loopback."""
        return sum(each.received_per_second for each in self.interfaces if not _is_loopback(each.name))


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """A process: use of one core in percent, resident memory in bytes; what may not be known is None."""

    pid: int
    name: str
    cpu_percent: float
    memory: int
    threads: int | None
    started_at: int


class MachineReader:
    """Reads the machine; what is used is that since the reading before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cores = _core_times()
        self._busy: deque[tuple[float, float, float]] = deque([(time.monotonic(), *_busy(self._cores))])
        self._network = psutil.net_io_counters(pernic=True)
        self._disks = _disk_counters()
        self._since = time.monotonic()
        self._latest: MachineReading | None = None

    @property
    def latest(self) -> MachineReading | None:
        """What was read last."""
        return self._latest

    async def run(self) -> None:
        """Read again and again until cancelled."""
        while True:
            await asyncio.to_thread(self.read)
            await asyncio.sleep(READ_EVERY)

    def read(self, *, older: float = 1.0) -> MachineReading:
        """The machine now, or as it was read up to ``older`` seconds ago; blocks for a moment (file systems are asked)."""
        with self._lock:
            if self._latest is None or time.monotonic() - self._since >= older:
                self._latest = self._fresh()
            return self._latest

    def _fresh(self) -> MachineReading:
        now = time.monotonic()
        seconds = max(now - self._since, 1e-3)
        self._since = now
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        disks = self._disk_rates(seconds)
        return MachineReading(
            at=now_ns(),
            host=socket.gethostname()[:100],  # as samples have it
            booted_at=round(psutil.boot_time() * 1e9),
            processors=self._processors(),
            load=psutil.getloadavg() if hasattr(psutil, "getloadavg") else None,
            memory_total=memory.total,
            memory_available=memory.available,
            memory_percent=memory.percent,
            swap_total=swap.total,
            swap_used=swap.used,
            swap_percent=swap.percent,
            partitions=partitions(),
            interfaces=self._interfaces(seconds),
            disk=disks.pop("", None),
            disks=[disks[name] for name in sorted(disks)],
        )

    def _processors(self) -> Processors:
        before, self._cores = self._cores, _core_times()
        cores, sums = [], [0.0] * 5
        for core, was in zip(self._cores, before, strict=False):
            spent = [max(part - old, 0.0) for part, old in zip(core, was, strict=True)]
            cores.append(_percent(spent[0] - spent[4], spent[0]))
            sums = [total + part for total, part in zip(sums, spent, strict=True)]
        total, user, system, waiting, idle = sums
        now = time.monotonic()
        self._busy.append((now, *_busy(self._cores)))
        while now - self._busy[1][0] >= LATELY:
            self._busy.popleft()
        (_, was_busy, was_total), (_, is_busy, is_total) = self._busy[0], self._busy[-1]
        return Processors(
            percent=_percent(total - idle, total),
            lately=_percent(is_busy - was_busy, is_total - was_total),
            cores=cores,
            user=_percent(user, total),
            system=_percent(system, total),
            waiting=_percent(waiting, total),
        )

    def _interfaces(self, seconds: float) -> list[Interface]:
        before, self._network = self._network, psutil.net_io_counters(pernic=True)
        states = psutil.net_if_stats()
        found = []
        for name, counted in sorted(self._network.items()):
            was = before.get(name, counted)
            found.append(
                Interface(
                    name=name,
                    up=states[name].isup if name in states else None,
                    sent=counted.bytes_sent,
                    received=counted.bytes_recv,
                    sent_per_second=max(counted.bytes_sent - was.bytes_sent, 0) / seconds,
                    received_per_second=max(counted.bytes_recv - was.bytes_recv, 0) / seconds,
                    errors=counted.errin + counted.errout,
                )
            )
        return found

    def _disk_rates(self, seconds: float) -> dict[str, DiskRates]:
        """By name of the disk, all together under the empty name; nothing where the system does not count."""
        before, self._disks = self._disks, _disk_counters()
        rates = {}
        for name, counted in self._disks.items():
            was = before.get(name, counted)
            read, written, reads, writes = (
                max(count - old, 0) / seconds for count, old in zip(counted, was, strict=True)
            )
            rates[name] = DiskRates(name, read, written, reads, writes)
        return rates


def partitions() -> list[Partition]:
    """The file systems that hold data, each device once, by where it is mounted."""
    devices: dict[str, Partition] = {}
    for mounted in psutil.disk_partitions(all=False):
        # A device mounted in many places is one disk; containers bind files of it, too.
        if mounted.fstype in UNREAL or mounted.device in devices:
            continue
        found = _partition(mounted.mountpoint, mounted.device, mounted.fstype)
        if found is not None:
            devices[mounted.device] = found
    if not devices:
        # A container shows only what is bound into it; its root tells of the disk beneath.
        root = _partition("/", "", "")
        return [] if root is None else [root]
    return sorted(devices.values(), key=lambda each: each.mount)


def _partition(mount: str, device: str, kind: str) -> Partition | None:
    try:
        usage = psutil.disk_usage(mount)
    except OSError:  # mounted by another user, or gone
        return None
    return Partition(mount, device, kind, usage.total, usage.used, usage.free, usage.percent)


def top_processes(count: int = TOP_PROCESSES, seconds: float = LOOK_SECONDS) -> list[ProcessUse]:
    """The processes that use most of the processors within ``seconds``, and those that use most memory; blocks for so long."""
    began = time.monotonic()
    before = _process_times()
    time.sleep(seconds)
    used = {pid: spent - before.get(pid, spent) for pid, spent in _process_times().items()}
    passed = time.monotonic() - began
    resident = _process_memory(used)
    busiest = sorted(used, key=lambda pid: -used[pid])[:count]
    largest = sorted(resident, key=lambda pid: -resident[pid])[:count]
    found = []
    for pid in dict.fromkeys([*busiest, *largest]):
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                found.append(
                    ProcessUse(
                        pid=pid,
                        name=process.name()[:_LONGEST_NAME],
                        cpu_percent=100.0 * used[pid] / passed,
                        memory=resident.get(pid, 0),
                        threads=_threads(process),
                        started_at=round(process.create_time() * 1e9),
                    )
                )
        except psutil.Error:  # it ended meanwhile, or is hidden
            continue
    return sorted(found, key=lambda each: (-each.cpu_percent, -each.memory))


def _threads(process: psutil.Process) -> int | None:
    try:
        return process.num_threads()
    except psutil.Error:
        return None


def _process_times() -> dict[int, float]:
    """Seconds that each process has used, of those that may be seen."""
    times = {}
    for process in psutil.process_iter(["cpu_times"]):
        spent = process.info["cpu_times"]
        if spent is not None:
            times[process.pid] = spent.user + spent.system
    return times


def _process_memory(pids: dict[int, float]) -> dict[int, int]:
    return {
        process.pid: process.info["memory_info"].rss
        for process in psutil.process_iter(["memory_info"])
        if process.pid in pids and process.info["memory_info"] is not None
    }


def _core_times() -> list[tuple[float, float, float, float, float]]:
    """Of each core the seconds in all, for programs, for the system, waiting for disks, and idle (the waiting included)."""
    cores = []
    for times in psutil.cpu_times(percpu=True):
        # guest time is part of user time already: https://docs.kernel.org/filesystems/proc.html, "stat"
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        waiting = getattr(times, "iowait", 0.0)
        cores.append(
            (
                total,
                times.user + getattr(times, "nice", 0.0),
                times.system,
                waiting,
                times.idle + waiting,
            )
        )
    return cores


def _busy(cores: list[tuple[float, float, float, float, float]]) -> tuple[float, float]:
    """Seconds that all cores together were busy, and seconds in all."""
    total = sum(core[0] for core in cores)
    return total - sum(core[4] for core in cores), total


def _disk_counters() -> dict[str, tuple[int, int, int, int]]:
    whole = psutil.disk_io_counters()
    if whole is None:
        return {}
    each = psutil.disk_io_counters(perdisk=True)
    return {
        name: (counted.read_bytes, counted.write_bytes, counted.read_count, counted.write_count)
        for name, counted in {"": whole, **each}.items()
    }


def _percent(part: float, whole: float) -> float:
    return round(min(max(100.0 * part / whole, 0.0), 100.0), 2) if whole > 0 else 0.0


def _is_loopback(name: str) -> bool:
    return name == "lo" or name.startswith(("lo0", "Loopback"))
