"""SIGTERM with WebSockets open and requests under way: it ends in time, and each request is durable or was refused."""

from __future__ import annotations

import asyncio
import random
import threading
import time

import pytest
import websockets

from tests.faults.conftest import Start
from tests.faults.ledger import Writer
from tests.faults.proxy import PASS, STALL, Fault
from tests.faults.rig import Load, Rig

DEADLINE = 30.0
"""Seconds in which systemd and container engines are told to let it end."""


class Listeners:
    """WebSockets that are open until the other side ends them; ``codes`` are those they were closed with."""

    def __init__(self, rig: Rig, count: int) -> None:
        self.opened = threading.Barrier(2)
        self.codes: list[int] = []
        self._url = f"ws://127.0.0.1:{rig.process.port}/api/v1/ws"
        self._count = count
        self._thread = threading.Thread(target=lambda: asyncio.run(self._listen()), daemon=True)
        self._thread.start()
        self.opened.wait(60)

    def wait(self) -> None:
        """Until all are closed."""
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()

    async def _listen(self) -> None:
        paths = ("/system", "/sessions/s0-0")
        lines = [
            await websockets.connect(self._url + paths[k % 2], max_queue=None) for k in range(self._count)
        ]
        await asyncio.to_thread(self.opened.wait, 60)
        await asyncio.gather(*(self._until_closed(line) for line in lines))

    async def _until_closed(self, line: websockets.ClientConnection) -> None:
        try:
            async for _ in line:
                pass
        except websockets.ConnectionClosed:
            pass
        self.codes.append(line.close_code or 0)


@pytest.mark.parametrize("store", [PASS, STALL], ids=["store up", "store hangs"])
def test_told_to_end_with_websockets_open_and_requests_under_way_it_ends_in_time_and_loses_nothing(
    start: Start, store: Fault
) -> None:
    rig = start(command=("up",))
    listeners = Listeners(rig, 10)
    rig.proxy.set(store)
    with Load(rig, lambda k: Writer(random.Random(), f"{k}").request, clients=6, pause=0.0) as load:
        time.sleep(0.7)
        rig.process.terminate()
        assert rig.process.wait(DEADLINE) == 0
        listeners.wait()
        assert len(listeners.codes) == 10
        # Clients go on and find it gone; whether what they sent last is durable they learn from the next process.
        time.sleep(0.2)
        rig.proxy.set(PASS)
        rig.process.start()
        acked = len(load.acks)
        time.sleep(0.5)
    assert len(load.acks) > acked > 0
    assert "Traceback" not in rig.process.log.read_text()
    rig.must_be_exact()
