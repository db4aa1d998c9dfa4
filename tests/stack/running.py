"""A stack in a process of its own, as a user starts it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tests.loopback import START_SECONDS, free_port, wait_for


class Up:
    """``scrapewatch up`` (or another ``command``) on ``folder`` until the block ends; ``wrapper`` is a command that runs it."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        *,
        command: tuple[str, ...] = ("up",),
        wrapper: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = command
        self._wrapper = wrapper
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SCRAPEWATCH_")},
            "SCRAPEWATCH_DATA_DIR": str(folder / "data"),
            "SCRAPEWATCH_PORT": str(self.port),
            "SCRAPEWATCH_SAMPLER": "false",
            "SCRAPEWATCH_FLUSH_INTERVAL": "0.1",
            **(environment or {}),
        }
        self.log = folder / "up.log"
        self.headers: dict[str, str] = {}
        """Sent with each request, such as a key."""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Up:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch()
        wait_for(self.answers, what="it answers", seconds=START_SECONDS, process=self._process, log=self.log)

    def launch(self) -> None:
        """Start it, and do not wait."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._wrapper, sys.executable, "-m", "scrapewatch.command", *self._command],
                env=self._environment,
                cwd=Path(__file__).parents[2],
                stdout=log,
                stderr=log,
            )

    def answers(self) -> bool:
        """Whether it answers."""
        try:
            self.get("/healthz")
        except (OSError, http.client.HTTPException):
            return False
        return True

    def kill(self) -> None:
        """``kill -9``."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """End it as Ctrl-C does; its exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        return self._process.wait(60)

    def get(self, path: str) -> Any:
        """What ``path`` answers, as JSON where it is."""
        asked = urllib.request.Request(self.url + path, headers=self.headers)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            body = answer.read()
            return json.loads(body) if "json" in answer.headers["Content-Type"] else body.decode()

    def metric(self, name: str) -> float:
        """A metric of /metrics."""
        for line in self.get("/metrics").splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        raise AssertionError(f"no metric {name}")

    def drain(self) -> None:
        """Wait until both stores have everything."""
        wait_for(
            lambda: not self.metric("scrapewatch_events_spooled"),
            what="both stores have everything",
            seconds=120,
            log=self.log,
        )

    def sessions(self) -> list[dict[str, Any]]:
        """All sessions."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = self.get(f"/api/v1/monitoring/sessions?limit=200{cursor}")
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={page['next_cursor']}"

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``scrapewatch`` with ``arguments`` beside it."""
        return subprocess.run(
            [sys.executable, "-m", "scrapewatch.command", *arguments],
            env=self._environment,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def begin(self, *arguments: str, output: IO[bytes] | int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Begin ``scrapewatch`` with ``arguments`` beside it; what it says goes to ``output``."""
        return subprocess.Popen(
            [sys.executable, "-m", "scrapewatch.command", *arguments],
            env=self._environment,
            cwd=Path(__file__).parents[2],
            stdout=output,
            stderr=output,
        )
