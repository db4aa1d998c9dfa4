"""uvicorn's WebSockets, with an end for clients that do not read, and a short way for texts that go to many of them."""

from __future__ import annotations

import asyncio
import socket
from asyncio.transports import BaseTransport
from collections.abc import Callable, MutableMapping
from typing import Any, Final, cast

from starlette.websockets import WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request

LINGER_SECONDS = 2.0
"""How long a connection that was ended may take to send what is left."""

PING_SECONDS = 4.0
PONG_SECONDS = 4.0
"""Who reads nothing answers no ping, and is gone within 10 s."""

_GRACE_SECONDS: Final = 0.5
_SEND_BUFFER: Final = 256 * 1024
_EXTENSION: Final = "scrapewatch.wire"


class DroppingProtocol(WebSocketsSansIOProtocol):
    """Pings, and lets go of a connection whose client does not take what is left to send. For uvicorn's setting ``ws``.

    uvicorn closes a connection once everything was sent, which a client that never reads puts off for as long as it likes: each would
    hold a file descriptor and a full buffer.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ping_interval = PING_SECONDS
        self.ping_timeout = PONG_SECONDS
        self.unready: Callable[[], None] | None = None
        """Called once when what is written is taken no more, for now or for good."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Bound what the system buffers for this client, which else may grow to megabytes."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)

    def handle_connect(self, event: Request) -> None:
        """Show the application the short way."""
        super().handle_connect(event)
        if "scope" in self.__dict__:  # not where the handshake failed
            extensions = cast(MutableMapping[str, Any], self.scope["extensions"])
            extensions[_EXTENSION] = {"protocol": self}

    def pause_writing(self) -> None:
        """Tell that the client is behind."""
        super().pause_writing()
        self._tell_unready()

    def shutdown(self) -> None:
        """Tell that nothing may follow."""
        self._tell_unready()
        super().shutdown()

    def handle_close(self, event: Frame) -> None:
        """Tell that nothing may follow."""
        self._tell_unready()
        super().handle_close(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that nobody is there any more."""
        self._tell_unready()
        super().connection_lost(exc)

    def _tell_unready(self) -> None:
        unready, self.unready = self.unready, None
        if unready is not None:
            unready()

    async def run_asgi(self) -> None:
        """Run the application, and drop what remains of the connection a while after it ended."""
        try:
            await super().run_asgi()
        finally:
            if self._unsent():
                self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def keepalive_timeout(self) -> None:
        """Give up on a client that answers no ping; what it did not take is not waited for."""
        if self.pending_ping_payload is None or self.close_sent:
            return
        # After a stall of this very process its timers run before it reads the answers that wait.
        self.pong_timer = self.loop.call_later(_GRACE_SECONDS, self._give_up)

    def _give_up(self) -> None:
        super().keepalive_timeout()
        if self._unsent():
            self.transport.abort()

    def _unsent(self) -> int:
        return cast(asyncio.WriteTransport, self.transport).get_write_buffer_size()

    @property
    def ready(self) -> bool:
        """Whether the client takes what is sent."""
        return self.writable.is_set() and not (
            self.disconnected or self.close_sent or self.transport.is_closing()
        )

    def write_text(self, text: bytes) -> None:
        """Send a text (UTF-8) at once and as it is, whatever waits already: see ``writable``.

        Raises:
            WebSocketDisconnect: the connection is at its end.
        """
        if self.disconnected or self.close_sent or self.transport.is_closing():
            raise WebSocketDisconnect(1006)
        self.transport.write(text_frame(text))


def wire_of(scope: MutableMapping[str, Any]) -> DroppingProtocol | None:
    """The short way to the client of an ASGI ``scope``: a tenth of the time that a message through ASGI takes. None on other servers."""
    extension = scope.get("extensions", {}).get(_EXTENSION)
    return None if extension is None else extension["protocol"]


def text_frame(text: bytes) -> bytes:
    """``text`` (UTF-8) as one unmasked, final and uncompressed frame: https://www.rfc-editor.org/rfc/rfc6455#section-5.2."""
    size = len(text)
    if size < 126:
        return b"\x81%c%b" % (size, text)
    if size < 65_536:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), text)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), text)
