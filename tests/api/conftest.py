"""Stacks for the tests of the API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.api.sites import Site
from tests.api.stacks import BASE, Stack, make_stack


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Makes a stack with settings of the test's own."""
    made: list[Stack] = []

    def build(**settings: Any) -> Stack:
        made.append(make_stack(tmp_path, **settings))
        return made[-1]

    yield build
    for stack in made:
        stack.series.close()
        stack.records.close()


@pytest.fixture
def stack(make: Callable[..., Stack]) -> Stack:
    """A stack with nothing in it."""
    return make()


@pytest.fixture
def client(stack: Stack) -> TestClient:
    """A client of ``stack``, whose checks and live feed do not run."""
    return TestClient(stack.app, base_url=BASE)


@pytest.fixture
def site() -> Iterator[Site]:
    """A site that answers 404 until it is told otherwise."""
    running = Site()
    yield running
    running.close()
