"""A disk that is full, as far as one process can tell."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from tests.faults.rig import Rig


@contextmanager
def no_room(rig: Rig) -> Iterator[None]:
    """No file of the process can grow beyond a few kB, nor be written there: its writes fail, as they do on a disk that is full."""
    process = psutil.Process(rig.process.pid)
    before = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (4_096, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            process.rlimit(psutil.RLIMIT_FSIZE, before)
