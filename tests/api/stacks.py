"""The API on real parts: records on SQLite, points in the embedded store, the hub of one process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from api.app import ApiServices, background, build_router
from api.live.protocol import DroppingProtocol
from collector.decode import from_model
from collector.fold import Memory, Request, fold
from collector.roller import rolled
from embedded.store import EmbeddedStore
from records.queries import RecordQueries
from records.store import SqlRecords
from scrapewatch.events import validate
from scrapewatch.gate import Gate, GateMiddleware
from scrapewatch.http import install
from scrapewatch.line_protocol import encode
from scrapewatch.live import MemoryHub
from scrapewatch.measurements import KEEPING, MEASUREMENTS, Tier
from scrapewatch.ports import Batch, Flush, TimeRange
from scrapewatch.settings import Settings
from scrapewatch.time import now_ns
from stack.access import credentials_of, make_gate
from tests.new_records import records_in

BASE = "http://127.0.0.1:8000"

_ROLLED = tuple(name for name, measurement in MEASUREMENTS.items() if measurement.rolled_from is Tier.FLEET)


def event(
    metric: str,
    value: Mapping[str, Any] | None = None,
    *,
    time: int | None = None,
    session: str | None = "s1",
) -> dict[str, Any]:
    """A valid event at ``time`` (ns; default now)."""
    found = validate({"session_id": session, "metric": metric, "value": dict(value or {})})
    found["time"] = now_ns() if time is None else time
    return found


@dataclass
class Stack:
    """An API with its stores; events come in as a collector would bring them."""

    app: FastAPI
    services: ApiServices
    series: EmbeddedStore
    records: SqlRecords
    hub: MemoryHub
    reported: list[dict[str, Any]]
    problems: list[str]
    flushes: int = 0
    memory: Memory = field(default_factory=dict)
    oldest: int = field(default_factory=now_ns)

    def store(
        self, events: Sequence[Mapping[str, Any]], *, source: str | None = None, tenant: str = "default"
    ) -> None:
        """Bring ``events`` to both stores."""
        self.flushes += 1
        request = Request(
            tenant,
            source,
            now_ns(),
            [event["time"] for event in events],
            [from_model(event) for event in events],
        )
        folded = fold([request], self.memory, collector_no=1, number=self.flushes)
        self.memory |= folded.memory
        written = self.series.write(Flush(1, self.flushes, folded.batches))
        assert written.kept is None and not written.rejected
        assert self.records.apply(1, self.flushes, folded.changes)
        self.oldest = min([self.oldest, *(event["time"] for event in events)])

    def roll(self, *measurements: str) -> None:
        """Bring the rollups of ``measurements`` up to date: all windows at once, where the roller takes one after the other.

        Without any named, those of all that are rolled up from the fleet.
        """
        for tier in (Tier.FLEET_1M, Tier.FLEET_1H):
            time_range = TimeRange.widened(self.oldest, now_ns(), KEEPING[tier].window)
            for measurement in measurements or _ROLLED:
                found = self.series.windows(measurement, time_range, tier=Tier.FLEET, tenant="default")
                lines = [encode(rolled(point)) for point in found]
                written = self.series.write(Flush(0, 0, [Batch("default", tier, lines, [0] * len(lines))]))
                assert written.kept is None and not written.rejected

    def hear(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Let the activity of the last minutes count ``events``, as if the hub had told of them."""
        messages = [{"tenant": "default", **found} for found in events]
        self.services.feed.activity("default").see(messages, now_ns())

    def publish(self, events: Sequence[Mapping[str, Any]], *, tenant: str = "default") -> None:
        """Tell the hub; belongs to the loop's thread."""
        self.hub.publish([{"tenant": tenant, **found} for found in events])


def make_stack(folder: Path, **settings: Any) -> Stack:
    """An API on stores in ``folder``; its checks and live feed run once its application does."""
    series = EmbeddedStore(folder / "series.duckdb")
    records = records_in(folder)
    hub = MemoryHub()
    reported: list[dict[str, Any]] = []
    problems: list[str] = []

    async def report(events: Sequence[dict[str, Any]]) -> None:
        reported.extend(events)

    async def status() -> dict[str, Any]:
        return {"problems": problems}

    chosen = Settings(
        data_dir=folder,
        # Starlette's client has no address: until a test makes a key, it is the administrator.
        **{
            "check_interval": 3600.0,
            "real_time_update_interval": 0.2,
            "trust_network": True,
            **settings,
        },
    )
    gate, tokens = make_gate(chosen, records.engine)
    services = ApiServices(
        chosen,
        series,
        RecordQueries(records.engine),
        hub,
        report,
        status,
        gate=gate,
        tokens=tokens,
        credentials=credentials_of(chosen, records.engine),
    )

    @asynccontextmanager
    async def life(app: FastAPI) -> Any:
        app.state.loop = asyncio.get_running_loop()
        async with gate.running(), background(services):
            yield

    app = application_of(services, gate, lifespan=life)
    return Stack(app, services, series, records, hub, reported, problems)


def application_of(services: ApiServices, gate: Gate, **options: Any) -> FastAPI:
    """The API of ``services`` behind ``gate``."""
    app = FastAPI(docs_url=None, redoc_url=None, **options)
    app.add_middleware(GateMiddleware, gate=gate, routes=lambda: app.routes)
    install(app, services.settings)
    app.include_router(build_router(services))
    return app


class Served:
    """An application on a real port, in a thread with its own loop."""

    def __init__(self, app: FastAPI) -> None:
        self._server = uvicorn.Server(
            uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, ws=DroppingProtocol, lifespan="on")
        )
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self) -> str:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            threading.Event().wait(0.01)
        return f"127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
