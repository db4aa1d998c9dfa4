"""uvicorn's WebSockets, with an end for clients that never read."""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

LINGER_SECONDS = 5.0


class DroppingProtocol(WebSocketsSansIOProtocol):
    """Lets go of a connection whose client does not take what is left to send.

    uvicorn closes a connection once everything was sent, which a client that never reads puts off for as long as it likes: each would
    hold a file descriptor and a full buffer. For uvicorn's setting ``ws``.
    """

    async def run_asgi(self) -> None:
        """Run the application, and drop what remains of the connection a while after it ended."""
        try:
            await super().run_asgi()
        finally:
            transport = cast(asyncio.WriteTransport, self.transport)
            if transport.get_write_buffer_size():
                self.loop.call_later(LINGER_SECONDS, transport.abort)
