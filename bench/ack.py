"""How long an ack takes at a load that leaves room: 150 requests of 100 events a second at fixed times: ``make bench-ack``."""

from __future__ import annotations

import argparse

from bench import _report
from bench._results import influxd_version, surroundings, write
from bench.sustained import hold, tell


def main() -> None:
    """Measure and write the results."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=30.0)
    options.add_argument("--requests", type=float, default=150.0, help="requests a second")
    options.add_argument("--batch", type=int, default=100)
    options.add_argument("--sessions", type=int, default=100)
    options.add_argument("--quick", action="store_true", help="5 s; writes nothing")
    given = options.parse_args()
    row = hold(
        given.requests * given.batch, given.batch, given.sessions, 5.0 if given.quick else given.seconds
    )
    tell(row)
    if not given.quick:
        write("ack", {"rows": [row], **surroundings(influxd=influxd_version())})
        _report.update()


if __name__ == "__main__":
    main()
