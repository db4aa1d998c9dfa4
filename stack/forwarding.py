"""The process that forwards: opens the stores of the settings that its collector hands over, and does as that says."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from collector.aside import Command, forward_aside
from records.store import SqlRecords
from scrapewatch.problems import ConfigurationError
from scrapewatch.settings import Settings
from stack.logs import set_up_logs
from stack.stores import open_series, records_url
from stack.tracing import tracing


def command(settings: Settings) -> Command | None:
    """What starts such a process for ``settings``; None where forwarding belongs into the collector's own.

    The embedded store is a file that one process may open, and with a single processor there is nothing to win.
    """
    if not settings.forwarding_process or settings.influx_url is None or _processors() < 2:
        return None
    # The same code as here, wherever it was found, and none that lies about where the collector was started.
    paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path)
    return Command(
        [sys.executable, "-P", "-m", "stack.forwarding"],
        {**os.environ, "PYTHONPATH": paths},
        pickle.dumps(settings),
    )


def _processors() -> int:
    """How many this process may use; 1 where processes cannot be started in this way."""
    if os.name != "posix":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    """Forward until told to stop, or the collector is gone."""
    # What ends the collector tells it to end, too: it goes on until the collector says so.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    connection = Connection(int(sys.argv[1]))
    settings = pickle.loads(connection.recv_bytes())  # noqa: S301 - from the process that started this one
    set_up_logs(settings)
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    try:
        with tracing(settings, ["forwarding"]):
            # The collector brought the tables up to date.
            forward_aside(connection, lambda: (open_series(settings), SqlRecords(records_url(settings))))
    except (EOFError, OSError):
        pass  # the collector went before it had said what to do
    except ConfigurationError as error:
        sys.exit(str(error))
    sys.stderr.flush()
    os._exit(0)  # whatever its threads still wait for: all that counts is in the spool


if __name__ == "__main__":
    main()
