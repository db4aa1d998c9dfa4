"""What holds for all tests: what was skipped here is named at the end, and with ``CI`` set it is a failure.

A test or fixture that misses a part calls ``pytest.skip`` with the part and what to do about it; it need not ask about ``CI``.
"""

from __future__ import annotations

import logging
import os
import signal
from collections import Counter
from collections.abc import Generator, Iterator

import pytest
import structlog

from tests.influxd import Influxd, find_influxd
from tests.postgres import Postgres, find_postgres
from tests.redis import Redis, find_redis

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in a script's background: what tests start would take it over, and Ctrl-C would end none of it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

REAL_INPUT = ("shared/data", "the real logs")
"""Words in the reason of tests that need real input which is not ours to redistribute: those may skip in CI, too."""


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """What a test, or the command that it runs, sets up for the log ends with it."""
    before, handlers = structlog.get_config(), list(logging.getLogger().handlers)
    yield
    structlog.configure(**before)
    logging.getLogger().handlers[:] = handlers


@pytest.fixture(scope="session")
def influxd() -> Iterator[Influxd]:
    """An InfluxDB of the whole run's."""
    if find_influxd() is None:
        pytest.skip("no influxd here, so not the InfluxDB half: `make influxd` builds one")
    with Influxd() as running:
        yield running


@pytest.fixture
def redis() -> Iterator[Redis]:
    """A Redis of the test's own."""
    if find_redis() is None:
        pytest.skip("no Redis here, so not the live hub across processes: install it (Debian: redis-server)")
    with Redis() as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of the whole run's; each test takes a database of its own."""
    if find_postgres() is None:
        pytest.skip("no PostgreSQL here, so not the PostgreSQL half: install it (Debian: postgresql)")
    with Postgres() as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_a_skip_in_ci(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_a_skip_in_ci(report)
    return report


def _fail_a_skip_in_ci(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = _reason(report)
        if not any(words in reason for words in REAL_INPUT):
            report.outcome = "failed"
            report.longrepr = f"skipped, although nothing may be missing in CI: {reason}"


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    # The place, the line and the reason, as pytest.skip leaves them.
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", ()))
    for reason, count in skipped.most_common():
        terminalreporter.write_line(f"not tested ({count} skipped): {reason}", yellow=True)
