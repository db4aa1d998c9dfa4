"""A real PostgreSQL for tests: one server of its own, on loopback, on data that is thrown away.

Where it comes from: the system's packages (Debian: `apt-get install postgresql`); nothing that already runs is touched.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

import psycopg

from tests.loopback import START_SECONDS, free_port, wait_for

STOP_SECONDS = 20.0

# Speed instead of durability: the data lives as long as the tests.
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "autovacuum": "off",
}


def find_postgres() -> Path | None:
    """The folder of PostgreSQL's programs, or None where there is none.

    What `POSTGRES_BIN` names, else Debian's newest, else where `initdb` on PATH is.

    Raises:
        FileNotFoundError: `POSTGRES_BIN` is set, but holds no `initdb`.
    """
    if named := os.environ.get("POSTGRES_BIN"):
        if (Path(named) / "initdb").exists():
            return Path(named)
        raise FileNotFoundError(f"POSTGRES_BIN={named} holds no initdb")
    debian = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if debian:
        return max(debian, key=lambda path: float(path.parent.name))
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


class Postgres:
    """A running PostgreSQL. Entering starts it; leaving stops it and deletes its data; in between it may be stopped and restarted.

    With ``kept`` it starts on a copy of what :meth:`keep` left in that folder.

    Raises:
        FileNotFoundError: no programs were given, and none found.
        AssertionError: on entering or restarting, when it does not come up.
    """

    def __init__(self, programs: Path | None = None, *, kept: Path | None = None) -> None:
        programs = programs or find_postgres()
        if programs is None:
            raise FileNotFoundError("no PostgreSQL: install it, or set POSTGRES_BIN")
        self.programs = programs
        self.port = 0
        self._kept = kept
        self._data: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._names = (f"test_{number}" for number in itertools.count())

    def __enter__(self) -> Postgres:
        self._data = tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True)
        self.port = free_port()
        try:
            if self._user is not None:
                shutil.chown(self._folder, self._user)
            self._folder.chmod(0o700)
            if self._kept is None:
                self._initialise()
            else:
                self._copy_kept()
            self._start()
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._discard()

    @property
    def url(self) -> str:
        """URL of its database `postgres`; :meth:`database` makes others."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """URL of ``database``."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def database(self, template: str = "template0") -> str:
        """The URL of a fresh database, a copy of ``template`` (which nobody may be connected to)."""
        name = next(self._names)
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
        return self.url_of(name)

    def drop(self, url: str) -> None:
        """Drop the database at ``url``, whoever is connected to it."""
        name = url.rpartition("/")[2]
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())

    def disconnect(self, url: str) -> None:
        """Break every connection to the database at ``url``."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                [url.rpartition("/")[2]],
            )

    def stop(self) -> None:
        """Stop it at once, breaking its connections. Does nothing if it is not running."""
        if self._process is not None:
            self._process.send_signal(2)  # SIGINT: fast shutdown
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def keep(self, folder: Path) -> None:
        """Stop it, and leave a copy of its data in ``folder``, which must not be there yet."""
        self.stop()
        shutil.copytree(self._folder / "data", folder)

    def restart(self) -> None:
        """Start it again on the same data and port; if it still runs, stop it first."""
        self.stop()
        self._start()

    @property
    def _user(self) -> str | None:
        """PostgreSQL refuses to run as root."""
        if os.geteuid() != 0:
            return None
        for name in ("postgres", "nobody"):
            try:
                return pwd.getpwnam(name).pw_name
            except KeyError:
                continue
        raise AssertionError("PostgreSQL does not run as root, and there is no user postgres or nobody")

    @property
    def _folder(self) -> Path:
        if self._data is None:
            raise RuntimeError("PostgreSQL has its data, log and port only inside its `with` block")
        return Path(self._data.name)

    def _initialise(self) -> None:
        made = subprocess.run(
            [
                self.programs / "initdb",
                f"--pgdata={self._folder / 'data'}",
                *("--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"),
            ],
            capture_output=True,
            text=True,
            cwd="/",
            user=self._user,
            check=False,
        )
        if made.returncode:
            raise AssertionError(f"initdb failed: {made.stderr}")

    def _copy_kept(self) -> None:
        assert self._kept is not None
        copied = shutil.copytree(self._kept, self._folder / "data")
        copied.chmod(0o700)
        if self._user is not None:
            for path in (copied, *copied.rglob("*")):
                shutil.chown(path, self._user)

    def _start(self) -> None:
        log = self._folder / "postgres.log"
        settings = SETTINGS | {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self._folder),
        }
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    self.programs / "postgres",
                    *("-D", self._folder / "data"),
                    *(f"--{name}={value}" for name, value in settings.items()),
                ],
                cwd="/",
                user=self._user,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the tests only, and they decide when it ends
            )
        wait_for(
            self._answers,
            what="PostgreSQL takes connections",
            seconds=START_SECONDS,
            process=self._process,
            log=log,
        )

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _discard(self) -> None:
        self.stop()
        if self._data is not None:
            self._data.cleanup()
            self._data = None
