from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.faults.proxy import PASS
from tests.faults.rig import Rig
from tests.influxd import Influxd

Start = Callable[..., Rig]


@pytest.fixture
def start(influxd: Influxd, tmp_path: Path) -> Iterator[Start]:
    """Starts a rig in the test's own folder, with these settings; it ends with the test."""
    with ExitStack() as stack:

        def begin(environment: dict[str, str] | None = None, **options: Any) -> Rig:
            return stack.enter_context(Rig(tmp_path, influxd, environment, **options))

        yield begin


@pytest.fixture(scope="session")
def _rig(influxd: Influxd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("rig"), influxd, keep=True) as rig:
        yield rig


@pytest.fixture
def rig(_rig: Rig) -> Iterator[Rig]:
    """One rig for many tests, with the usual settings: what earlier ones sent is in it, and counted in its ledger."""
    _rig.proxy.writes.clear()
    yield _rig
    _rig.proxy.set(PASS)
