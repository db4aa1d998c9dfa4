"""Work that is done again and again in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from scrapewatch.problems import StoreUnavailable

log = structlog.get_logger(__name__)


class Periodic:
    """Calls ``work`` every ``interval`` seconds until stopped; what it raises is logged, and it goes on."""

    def __init__(self, name: str, interval: float, work: Callable[[], object]) -> None:
        self._name = name
        self._interval = interval
        self._work = work
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; the first call comes at once."""
        self._thread.start()

    def stop(self) -> None:
        """End, once the call under way has returned."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        waiting_for: str | None = None
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._work()
                waiting_for = None
            except StoreUnavailable as error:
                if waiting_for != str(error):
                    log.warning("waits for a store", work=self._name, reason=str(error))
                waiting_for = str(error)
            except Exception:  # whatever it was, the next turn may go well
                log.exception("failed; it goes on", work=self._name)
            self._stop.wait(max(self._interval - (time.monotonic() - began), 0.01))
