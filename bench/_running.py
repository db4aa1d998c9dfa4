"""The processes that are measured, each with what it costs: processor time and resident memory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

import psutil

from scrapewatch.settings import BARE, PREFIX
from tests.loopback import START_SECONDS, free_port, wait_for

ROOT: Final = Path(__file__).parents[1]


class Served:
    """A server in a process of its own, from when it answers ``probe`` until the block ends."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        *,
        port: int | None = None,
        probe: str = "/healthz",
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "log"
        self._command = command
        self._probe = probe
        # Nothing of the surroundings: settings are the defaults.
        self._environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(PREFIX) and name.removesuffix("_FILE") not in BARE
            },
            **(environment or {}),
        }

    def __enter__(self) -> Served:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
        try:
            wait_for(
                self._answers,
                what=f"{self._command[0]} answers",
                seconds=START_SECONDS,
                process=self._process,
                log=self.log,
            )
        except BaseException:
            self._process.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def tail(self) -> str:
        """The end of what it said."""
        return self.log.read_text(errors="replace")[-2_000:]

    def _answers(self) -> bool:
        try:
            fetch(self.url + self._probe)
        except urllib.error.HTTPError as error:
            error.close()  # it does answer
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return True


def ours(
    folder: Path,
    environment: Mapping[str, str],
    *,
    part: str = "collector",
    module: str = "scrapewatch.command",
) -> Served:
    """``scrapewatch collector`` (or another ``part``) with SQLite records in ``folder`` and default settings but for the sampler."""
    port = free_port()
    return Served(
        [sys.executable, "-m", module, part],
        folder,
        {
            "SCRAPEWATCH_DATA_DIR": str(folder / "data"),
            "SCRAPEWATCH_DATABASE_URL": f"sqlite:///{folder / 'records.sqlite'}",
            "SCRAPEWATCH_PORT": str(port),
            "SCRAPEWATCH_SAMPLER": "false",
            **environment,
        },
        port=port,
    )


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(
    url: str, *, token: str | None = None, body: bytes | None = None, kind: str = "application/json"
) -> str:
    """What ``url`` answers, as text; a POST where there is a body."""
    headers = {"Authorization": f"Token {token}"} if token else {}
    if body is not None:
        headers["Content-Type"] = kind
    with _direct.open(urllib.request.Request(url, body, headers), timeout=300) as answer:
        return str(answer.read().decode())


def metric(text: str, name: str, label: str = "") -> float:
    """The sum of a metric's values in Prometheus' text, over the series whose labels contain ``label``."""
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith((f"{name} ", f"{name}{{")) and label in line
    )


class Cost:
    """What a process and those that it started take: processor time since now, and the highest resident memory seen meanwhile."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._began = self._cpu()
        self._peak = 0

    def _all(self) -> Iterator[psutil.Process]:
        yield self._process
        yield from self._process.children(recursive=True)

    def _cpu(self) -> float:
        return sum(used.user + used.system for used in (process.cpu_times() for process in self._all()))

    def look(self) -> int:
        """Resident memory now, in bytes."""
        now = sum(process.memory_info().rss for process in self._all())
        self._peak = max(self._peak, now)
        return now

    @property
    def cpu(self) -> float:
        """Seconds of processor time so far."""
        return self._cpu() - self._began

    @property
    def rss_mb(self) -> float:
        """Highest resident memory seen so far, MiB."""
        return round(self._peak / 2**20, 1)


@contextlib.contextmanager
def watching(*costs: Cost) -> Iterator[None]:
    """Look at ``costs`` ten times a second for the length of the block."""
    ended = threading.Event()

    def watch() -> None:
        while True:
            for cost in costs:
                cost.look()
            if ended.wait(0.1):
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def suspended(pids: Sequence[int]) -> Iterator[None]:
    """Let the processes ``pids`` and those they started stand still: what they still have to do is not charged to another's measurement."""
    still = [child.pid for pid in pids for child in psutil.Process(pid).children(recursive=True)] + [*pids]
    for pid in still:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in still:
            os.kill(pid, signal.SIGCONT)
