"""A real InfluxDB 2 for tests: one process of its own, on loopback, on data that is thrown away.

Where the binary comes from: `tools/influxd/build.sh`.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

from tests.loopback import START_SECONDS, free_port, wait_for

STOP_SECONDS = 20.0
_TOKEN = "operator.token"

_GO_MOD = Path(__file__).parents[1] / "tools" / "influxd" / "go.mod"


def find_influxd() -> Path | None:
    """The influxd to test with, or None where there is none.

    What `INFLUXD` names, else what `tools/influxd/build.sh` built, else the first on PATH.

    Raises:
        FileNotFoundError: `INFLUXD` is set, but not to a program.
    """
    if named := os.environ.get("INFLUXD"):
        if found := shutil.which(named):
            return Path(found).absolute()
        raise FileNotFoundError(f"INFLUXD={named} is not a program that can be run")
    built = _build_cache() / "influxd"
    if os.access(built, os.X_OK):
        return built
    on_path = shutil.which("influxd")
    return Path(on_path).absolute() if on_path else None


def _build_cache() -> Path:
    """The folder that `tools/influxd/build.sh` keeps its binary in; both read the version from go.mod."""
    version = re.search(r"^\s*github\.com/influxdata/influxdb/v2 v(\S+)", _GO_MOD.read_text(), re.MULTILINE)
    if version is None:
        raise RuntimeError(f"{_GO_MOD} names no version of influxdb")
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "scrapewatch" / f"influxd-{version[1]}"


class Influxd:
    """A running InfluxDB with one organisation, one bucket (`setup`) and an operator token.

    Entering starts it and sets it up; leaving stops it and deletes its data. In between it may be killed,
    stopped and restarted: url, token and data stay. With ``kept`` it starts on a copy of what :meth:`keep` left in that folder.

    Raises:
        FileNotFoundError: no binary was given, and none found.
        AssertionError: on entering or restarting, when it does not come up.
    """

    org = "scrapewatch"
    bucket = "setup"

    def __init__(self, binary: Path | None = None, *, kept: Path | None = None) -> None:
        binary = binary or find_influxd()
        if binary is None:
            raise FileNotFoundError("no influxd: run `bash tools/influxd/build.sh`, or set INFLUXD")
        self.binary = binary
        self.url = ""
        self.token = ""
        self._kept = kept
        self._data: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Influxd:
        self._data = tempfile.TemporaryDirectory(prefix="influxd-", ignore_cleanup_errors=True)
        self.url = f"http://127.0.0.1:{free_port()}"
        try:
            if self._kept is not None:
                shutil.copytree(self._kept, self._folder, dirs_exist_ok=True)
                self.token = (self._folder / _TOKEN).read_text()
                self._start()
            else:
                self._start()
                self._set_up()
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._discard()

    @property
    def pid(self) -> int:
        """The process id of the running server.

        Raises:
            RuntimeError: it is not running.
        """
        if self._process is None:
            raise RuntimeError("influxd is not running")
        return self._process.pid

    @property
    def log(self) -> Path:
        """Its log, through all restarts."""
        return self._folder / "influxd.log"

    @property
    def _folder(self) -> Path:
        if self._data is None:
            raise RuntimeError("influxd has its data, log and port only inside its `with` block")
        return Path(self._data.name)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Ask it to end, kill it after 20 s, and wait until it is gone. Does nothing if it is not running."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def restart(self) -> None:
        """Start it again on the same data and port; if it still runs, stop it first."""
        self.stop()
        self._start()

    def keep(self, folder: Path) -> None:
        """Stop it, and leave a copy of its data in ``folder``, which must not be there yet."""
        self.stop()
        (self._folder / _TOKEN).write_text(self.token)
        shutil.copytree(self._folder, folder)

    def delete_org(self, org: str) -> None:
        """Delete an organisation that a test made, with its buckets: others share the server."""
        headers = {"Authorization": f"Token {self.token}"}
        asked = urllib.request.Request(f"{self.url}/api/v2/orgs?org={org}", headers=headers)
        with _loopback.open(asked, timeout=60) as answer:
            (found,) = json.load(answer)["orgs"]
        asked = urllib.request.Request(
            f"{self.url}/api/v2/orgs/{found['id']}", headers=headers, method="DELETE"
        )
        _loopback.open(asked, timeout=60).close()

    def _start(self) -> None:
        # Its settings come from these flags alone, not from INFLUXD_* variables or a file that lies about.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("INFLUXD_")}
        environment["HOME"] = str(self._folder)
        command = [
            str(self.binary),
            "run",
            f"--http-bind-address={self.url.removeprefix('http://')}",
            f"--bolt-path={self._folder / 'influxd.bolt'}",
            f"--sqlite-path={self._folder / 'influxd.sqlite'}",
            f"--engine-path={self._folder / 'engine'}",
            "--reporting-disabled",
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the tests only, and they decide when it ends
            )
        wait_for(
            self._healthy,
            what="influxd is healthy",
            seconds=START_SECONDS,
            process=self._process,
            log=self.log,
        )

    def _healthy(self) -> bool:
        try:
            with _loopback.open(f"{self.url}/health", timeout=5) as answer:
                return bool(json.load(answer)["status"] == "pass")
        except urllib.error.HTTPError as error:  # 503 while it starts
            error.close()
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            pass
        return False

    def _set_up(self) -> None:
        password = secrets.token_urlsafe(24)
        wanted = {"username": "admin", "password": password, "org": self.org, "bucket": self.bucket}
        request = urllib.request.Request(
            f"{self.url}/api/v2/setup", json.dumps(wanted).encode(), {"Content-Type": "application/json"}
        )
        try:
            with _loopback.open(request, timeout=START_SECONDS) as answer:
                self.token = str(json.load(answer)["auth"]["token"])
        except urllib.error.HTTPError as error:
            with error:
                reason = error.read().decode(errors="replace")
            raise AssertionError(f"influxd refused its set-up with {error.code}: {reason}") from error

    def _discard(self) -> None:
        self.stop()
        if self._data is not None:
            self._data.cleanup()
            self._data = None


# Never by way of a proxy that the environment names.
_loopback = urllib.request.build_opener(urllib.request.ProxyHandler({}))
