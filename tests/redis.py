"""A real Redis on a free port, for as long as a test needs it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from tests.loopback import START_SECONDS, free_port, wait_for


def find_redis() -> Path | None:
    """Where ``redis-server`` is."""
    found = shutil.which("redis-server")
    return Path(found) if found else None


class Redis:
    """A server that keeps nothing; ``url`` is where it listens."""

    def __init__(self) -> None:
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Redis:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        binary = find_redis()
        assert binary is not None
        self._process = subprocess.Popen(
            [binary, "--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            cwd=tempfile.gettempdir(),
            stdout=subprocess.DEVNULL,
        )
        wait_for(
            self._answers,
            what="redis-server takes connections",
            seconds=START_SECONDS,
            every=0.02,
            process=self._process,
        )

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), 1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None
