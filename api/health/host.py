"""The machine that the API runs on."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class HostFigures:
    """Usages in percent (0–100), sizes in MiB; ``load_1`` None where the system has no load average."""

    cpu_percent: float
    cores: int
    memory_total_mb: float
    memory_available_mb: float
    memory_percent: float
    swap_percent: float
    disk_percent: float
    disk_free_mb: float
    load_1: float | None
    process_memory_mb: float


class HostReader:
    """Reads the machine at most once a second, since the use of the processor is that between two readings.

    It keeps its own last reading: ``psutil.cpu_percent`` has one for the whole process, which the sampler uses.
    """

    def __init__(self, data_dir: Path) -> None:
        self._disk = next(
            path for path in (data_dir.absolute(), *data_dir.absolute().parents) if path.exists()
        )
        self._process = psutil.Process()
        self._cpu = _cpu_seconds()
        self._read_at = 0.0
        self._lock = threading.Lock()
        self._figures: HostFigures | None = None

    def read(self) -> HostFigures:
        """The figures now; blocks for a moment (file systems are asked)."""
        with self._lock:
            now = time.monotonic()
            if self._figures is None or now - self._read_at >= 1.0:
                self._figures, self._read_at = self._fresh(), now
            return self._figures

    def _fresh(self) -> HostFigures:
        busy, total = _cpu_seconds()
        was_busy, was_total = self._cpu
        self._cpu = busy, total
        memory = psutil.virtual_memory()
        disk = psutil.disk_usage(str(self._disk))
        return HostFigures(
            cpu_percent=min(100.0, 100.0 * (busy - was_busy) / (total - was_total))
            if total > was_total
            else 0.0,
            cores=psutil.cpu_count() or 1,
            memory_total_mb=memory.total / MIB,
            memory_available_mb=memory.available / MIB,
            memory_percent=memory.percent,
            swap_percent=psutil.swap_memory().percent,
            disk_percent=disk.percent,
            disk_free_mb=disk.free / MIB,
            load_1=psutil.getloadavg()[0] if hasattr(psutil, "getloadavg") else None,
            process_memory_mb=self._process.memory_info().rss / MIB,
        )


def _cpu_seconds() -> tuple[float, float]:
    """Seconds that all cores were busy, and seconds in all."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # guest time is part of user time already: https://docs.kernel.org/filesystems/proc.html, "stat"
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total - idle, total
