"""What holds for all tests: what was skipped here is named at the end, and with ``CI`` set it is a failure.

A test or fixture that misses a part calls ``pytest.skip("no influxd here: `make influxd` builds one")``: the part, and what to do.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator

import pytest

REAL_INPUT = "shared/data"
"""In the reason of tests that need real input which is not ours to redistribute: those may skip in CI, too."""


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
        if REAL_INPUT not in reason:
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
