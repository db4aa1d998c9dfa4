"""The command ``scrapewatch`` with an eye on what a sampling profiler cannot see: ``python -m bench._watched collector``.

On ending it says on standard error how long Python's garbage collector held up all threads, as a line of JSON that begins with
:data:`MARK`.
"""

from __future__ import annotations

import atexit
import gc
import json
import sys
import time
from typing import Any, Final

from scrapewatch.command import main

MARK: Final = "collections "

_pauses: dict[int, list[tuple[float, float]]] = {0: [], 1: [], 2: []}
_began = 0.0


def _watch(phase: str, about: dict[str, Any]) -> None:
    global _began  # the collector of garbage runs in one thread at a time
    if phase == "start":
        _began = time.monotonic()
    else:
        _pauses[about["generation"]].append((_began, time.monotonic() - _began))


if __name__ == "__main__":
    gc.callbacks.append(_watch)
    atexit.register(lambda: print(f"\n{MARK}{json.dumps(_pauses)}", file=sys.stderr, flush=True))
    sys.exit(main())
