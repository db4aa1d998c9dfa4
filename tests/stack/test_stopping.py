from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.spool_file import looking_into
from collector.spool_view import status_of
from scrapewatch.problems import ConfigurationError
from stack.serve import DRAIN_SECONDS, STOP_SECONDS
from tests.loopback import free_port
from tests.stack.running import Up
from tests.stack.test_import import shown, write_logs

STOP_GRACE = 20.0
"""Seconds that `docker-compose.yml` and the systemd unit give it to end before they kill it."""


@pytest.fixture
def hanging() -> Iterator[str]:
    """The URL of a server that takes every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def hold() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=hold, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    for connection in held:
        connection.close()


def post(up: Up, count: int) -> None:
    event = {"session_id": "s1", "metric": "job_scraped", "value": {"site": "a", "count": count}}
    request = urllib.request.Request(f"{up.url}/api/v1/monitoring/metrics", json.dumps(event).encode())
    request.add_header("Content-Type", "application/json")
    urllib.request.urlopen(request, timeout=10).close()


def test_told_to_end_while_influxdb_hangs_it_ends_before_it_would_be_killed_and_loses_nothing(
    tmp_path: Path, hanging: str
) -> None:
    up = Up(tmp_path, {"INFLUX_URL": hanging, "INFLUX_TOKEN": "none"})
    up.start()
    post(up, 3)

    def ask() -> None:
        with contextlib.suppress(OSError):
            up.get("/readyz")

    asked = threading.Thread(target=ask)
    asked.start()
    time.sleep(0.5)
    process = up._process
    assert process is not None
    process.terminate()
    assert process.wait(STOP_GRACE) == 0
    asked.join()
    assert "Traceback" not in up.log.read_text()
    # What is closed is one file, without a log beside it.
    log = tmp_path / "data" / "spool" / "spool.sqlite-wal"
    assert not log.exists() or log.stat().st_size == 0
    with Up(tmp_path) as again:
        again.drain()
        assert [session["total_jobs_found"] for session in again.sessions()] == [3]


def test_a_second_collector_on_the_same_spool_is_refused_and_the_first_goes_on(
    tmp_path: Path, hanging: str
) -> None:
    with Up(tmp_path, {"INFLUX_URL": hanging, "INFLUX_TOKEN": "none"}) as up:
        process = up._process
        assert process is not None
        second = up.command("up", "--port", str(free_port()))
        assert second.returncode == 1
        assert f"held by process {process.pid}" in second.stderr
        assert "SCRAPEWATCH_DATA_DIR" in second.stderr
        assert "Traceback" not in second.stderr
        post(up, 1)


def test_a_second_stack_on_the_same_embedded_store_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with Up(tmp_path) as up:
        second = up.command("up", "--port", str(free_port()))
        assert second.returncode == 1
        assert "another data folder" in second.stderr
        assert "Traceback" not in second.stderr


@pytest.mark.parametrize(
    ("moment", "times"), [("starting", 1), ("starting", 2), ("sending", 2), ("storing", 1)]
)
def test_ctrl_c_ends_an_import_that_runs_its_own_collector_and_nothing_sent_is_lost(
    tmp_path: Path, hanging: str, moment: str, times: int
) -> None:
    logs = tmp_path / "logs"
    expected = write_logs(logs, 200 if moment == "sending" else 12)
    spool = tmp_path / "data" / "spool"
    up = Up(tmp_path, {"INFLUX_URL": hanging, "INFLUX_TOKEN": "none"})

    def accepted() -> int:
        try:
            with looking_into(spool) as found:
                return status_of(found).accepted
        except ConfigurationError:
            return 0

    log = tmp_path / "import.log"
    with log.open("wb") as said:
        importing = up.begin("import", "scrapy-log", str(logs), output=said)
    wanted = {"starting": 0, "sending": 1, "storing": 12 * 5}[moment]
    while "running one" not in log.read_text() or accepted() < wanted:
        assert importing.poll() is None
        time.sleep(0.02)
    importing.send_signal(signal.SIGINT)
    if times == 2:
        time.sleep(0.3)
        importing.send_signal(signal.SIGINT)
    assert importing.wait(STOP_GRACE) in ((130,) if times == 1 else (130, -signal.SIGINT))
    assert "Traceback" not in log.read_text()
    with Up(tmp_path) as again:
        assert again.command("import", "scrapy-log", str(logs), "--url", again.url).returncode == 0
        again.drain()
        assert shown(again) == expected


def test_a_second_ctrl_c_ends_at_once_and_loses_nothing(tmp_path: Path, hanging: str) -> None:
    up = Up(tmp_path, {"INFLUX_URL": hanging, "INFLUX_TOKEN": "none"})
    up.start()
    post(up, 3)
    process = up._process
    assert process is not None
    process.send_signal(signal.SIGINT)
    while "stopping" not in up.log.read_text():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == -signal.SIGINT
    assert "Traceback" not in up.log.read_text()
    with Up(tmp_path) as again:
        again.drain()
        assert [session["total_jobs_found"] for session in again.sessions()] == [3]


def test_who_runs_it_gives_it_the_time_that_it_takes_to_end() -> None:
    root = Path(__file__).parents[2]
    compose = (root / "docker-compose.yml").read_text()
    unit = (root / "packaging" / "systemd" / "scrapewatch-collector.service").read_text()
    assert f"stop_grace_period: {STOP_GRACE:.0f}s" in compose
    assert f"\nTimeoutStopSec={STOP_GRACE:.0f}\n" in unit
    assert STOP_SECONDS + DRAIN_SECONDS < STOP_GRACE / 2
