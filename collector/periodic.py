"""Work that is done again and again in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from scrapewatch.problems import StoreUnavailable

log = structlog.get_logger(__name__)


class Periodic:
    """Calls ``work`` every ``interval`` seconds until stopped; what it raises is logged, and it goes on.

    A store that names a time to come back is not asked before it. An ``interval`` that is called says after each turn how many seconds
    the next one is away.
    ``problem`` says why the last call failed; None when it did not.
    """

    def __init__(self, name: str, interval: float | Callable[[], float], work: Callable[[], object]) -> None:
        self.problem: str | None = None
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
        while not self._stop.is_set():
            began = time.monotonic()
            not_before = 0.0
            try:
                self._work()
                self.problem = None
            except StoreUnavailable as error:
                if self.problem != str(error):
                    log.warning("waits for a store", work=self._name, reason=str(error))
                self.problem = str(error)
                not_before = error.retry_after or 0.0
            except Exception as error:  # whatever it was, the next turn may go well
                fault = f"{type(error).__name__}: {error}"
                if self.problem != fault:
                    log.exception("failed; it goes on", work=self._name)
                self.problem = fault
            left = (
                self._interval() if callable(self._interval) else self._interval - (time.monotonic() - began)
            )
            self._stop.wait(max(left, not_before, 0.01))
