"""How often the system is told: as the settings say, and less often while the machine has enough to do."""

from __future__ import annotations

from typing import Final

MOST_TIMES: Final = 8
"""How many times as long the interval may become."""

BUSY_PERCENT: Final = 90.0
"""Use of all cores from which a machine has enough to do."""

LATE_SECONDS: Final = 0.25
"""How late the event loop comes to it when it has enough to do."""


class Interval:
    """Seconds between two tellings: twice as many after each that found the machine busy, half as many after others."""

    def __init__(self, shortest: float) -> None:
        self.seconds = shortest
        self._shortest = shortest

    def look(self, *, cpu_percent: float, late: float) -> None:
        """The machine's processors are used by ``cpu_percent`` (0–100), and the last telling began ``late`` seconds after its time."""
        if cpu_percent >= BUSY_PERCENT or late >= LATE_SECONDS:
            self.seconds = min(self.seconds * 2, self._shortest * MOST_TIMES)
        else:
            self.seconds = max(self.seconds / 2, self._shortest)
