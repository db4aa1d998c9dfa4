"""The records on every database, each test on one that is empty and migrated."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine

from records.engine import make_engine
from records.migrate import upgrade
from records.store import SqlRecords
from tests.new_records import migrated
from tests.postgres import Postgres

_numbers = itertools.count()


@pytest.fixture(scope="session")
def migrated_postgres(postgres: Postgres) -> str:
    """The name of a migrated database to copy."""
    url = postgres.database()
    engine = make_engine(url)
    upgrade(engine)
    engine.dispose()
    return url.rpartition("/")[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
    else:
        postgres: Postgres = request.getfixturevalue("postgres")
        url = postgres.database()
        yield url
        postgres.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def new_records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], SqlRecords]]:
    """Makes stores, each on an empty database of its own."""
    opened: list[SqlRecords] = []
    urls: list[str] = []

    def open_one() -> SqlRecords:
        if request.param == "sqlite":
            path = tmp_path / f"records-{next(_numbers)}.db"
            path.write_bytes(migrated())
            url = f"sqlite:///{path}"
        else:
            url = request.getfixturevalue("postgres").database(request.getfixturevalue("migrated_postgres"))
            urls.append(url)
        opened.append(SqlRecords(url))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()
    for url in urls:
        with suppress(Exception):  # a test may have taken the server away
            request.getfixturevalue("postgres").drop(url)


@pytest.fixture
def records(new_records: Callable[[], SqlRecords]) -> SqlRecords:
    """A store on an empty database."""
    return new_records()


@pytest.fixture
def engine(records: SqlRecords) -> Engine:
    """The engine of ``records``."""
    return records.engine
