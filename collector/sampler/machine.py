"""The machine as a whole: processor, memory, disks and network, as the value of a ``host`` event."""

from __future__ import annotations

import socket
from typing import Any

import psutil

_UNREAL = frozenset({"squashfs", "iso9660", "tmpfs", "devtmpfs", "overlay"})


class Machine:
    """Samples this machine; byte counts are those since the sample before, and so are missing from the first."""

    def __init__(self) -> None:
        self.host = socket.gethostname()[:100]
        self._process = psutil.Process()
        self._process.cpu_percent()
        psutil.cpu_percent(percpu=True)
        self._glanced = _busy_and_total()
        self._disk_before: tuple[int, int] | None = None
        self._network_before: dict[str, tuple[int, int]] = {}
        self._disk_bytes()
        self._interfaces()

    def glance(self) -> float:
        """Use of all cores (percent) since the last glance: a fraction of what a sample costs."""
        busy, total = _busy_and_total()
        was_busy, was_total = self._glanced
        self._glanced = busy, total
        return 100.0 * (busy - was_busy) / (total - was_total) if total > was_total else 0.0

    def sample(self, *, disks: bool = True) -> dict[str, Any]:
        """The value of a ``host`` event; ``disks`` says whether file systems are asked, too."""
        cores = psutil.cpu_percent(percpu=True)
        memory = psutil.virtual_memory()
        swap = psutil.swap_memory()
        load_1, load_5, load_15 = psutil.getloadavg()
        value: dict[str, Any] = {
            "host": self.host,
            "cpu_percent": round(sum(cores) / len(cores), 2) if cores else 0.0,
            "cores": cores,
            "memory_total": memory.total,
            "memory_available": memory.available,
            "memory_percent": memory.percent,
            "swap_total": swap.total,
            "swap_percent": swap.percent,
            "load_1": load_1,
            "load_5": load_5,
            "load_15": load_15,
            "process_memory": self._process.memory_info().rss,
            "process_cpu_percent": self._process.cpu_percent(),
            "interfaces": self._interfaces(),
        }
        if disks:
            value["disks"] = self._disks()
        read_written = self._disk_bytes()
        if read_written is not None:
            value["disk_read_bytes"], value["disk_written_bytes"] = read_written
        return value

    def _disks(self) -> list[dict[str, Any]]:
        disks: dict[str, dict[str, Any]] = {}
        for partition in psutil.disk_partitions(all=False):
            # A device mounted in many places is one disk; containers bind files of it, too.
            if partition.fstype in _UNREAL or partition.device in disks:
                continue
            try:
                usage = psutil.disk_usage(partition.mountpoint)
            except OSError:  # mounted by another user, or gone
                continue
            disks[partition.device] = {
                "mount": partition.mountpoint[:100],
                "total": usage.total,
                "used": usage.used,
                "percent": usage.percent,
            }
        if not disks:
            # A container shows only what is bound into it; its root tells of the disk beneath.
            usage = psutil.disk_usage("/")
            disks["/"] = {"mount": "/", "total": usage.total, "used": usage.used, "percent": usage.percent}
        return list(disks.values())

    def _interfaces(self) -> list[dict[str, Any]]:
        found = []
        for name, counted in psutil.net_io_counters(pernic=True).items():
            before = self._network_before.get(name)
            self._network_before[name] = (counted.bytes_sent, counted.bytes_recv)
            if before is not None:
                found.append(
                    {
                        "name": name[:100],
                        "sent_bytes": max(counted.bytes_sent - before[0], 0),
                        "received_bytes": max(counted.bytes_recv - before[1], 0),
                    }
                )
        return found

    def _disk_bytes(self) -> tuple[int, int] | None:
        counted = psutil.disk_io_counters()
        if counted is None:
            return None
        before, self._disk_before = self._disk_before, (counted.read_bytes, counted.write_bytes)
        if before is None:
            return None
        return max(counted.read_bytes - before[0], 0), max(counted.write_bytes - before[1], 0)


def _busy_and_total() -> tuple[float, float]:
    """Seconds that all cores were busy, and seconds in all."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # guest time is part of user time already: https://docs.kernel.org/filesystems/proc.html, "stat"
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total - idle, total
