"""The sampler: what the machine and the process use, as ``host`` events that take the way of all others."""

from __future__ import annotations

import socket
from typing import Any

import psutil

_UNREAL = frozenset({"squashfs", "iso9660", "tmpfs", "devtmpfs", "overlay"})


class Sampler:
    """Samples this machine; byte counts are those since the sample before, and so are missing from the first."""

    def __init__(self) -> None:
        self._host = socket.gethostname()
        self._process = psutil.Process()
        self._process.cpu_percent()
        psutil.cpu_percent(percpu=True)
        self._disk_before: tuple[int, int] | None = None
        self._network_before: dict[str, tuple[int, int]] = {}
        self._disk_bytes()
        self._interfaces()

    def sample(self) -> dict[str, Any]:
        """One ``host`` event."""
        cores = psutil.cpu_percent(percpu=True)
        memory = psutil.virtual_memory()
        swap = psutil.swap_memory()
        load_1, load_5, load_15 = psutil.getloadavg()
        value: dict[str, Any] = {
            "host": self._host,
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
            "disks": self._disks(),
            "interfaces": self._interfaces(),
        }
        read_written = self._disk_bytes()
        if read_written is not None:
            value["disk_read_bytes"], value["disk_written_bytes"] = read_written
        return {"metric": "host", "value": value}

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
