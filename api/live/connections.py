"""How many WebSockets are open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Connections:
    """The WebSockets that are open, and how many may be."""

    def __init__(self, most: int) -> None:
        self.open = 0
        self.accepted = 0
        self.refused = 0
        self.dropped_messages = 0
        self.dropped_clients = 0
        self._most = most

    @contextmanager
    def one_more(self) -> Iterator[bool]:
        """Whether there is room for one more; it counts until the block ends."""
        if self.open >= self._most:
            self.refused += 1
            yield False
            return
        self.open += 1
        self.accepted += 1
        try:
            yield True
        finally:
            self.open -= 1
