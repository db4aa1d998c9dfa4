"""Serving an ASGI app on loopback inside a loop that belongs to someone else."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import uvicorn

from stack.quiet_server import QuietServer


@contextlib.asynccontextmanager
async def serve(app: Any, *, port: int = 0) -> AsyncIterator[str]:
    """Serves `app` on 127.0.0.1 for the length of the block; yields its URL, without a final slash.

    Args:
        app: an ASGI 3 app without a lifespan.
        port: 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """
    # The protocol is named because asyncio switches Nagle's algorithm off only where it is: 40 ms an answer otherwise.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        # A page that hangs must not hold up the end: a second after it was asked to, the server ends.
        config = uvicorn.Config(
            app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1
        )
        server = QuietServer(config)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            while not (server.started or serving.done()):  # noqa: ASYNC110 (uvicorn has no event for it)
                await asyncio.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving
