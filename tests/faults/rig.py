"""A real collector process on a real InfluxDB behind the proxy, with records in SQLite."""

from __future__ import annotations

import csv
import http.client
import io
import json
import signal
import sqlite3
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from influx.bootstrap import bootstrap
from tests.faults.ledger import Counts, Ledger, Request, by_site, difference
from tests.faults.proxy import FaultProxy, Write
from tests.influxd import Influxd
from tests.loopback import wait_for
from tests.stack.running import Up

PATH = "/api/v1/monitoring/metrics"

# What breaks when the other side dies or stops in the middle of an answer.
BROKEN = (OSError, http.client.HTTPException)


class Process(Up):
    """The product in a process of its own, which may be told to end, and asked how it is."""

    @property
    def pid(self) -> int:
        """Of the product's process, also under a wrapper."""
        assert self._process is not None
        if self._wrapper:
            return int(psutil.Process(self._process.pid).children()[0].pid)
        return self._process.pid

    def kill(self) -> None:
        """``kill -9``; a wrapper ends with what it wraps."""
        if self._process is not None and self._wrapper:
            psutil.Process(self.pid).kill()
            self._process.wait(60)
        else:
            super().kill()

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def forwarding(self) -> psutil.Process:
        """The process of its own in which it forwards."""
        wait_for(lambda: bool(psutil.Process(self.pid).children()), what="a process forwards", log=self.log)
        (found,) = psutil.Process(self.pid).children()
        return found

    def memory(self) -> int:
        """Its resident memory with that of the process that forwards, bytes."""
        process = psutil.Process(self.pid)
        return sum(each.memory_info().rss for each in (process, *process.children()))

    def terminate(self) -> None:
        """Ask it to end, and do not wait."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> int:
        """Wait until it ends; its exit status."""
        assert self._process is not None
        return self._process.wait(seconds)

    def stop(self) -> int:
        """End it, whatever became of it."""
        if not self.runs:
            return 0
        try:
            return super().stop()
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def totals(self) -> dict[str, int]:
        """Accepted, delivered, spooled and dead-lettered events, at one instant."""
        lines = self.get("/metrics").splitlines()
        found = {}
        for name in ("accepted_total", "delivered_total", "spooled", "dead_lettered"):
            (line,) = [text for text in lines if text.startswith(f"scrapewatch_events_{name} ")]
            found[name.removesuffix("_total")] = int(float(line.split()[1]))
        return found

    def problems(self) -> str | None:
        """What readiness says is wrong."""
        try:
            self.get("/readyz")
        except urllib.error.HTTPError as error:
            with error:
                return str(json.load(error)["detail"])
        return None


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered to a request; ``seconds`` it took."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]
    seconds: float


class Rig:
    """The process, the proxy and an organisation of its own in ``influxd``.

    Args:
        folder: where its data lies; the same for the same spool.
        influxd: shared by all.
        environment: settings.
        command: ``collector`` alone, or ``up``.
        keep: whether ledger and proxy remember all that was sent and stored.
        wrapper: a command that runs the process, such as a tracer.
        tenants: that have buckets and tokens beside ``default``.
    """

    def __init__(
        self,
        folder: Path,
        influxd: Influxd,
        environment: Mapping[str, str] | None = None,
        *,
        command: tuple[str, ...] = ("collector",),
        keep: bool = False,
        wrapper: tuple[str, ...] = (),
        tenants: Sequence[str] = (),
    ) -> None:
        self.influxd = influxd
        self.org = f"faults-{uuid.uuid4().hex[:12]}"
        self.token = bootstrap(
            influxd.url,
            self.org,
            influxd.token,
            ("default", *tenants),
            secrets_dir=folder / "data" / "secrets" if tenants else None,
        )["default"]
        self.proxy = FaultProxy(influxd.url, keep=keep)
        self.ledger = Ledger(history=keep)
        folder.mkdir(parents=True, exist_ok=True)
        self.records = folder / "data" / "records.sqlite"
        self._given = dict(environment or {})
        self._folder = folder
        self._command = command
        self._wrapper = wrapper
        self._stack = ExitStack()
        self.process: Process

    def __enter__(self) -> Rig:
        self._stack.enter_context(self.proxy)
        self.process = Process(
            self._folder,
            {
                "INFLUX_URL": self.proxy.url,
                "INFLUX_ORG": self.org,
                "INFLUX_TOKEN": self.token,
                "DATABASE_URL": f"sqlite:///{self.records}",
                **self._given,
            },
            command=self._command,
            wrapper=self._wrapper,
        )
        try:
            self.process.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            # After a failure nothing that is left in the spool matters, and a stalled store would hold up the end.
            if kind is not None and self.process.runs:
                self.process.kill()
            self.process.stop()
        self.influxd.delete_org(self.org)

    def post(self, sent: Request, *, timeout: float = 60.0, key: bool = True) -> Answer:
        """Send once; an acknowledgement is noted in the ledger.

        Raises:
            OSError, HTTPException: no answer came.
        """
        with closing(http.client.HTTPConnection("127.0.0.1", self.process.port, timeout=timeout)) as line:
            return self.post_over(line, sent, key=key)

    def post_over(self, line: http.client.HTTPConnection, sent: Request, *, key: bool = True) -> Answer:
        """The same over a connection that is kept."""
        self.ledger.send(sent)
        headers = {"Content-Type": "application/json", "X-Request-Id": sent.key}
        if key:
            headers["Idempotency-Key"] = sent.key
        began = time.perf_counter()
        line.request("POST", PATH, sent.body, headers)
        answer = line.getresponse()
        body = answer.read()
        seconds = time.perf_counter() - began
        found = Answer(answer.status, dict(answer.getheaders()), json.loads(body), seconds)
        if found.status == 202:
            assert found.body["accepted"] + found.body["duplicates"] == sent.events, found
            assert len(found.body["rejected"]) == sent.bad, found
            self.ledger.ack(sent)
        elif found.status in (429, 503):
            assert int(found.headers["retry-after"]) >= 0
        return found

    def deliver(self, sent: Request) -> Answer:
        """Send until it is acknowledged."""
        while True:
            try:
                found = self.post(sent)
            except BROKEN:
                time.sleep(0.05)
                continue
            if found.status == 202:
                return found
            assert found.status in (429, 503), found
            time.sleep(0.1)

    # --- what is stored

    def in_influx(self, bucket: str) -> Counts:
        """What a bucket holds: ``sessions`` by session, ``fleet`` with none."""
        query = f"""
from(bucket: "{bucket}") |> range(start: 0, stop: 2100-01-01T00:00:00Z)
  |> filter(fn: (r) => (r._measurement == "jobs" and r._field == "scraped")
    or (r._measurement == "pages" and r._field == "count") or (r._measurement == "errors" and r._field == "count"))
  |> group(columns: ["_measurement", "session_id", "site"]) |> sum()
"""
        text = self._ask("POST", f"/api/v2/query?org={self.org}", query.encode()).decode()
        found: Counts = Counter()
        for row in csv.DictReader(io.StringIO(text)):
            if row["_measurement"] != "_measurement":  # tables repeat their header
                found[(row["_measurement"], row.get("session_id") or "", row["site"])] += int(row["_value"])
        return found

    def restore(self, write: Write) -> None:
        """Store what a write stored in another organisation."""
        self._ask("POST", f"/api/v2/write?org={self.org}&bucket={write.bucket}&precision=ns", write.stored)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """InfluxDB itself, past the proxy."""
        headers = {"Authorization": f"Token {self.influxd.token}", "Content-Type": "application/vnd.flux"}
        asked = urllib.request.Request(self.influxd.url + path, body, headers, method=method)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            found: bytes = answer.read()
            return found

    def in_records(self) -> Counts:
        """What the records hold, by session and site."""
        found: Counts = Counter()
        with closing(sqlite3.connect(f"file:{self.records}?mode=ro", uri=True, timeout=30)) as db:
            for session, site, jobs, pages, errors in db.execute(
                "SELECT session_id, site_name, jobs_scraped, pages_processed, errors_count FROM site_executions"
            ):
                for kind, count in (("jobs", jobs), ("pages", pages), ("errors", errors)):
                    if count:
                        found[(kind, session, site)] += count
            total = Counter(
                dict(db.execute("SELECT session_id, total_jobs_found FROM scrape_sessions").fetchall())
            )
        by_session: Counter[str] = Counter()
        for (kind, session, _), count in found.items():
            by_session[session] += count if kind == "jobs" else 0
        assert +total == +by_session
        return found

    def must_be_exact(self, *, seconds: float = 120.0) -> None:
        """Settle what is open, wait until all is delivered, and compare: nothing missing, nothing twice, nothing invented."""
        for sent in self.ledger.open():
            self.deliver(sent)
        wait_for(
            lambda: self.process.totals()["spooled"] == 0,
            what="the spool is drained",
            seconds=seconds,
            log=self.process.log,
        )
        totals = self.process.totals()
        # A collector also accepts what it observes itself.
        assert totals["accepted"] == totals["delivered"] + totals["spooled"] + totals["dead_lettered"]
        assert totals["accepted"] >= self.ledger.events
        expected = self.ledger.acked()
        assert difference(expected, self.in_influx("sessions")) == []
        assert difference(by_site(expected), self.in_influx("fleet")) == []
        assert difference(expected, self.in_records()) == []


class Load:
    """Clients that send without end, each request until it is acknowledged, while the block lasts.

    ``acks`` are the seconds that each acknowledgement took; ``failures`` what no client should ever be answered.
    """

    def __init__(
        self, rig: Rig, make: Callable[[int], Callable[[], Request]], *, clients: int = 4, pause: float = 0.01
    ) -> None:
        self.acks: list[float] = []
        self.failures: list[str] = []
        self._rig = rig
        self._stop = threading.Event()
        self._pause = pause
        self._threads = [
            threading.Thread(target=self._work, args=(make(k),), daemon=True) for k in range(clients)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if kind is None:
            assert self.failures == []

    def stop(self) -> None:
        """End; what is open stays open."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, make: Callable[[], Request]) -> None:
        port = self._rig.process.port
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        with closing(line):
            while not self._stop.is_set():
                sent = make()
                while not self._stop.is_set() and not self._acked(line, sent):
                    self._stop.wait(0.05)
                self._stop.wait(self._pause)

    def _acked(self, line: http.client.HTTPConnection, sent: Request) -> bool:
        try:
            found = self._rig.post_over(line, sent)
        except BROKEN:
            line.close()
            return False
        except Exception as error:
            self.failures.append(f"{type(error).__name__}: {error}")
            self._stop.set()
            return False
        if found.status == 202:
            self.acks.append(found.seconds)
            return True
        if found.status not in (429, 503):
            self.failures.append(f"{found.status}: {found.body}")
            self._stop.set()
        return False
