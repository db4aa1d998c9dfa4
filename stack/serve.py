"""The server: collector, API or both as one FastAPI application, and its life from taking the port to letting go of the stores."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

import collector.app
import collector.metrics
import stack.forwarding
from collector.service import Collector
from scrapewatch import __version__
from scrapewatch.addresses import is_loopback
from scrapewatch.client import Client, SendError
from scrapewatch.gate import Gate, GateMiddleware, tenant_of
from scrapewatch.http import install
from scrapewatch.live import Hub, MemoryHub
from scrapewatch.ports import SeriesStore
from scrapewatch.problems import ConfigurationError, StoreUnavailable
from scrapewatch.settings import Settings
from scrapewatch.tokens import Tokens
from stack.access import credentials_of, demand_keys, make_gate, own_key, refusals
from stack.connection import Connection
from stack.parts import API, COLLECTOR, url_of
from stack.quiet_server import QuietServer
from stack.stores import open_records, open_series
from stack.tracing import tracing

if TYPE_CHECKING:
    from api.services import ApiServices
    from records.queries import RecordQueries
    from scrapewatch.live_redis import RedisHub

try:
    import uvloop
except ImportError:  # not on Windows
    uvloop = None  # type: ignore[assignment]

T = TypeVar("T")
log = structlog.get_logger(__name__)

KEEP_ALIVE_SECONDS: Final = 75
"""How long a connection may wait for its next request: longer than load balancers keep theirs (60 s as a rule), so that none
sends a request on a connection that is just being closed."""

STOP_SECONDS: Final = 4
"""How long requests under way may take once the server was asked to stop."""

DRAIN_SECONDS: Final = 4.0
"""How long after that what is spooled is brought to the stores; the rest waits in the spool for the next start."""


@dataclass(frozen=True, slots=True)
class Server:
    """An application with its listening socket."""

    app: FastAPI
    listening: socket.socket
    url: str


def listen(settings: Settings) -> socket.socket:
    """The listening socket of the settings.

    Raises:
        ConfigurationError: the port is taken, the address is none of this machine, or it is open to strangers.
        StoreUnavailable: the records, which know whether there are keys to keep strangers out, do not answer.
    """
    if not is_loopback(settings.host):
        demand_keys(settings)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # The protocol is named because asyncio switches Nagle's algorithm off only where it is: 40 ms an answer otherwise.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise ConfigurationError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}. If scrapewatch runs already, "
            f"look at {url_of(settings.host, settings.port)}/, or choose another port with --port"
        ) from error
    return listening


def build(settings: Settings, parts: Sequence[str], stores: contextlib.ExitStack) -> FastAPI:
    """The application of ``parts``; what it opens is closed by ``stores``.

    Raises:
        ConfigurationError: the settings or the surroundings do not allow a start.
        StoreUnavailable: the records do not answer.
    """
    series = open_series(settings, writes=COLLECTOR in parts)
    stores.callback(series.close)
    records = open_records(settings)
    stores.callback(records.close)
    runs: list[Callable[[], contextlib.AbstractAsyncContextManager[Any]]] = []
    hub: Hub = MemoryHub()
    if settings.redis_url is not None:
        hub = shared = _redis_hub(settings.redis_url.get_secret_value())
        runs.append(lambda: shared.running(listening=API in parts))
    collecting = None
    if COLLECTOR in parts:
        collecting = Collector(settings, series, records, hub, aside=stack.forwarding.command(settings))
    app = FastAPI(
        title="scrapewatch",
        version=__version__,
        summary="Monitoring for scraping teams: no acknowledged event is lost or counted twice.",
        docs_url=None,  # the API has pages of its own there
        redoc_url=None,
        openapi_tags=[{"name": "ingest", "description": "Events in."}],
        lifespan=lambda _: _life(runs),
    )
    gate, tokens = make_gate(settings, records.engine, writes=COLLECTOR in parts)
    runs.append(gate.running)
    app.state.own_key = own_key(tokens)
    # What is added last stands in front: the guard, then who a proxy says asks, then the gate.
    app.add_middleware(GateMiddleware, gate=gate, routes=lambda: app.routes)
    # Behind a proxy that ends TLS, redirects must say https. As of uvicorn itself, but not on the way of events.
    app.add_middleware(
        ProxyHeadersMiddleware,
        trusted_hosts=os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1"),
    )
    install(app, settings)
    if collecting is not None:
        app.state.front = collector.app.mount(app, collecting, settings, tenant_of, gate=gate)
        if settings.grafana_url is not None:
            from collector import grafana_live

            pusher = grafana_live.build(settings, hub)
            if pusher is not None:
                runs.append(pusher.running)
        # A store that hangs is hung up on. Files of our own answer: what is under way there ends by itself.
        hang_up = _nothing if settings.influx_url is None else series.close
        runs.append(lambda: _collect(collecting, hang_up))
        _describe_events(app)
        if API not in parts:
            app.include_router(collector.app.build_probe_router(collecting))
    if API in parts:
        # Here, not above: a collector alone has no use for them, and takes a quarter less time to load.
        from api.app import TAGS, background, build_router
        from records.queries import RecordQueries

        services = _services(settings, series, RecordQueries(records.engine), hub, collecting, gate, tokens)
        app.openapi_tags = [*(app.openapi_tags or ()), *TAGS]
        app.include_router(build_router(services))
        runs.append(lambda: background(services))
    app.state.collector = collecting
    return app


def _describe_events(app: FastAPI) -> None:
    """Give the OpenAPI document the schemas of the events, which the route of the collector reads by itself."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        document["components"]["schemas"].update(collector.app.event_schemas())
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _redis_hub(url: str) -> RedisHub:
    try:
        from scrapewatch.live_redis import RedisHub
    except ImportError as error:
        raise ConfigurationError(
            "SCRAPEWATCH_REDIS_URL needs the extra redis: pip install 'scrapewatch[redis]'"
        ) from error
    return RedisHub(url)


def _services(
    settings: Settings,
    series: SeriesStore,
    records: RecordQueries,
    hub: Hub,
    collecting: Collector | None,
    gate: Gate,
    tokens: Tokens,
) -> ApiServices:
    from api.services import ApiServices

    key = own_key(tokens)

    async def report(events: Sequence[dict[str, Any]]) -> None:
        if collecting is not None:
            await asyncio.to_thread(collecting.report, events)
        elif settings.collector_url is not None:
            # A check that does not get through is worth nothing later: the next one comes in seconds.
            with contextlib.suppress(ConnectionError, SendError, StoreUnavailable):
                token = await asyncio.to_thread(key)
                client = Client(settings.collector_url, api_key=token, timeout=3.0, give_up_after=3.0)
                await asyncio.to_thread(client.send, events)

    return ApiServices(
        settings=settings,
        series=series,
        records=records,
        hub=hub,
        report=report,
        gate=gate,
        tokens=tokens,
        credentials=credentials_of(settings, records.engine),
        collector_status=None if collecting is None else lambda: _status(collecting),
        extra_metrics=lambda: (
            *(() if collecting is None else collector.metrics.metric_families(collecting)),
            refusals(gate),
        ),
    )


async def _status(collecting: Collector) -> dict[str, Any]:
    spool, problems = await asyncio.to_thread(collecting.status)
    return {
        "problems": problems,
        "held": dict(collecting.held),
        "spooled": spool.spooled,
        "oldest_age": spool.oldest_age,
    }


@contextlib.asynccontextmanager
async def _life(
    runs: Sequence[Callable[[], contextlib.AbstractAsyncContextManager[Any]]],
) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as running:
        for run in runs:
            await running.enter_async_context(run())
        yield


@contextlib.asynccontextmanager
async def _collect(collecting: Collector, hang_up: Callable[[], None]) -> AsyncIterator[None]:
    collecting.start()
    try:
        yield
    finally:
        stopping = asyncio.create_task(asyncio.to_thread(collecting.stop, drain_for=DRAIN_SECONDS))
        await asyncio.wait({stopping}, timeout=DRAIN_SECONDS + 0.2)
        if not stopping.done():
            await asyncio.to_thread(hang_up)
        await stopping


def _nothing() -> None:
    """Nothing is to be done."""


def _spare_what_stays() -> None:
    """Keep what was made so far (modules, schemas) out of the garbage collector's way: it stays, and looking through it stops every ack."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` as :func:`asyncio.run` does, on the fast loop.

    The interpreter's own 5 ms a turn stay: with shorter turns the threads lose more by taking them than an ack gains.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uvloop is not None else None) as runner:
        return runner.run(work)


def _websockets() -> type[asyncio.Protocol]:
    from api.live.protocol import DroppingProtocol

    return DroppingProtocol


@contextlib.asynccontextmanager
async def serving(settings: Settings, parts: Sequence[str]) -> AsyncIterator[Server]:
    """Serve ``parts`` for the length of the block.

    Raises:
        ConfigurationError: the settings or the surroundings do not allow a start.
        StoreUnavailable: the records do not answer.
    """
    with tracing(settings, parts), contextlib.ExitStack() as stores:
        listening = stores.enter_context(contextlib.closing(listen(settings)))
        app = build(settings, parts, stores)
        config = uvicorn.Config(
            getattr(app.state, "front", app),
            http=Connection,
            proxy_headers=False,  # see build: events do without
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            log_config=None,
            access_log=False,
            lifespan="on",
            ws=_websockets() if API in parts else "none",
            ws_max_size=65_536,
            ws_per_message_deflate=False,  # a compressor for each client costs more than it saves
            server_header=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        server = QuietServer(config)
        task = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            while not (server.started or task.done()):  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
            if task.done():
                await task
                raise ConfigurationError("the server did not start; the log says why")
            _spare_what_stays()
            yield Server(app, listening, url_of(settings.host, listening.getsockname()[1]))
        finally:
            server.should_exit = True
            await task
            gc.unfreeze()  # or else extension modules say at the end of the process that they leak
