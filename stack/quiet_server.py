"""A uvicorn server inside a loop that belongs to someone else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator

import uvicorn

from stack.connection import Connection


class QuietServer(uvicorn.Server):
    """A server that leaves the signal handlers to whose process it is."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take no signals."""
        yield

    async def _wait_tasks_to_complete(self) -> None:
        try:
            await super()._wait_tasks_to_complete()
        except asyncio.CancelledError:
            # The time is up: tasks are cancelled, and what is answered without one must end, too.
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.break_off()
            raise
