"""A circuit breaker: stops asking a site that keeps refusing, and finds out carefully when it answers again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

State = Literal["closed", "open", "half_open"]


class CircuitBreaker:
    """Closed, it lets every request pass; after `threshold` failures in a row it opens and lets none pass for `cool_down`
    seconds; then, half open, it lets one at a time pass: `closes_after` successes close it, one failure opens it again.

    Each method that may change the state says whether it did, so that the caller can report it.
    """  # noqa: D205

    def __init__(
        self,
        *,
        threshold: int = 5,
        cool_down: float = 6.0,
        closes_after: int = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.threshold, self.cool_down, self.closes_after = threshold, cool_down, closes_after
        self.state: State = "closed"
        self.failures = 0
        """In a row; kept while open."""
        self.successes = 0
        """In a row."""
        self.last_failure_time: datetime | None = None
        self.openings = 0
        """How often it has opened."""
        self._clock = clock
        self._opened_at = 0.0
        self._probing = False

    async def admit(self) -> bool:
        """Waits until a request may pass; True when this one made it half open. Follow each with one `settle`."""
        while True:
            if self.state == "closed":
                return False
            wait = self._opened_at + self.cool_down - self._clock() if self.state == "open" else 0.0
            if self.state == "open" and wait <= 0:
                self.state, self.successes, self._probing = "half_open", 0, True
                return True
            if self.state == "half_open" and not self._probing:
                self._probing = True
                return False
            await asyncio.sleep(max(wait, self.cool_down / 50, 0.005))

    def settle(self, success: bool | None) -> bool:
        """Takes the outcome of an admitted request (None: it never had one); True when the state changed by it."""
        was = self.state
        self._probing = False
        if success:
            self.successes, self.failures = self.successes + 1, 0 if was == "closed" else self.failures
            if was == "half_open" and self.successes >= self.closes_after:
                self.state, self.failures = "closed", 0
        elif success is False:
            self.successes, self.failures = 0, self.failures + 1
            self.last_failure_time = datetime.now(UTC)
            if was == "half_open" or (was == "closed" and self.failures >= self.threshold):
                self.state, self._opened_at = "open", self._clock()
                self.openings += 1
        return self.state != was
