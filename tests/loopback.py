"""Servers of the tests on this machine: a port for each, and the wait until it answers."""

from __future__ import annotations

import random
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

START_SECONDS: Final = 90.0
"""A start takes a second or two; the rest is for machines that are busy with something else."""

_LOG_TAIL: Final = 4_000

# Below the ports that systems hand to outgoing connections (Linux: from 32768), one of which could otherwise
# take one between a kill and a restart.
_PORTS: Final = range(20_000, 32_000)


def free_port() -> int:
    """A port that is free now.

    Raises:
        AssertionError: a hundred of them are all taken.
    """
    # Not the global generator: property tests seed it, and every process would then try the same ports.
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"100 ports between {_PORTS.start} and {_PORTS.stop} are all taken")


def wait_for(
    done: Callable[[], bool],
    *,
    what: str,
    seconds: float = 60.0,
    every: float = 0.05,
    process: subprocess.Popen[Any] | None = None,
    log: Path | None = None,
) -> None:
    """Wait until ``done``.

    Args:
        done: asked every so often.
        what: is waited for, as a sentence.
        seconds: how long.
        every: so many seconds it is asked.
        process: whose end is the end of the wait.
        log: whose tail tells what went wrong.

    Raises:
        AssertionError: it did not come.
    """
    deadline = time.monotonic() + seconds
    while not done():
        if process is not None and (code := process.poll()) is not None:
            raise AssertionError(f"ended with code {code} before {what}. {_tail(log)}")
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}. {_tail(log)}")
        time.sleep(every)


def _tail(log: Path | None) -> str:
    return "" if log is None else f"The end of {log}:\n{log.read_text(errors='replace')[-_LOG_TAIL:]}"
