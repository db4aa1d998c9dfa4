"""A real Chromium for tests, spoken to by its DevTools protocol: what a page shows, says in its console, and asks of whom."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from websockets.sync.client import ClientConnection, connect

from tests.loopback import START_SECONDS, wait_for

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """The browser to test with, or None where there is none."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Browser:
    """A browser without a window, on a profile that is thrown away; it reaches no host but 127.0.0.1.

    Raises:
        FileNotFoundError: there is none.
        AssertionError: on entering, when it does not come up.
    """

    def __init__(self) -> None:
        found = find_chromium()
        if found is None:
            raise FileNotFoundError("no Chromium: install it (Debian: chromium)")
        self._program = found
        self._address = ""

    def __enter__(self) -> Browser:
        self._folder = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        self._log = Path(self._folder.name) / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    self._program,
                    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                    *("--no-first-run", "--disable-background-networking", "--disable-extensions"),
                    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                    *("--remote-debugging-port=0", f"--user-data-dir={self._folder.name}/profile"),
                    "about:blank",
                ],
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        wait_for(
            self._listens, what="it listens", seconds=START_SECONDS, process=self._process, log=self._log
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def open(self, url: str) -> Page:
        """A page of its own at ``url``."""
        asked = urllib.request.Request(
            f"http://{self._address}/json/new?{quote('about:blank')}", method="PUT"
        )
        with urllib.request.urlopen(asked, timeout=30) as answer:
            target = json.load(answer)
        return Page(target["webSocketDebuggerUrl"], url)

    def _listens(self) -> bool:
        found = re.search(r"DevTools listening on ws://([^/]+)/", self._log.read_text(errors="replace"))
        self._address = found[1] if found else ""
        return found is not None


class Page:
    """A page; ``asked`` are the URLs that it asked for, ``complaints`` what its console says that is no mere note."""

    def __init__(self, address: str, url: str) -> None:
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self._numbers = itertools.count(1)
        self._ends = ExitStack()
        self._line: ClientConnection = self._ends.enter_context(connect(address, max_size=None))
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")
        self._call("Page.navigate", url=url)

    def __enter__(self) -> Page:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()

    def value(self, script: str) -> Any:
        """What ``script``, an expression, is in the page; JSON values alone."""
        said = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def wait_until(self, script: str, *, seconds: float = 60.0) -> None:
        """Wait until ``script`` is true in the page."""
        deadline = time.monotonic() + seconds
        while not self.value(f"Boolean({script})"):
            assert time.monotonic() < deadline, (
                script,
                self.complaints,
                self.value("document.body?.innerText"),
            )
            time.sleep(0.05)

    def click(self, selector: str) -> None:
        """Click on the first element of ``selector``, once it is there."""
        self.wait_until(f"document.querySelector({json.dumps(selector)})")
        self.value(f"document.querySelector({json.dumps(selector)}).click()")

    def type(self, selector: str, text: str) -> None:
        """Put ``text`` into a field, as somebody who types does."""
        self.wait_until(f"document.querySelector({json.dumps(selector)})")
        self.value(f"document.querySelector({json.dumps(selector)}).focus()")
        self._call("Input.insertText", text=text)

    def text(self, selector: str) -> str:
        """What the first element of ``selector`` shows, once it is there."""
        self.wait_until(f"document.querySelector({json.dumps(selector)})")
        return str(self.value(f"document.querySelector({json.dumps(selector)}).innerText"))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._line.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            said = json.loads(self._line.recv(timeout=60))
            if said.get("id") == number:
                assert "error" not in said, said
                found: dict[str, Any] = said["result"]
                return found
            self._hear(said.get("method"), said.get("params", {}))

    def _hear(self, method: str | None, told: dict[str, Any]) -> None:
        match method:
            case "Network.requestWillBeSent":
                self.asked.append(told["request"]["url"])
            case "Network.webSocketCreated":
                self.asked.append(told["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(told["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "warning", "assert"):
                self.complaints.append(json.dumps(told["args"]))
            case "Log.entryAdded" if told["entry"]["level"] in ("error", "warning"):
                self.complaints.append(json.dumps(told["entry"]))
