"""A collector on the embedded store and SQLite, behind its HTTP route."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from collector.app import mount
from collector.service import Collector
from embedded.store import EmbeddedStore
from records.store import SqlRecords
from scrapewatch.http import install
from scrapewatch.live import MemoryHub
from scrapewatch.ports import DEFAULT_TENANT
from scrapewatch.settings import Settings
from tests.new_records import records_in

PATH = "/api/v1/monitoring/metrics"


@dataclass(frozen=True)
class Running:
    """A running collector and a client to it."""

    http: TestClient
    collector: Collector
    series: EmbeddedStore
    records: SqlRecords
    hub: MemoryHub

    def post(self, body: Any, **more: Any) -> Any:
        """Post ``body`` as JSON."""
        return self.http.post(PATH, json=body, **more)

    def drain(self) -> None:
        """Wait until both stores have everything."""
        deadline = time.monotonic() + 30
        while self.collector.spool.status().spooled:
            assert time.monotonic() < deadline, self.collector.status()
            time.sleep(0.02)

    def counts(self, column: str, table: str = "scrape_sessions") -> int:
        """The sum of a column of the records, once everything is there."""
        self.drain()
        with self.records.engine.connect() as db:
            return int(db.exec_driver_sql(f"SELECT coalesce(sum({column}), 0) FROM {table}").scalar_one())


@contextlib.contextmanager
def running_collector(
    folder: Path, *, tenant_of: Callable[[Mapping[str, Any]], str] = lambda _: DEFAULT_TENANT, **changes: Any
) -> Iterator[Running]:
    settings = Settings(
        data_dir=folder, sampler=False, flush_interval=0.05, allowed_hosts=("testserver",), **changes
    )
    series = EmbeddedStore(folder / "series.duckdb")
    records = records_in(folder)
    hub = MemoryHub()
    collector = Collector(settings, series, records, hub)

    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        collector.start()
        yield
        await asyncio.to_thread(collector.stop)

    app = FastAPI(lifespan=life)
    install(app, settings)
    front = mount(app, collector, settings, tenant_of)
    with TestClient(front, raise_server_exceptions=False) as http:
        yield Running(http, collector, series, records, hub)
    series.close()
    records.close()


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., contextlib.AbstractContextManager[Running]]:
    """Starts a collector on the test's folder; again after it ended."""
    return lambda **changes: running_collector(tmp_path, **changes)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A collector for tests of what is answered, which need none of their own: what others sent is in it, too."""
    with running_collector(tmp_path_factory.mktemp("shared")) as collector:
        yield collector


@pytest.fixture
def running(start: Callable[..., contextlib.AbstractContextManager[Running]]) -> Iterator[Running]:
    with start() as collector:
        yield collector
