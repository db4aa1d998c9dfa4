"""A hundred WebSockets, one of which never reads: nobody waits for it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import time
from contextlib import AsyncExitStack

import websockets

from tests.faults.conftest import Start
from tests.faults.ledger import event, request
from tests.faults.rig import Rig

PATH = "/api/v1/ws/sessions/s1"
LISTENERS = 99
BYTES = 40_000_000
"""What the one that does not read is sent before the test gives up: more than all buffers on the way hold."""


def deaf(rig: Rig) -> socket.socket:
    """A WebSocket that opens and then reads nothing."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    line.connect(("127.0.0.1", rig.process.port))
    key = base64.b64encode(os.urandom(16)).decode()
    line.sendall(
        f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert line.recv(12) == b"HTTP/1.1 101"
    return line


def dropped(line: socket.socket) -> bool:
    """Whether the server let go of it: then what it sends is answered with a reset."""
    line.setblocking(False)
    try:
        line.send(b"\x8a\x80\0\0\0\0")  # a pong that nobody asked for
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        line.setblocking(True)
    return False


class Listener:
    """One that reads: how many jobs it was told of, and how long each message took, in seconds."""

    def __init__(self, line: websockets.ClientConnection) -> None:
        self.line = line
        self.jobs = 0
        self.lost = 0
        self.delays: list[float] = []

    async def listen(self) -> None:
        """Read until closed."""
        async for text in self.line:
            message = json.loads(text)
            if message["type"] == "events":
                self.lost += message["dropped"]
                for item in message["events"]:
                    self.jobs += item["value"]["count"]
                    self.delays.append(time.time() - item["value"]["job"]["salary_min"])


def test_of_a_hundred_websockets_one_that_never_reads_is_dropped_and_the_others_miss_nothing(
    start: Start,
) -> None:
    rig = start(command=("up",))
    filler = "x" * 9_000

    def post(count: int) -> None:
        told = event("job_scraped", "s1", "indeed", count)
        # A posting has room for a number of ours: when it was sent.
        told["value"]["job"] = {"salary_min": time.time(), "description": filler}
        assert rig.post(request([told])).status == 202

    async def run() -> tuple[list[Listener], int, int, list[int]]:
        async with AsyncExitStack() as stack:
            url = f"ws://127.0.0.1:{rig.process.port}{PATH}"
            listeners = [
                Listener(await stack.enter_async_context(websockets.connect(url, max_queue=None)))
                for _ in range(LISTENERS)
            ]
            stuck = stack.enter_context(await asyncio.to_thread(deaf, rig))
            return await watch(listeners, stuck)

    async def watch(
        listeners: list[Listener], stuck: socket.socket
    ) -> tuple[list[Listener], int, int, list[int]]:
        reading = [asyncio.create_task(listener.listen()) for listener in listeners]
        memory = [rig.process.memory()]
        sent = messages = 0
        while not dropped(stuck):
            count = messages % 7 + 1
            await asyncio.to_thread(post, count)
            sent, messages = sent + count, messages + 1
            assert messages * len(filler) < BYTES, "the one that does not read is still there"
            if messages % 50 == 0:
                memory.append(rig.process.memory())
            await asyncio.sleep(0.01)
        async with asyncio.timeout(30):
            while any(listener.jobs < sent for listener in listeners):
                await asyncio.sleep(0.05)
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        return listeners, sent, messages, memory

    listeners, sent, messages, memory = asyncio.run(run())
    assert {listener.jobs for listener in listeners} == {sent}
    assert sum(listener.lost for listener in listeners) == 0
    assert max(memory) - memory[0] < 100_000_000
    delays = sorted(delay for listener in listeners for delay in listener.delays)
    print(f"{messages} messages to {LISTENERS}: p99 {delays[int(len(delays) * 0.99)] * 1e3:.1f} ms")
