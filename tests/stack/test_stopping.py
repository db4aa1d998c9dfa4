from __future__ import annotations

import json
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.running import Up


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


def test_a_second_ctrl_c_ends_at_once_and_loses_nothing(tmp_path: Path, hanging: str) -> None:
    up = Up(tmp_path, {"INFLUX_URL": hanging, "INFLUX_TOKEN": "none"})
    up.start()
    event = {"session_id": "s1", "metric": "job_scraped", "value": {"site": "a", "count": 3}}
    request = urllib.request.Request(f"{up.url}/api/v1/monitoring/metrics", json.dumps(event).encode())
    request.add_header("Content-Type", "application/json")
    urllib.request.urlopen(request, timeout=10).close()
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
