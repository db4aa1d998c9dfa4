"""Stores that hold a fleet's 90 days: filled once, kept outside the checkout, and served from a copy.

Two pairs of them, as the product has: InfluxDB with PostgreSQL, and the embedded ones. Points go past the collector into the tiers that
they belong to; records come as changes of flushes, so that what is derived from them is derived by whatever version is measured.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import psutil
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import insert, text

from bench._fleet import VERSION, Chunk, Fleet, Size
from bench._results import console
from bench._running import Served, ours
from embedded.layout import identifier, schema_name
from embedded.store import EmbeddedStore
from influx.bootstrap import bootstrap
from influx.buckets import wanted
from influx.store import InfluxStore
from records import migrate
from records.engine import writing
from records.models import Alert
from records.store import COLLECTORS, SqlRecords
from scrapewatch.line_protocol import encoder
from scrapewatch.measurements import MEASUREMENTS, Tier, fields_in
from scrapewatch.ports import DEFAULT_TENANT, Batch, Flush
from scrapewatch.time import HOUR, now_ns
from tests.influxd import Influxd
from tests.postgres import Postgres

INFLUX: Final = "influxdb + postgresql"
EMBEDDED: Final = "embedded"
KINDS: Final = {"influx": INFLUX, "embedded": EMBEDDED}
"""What stores are called by those who choose them, and in the results."""

KEPT_FOR: Final = 12 * HOUR
"""How long filled stores are used again: with older ones the last hours, which many ask for, would be empty."""

_ENDED: Final = "ended"
_SERIES: Final = "series.duckdb"
_RECORDS: Final = "records.sqlite"
_AHEAD: Final = 4
_CALM_SECONDS: Final = 5
_CALM_PERCENT: Final = 20.0


@dataclass(frozen=True, slots=True)
class Kept:
    """The folders with what a pair of stores holds."""

    points: Path
    records: Path


def filled(kind: str, size: Size) -> Kept:
    """Stores of ``kind`` that hold a fleet of ``size``; they are filled if need be."""
    points, records = _folders(kind, size)
    fill_points, fill_records = (
        (_fill_influx, _fill_postgres) if kind == "influx" else (_fill_duckdb, _fill_sqlite)
    )
    if now_ns() - _ended(points) > KEPT_FOR:
        _fill(points, Fleet(size, now_ns()), fill_points)
    if _ended(records) != _ended(points):
        _fill(records, Fleet(size, _ended(points)), fill_records)
    return Kept(points, records)


def discard(kind: str, size: Size) -> None:
    """Forget what was kept of a size, such as that of a quick look."""
    for folder in _folders(kind, size):
        shutil.rmtree(folder, ignore_errors=True)


def _fill(folder: Path, fleet: Fleet, fill: Callable[[Fleet, Path, Progress], None]) -> None:
    """Make ``folder``, which is there whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with (
        tempfile.TemporaryDirectory(
            prefix="bench-api-", dir=folder.parent, ignore_cleanup_errors=True
        ) as unfinished,
        Progress(*columns, console=console) as progress,
    ):
        made = Path(unfinished) / "made"
        made.mkdir()
        fill(fleet, made, progress)
        (made / _ENDED).write_text(str(fleet.stop))
        made.rename(folder)


def _ended(folder: Path) -> int:
    """When the days end (ns) that are in ``folder``; 0 where there is nothing."""
    file = folder / _ENDED
    return int(file.read_text()) if file.is_file() else 0


def _folders(kind: str, size: Size) -> tuple[Path, Path]:
    """Where points and records are kept; their names tell sizes apart, and what the stores must be like."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scrapewatch"
    registry = [
        [tier, name, [field.name for field in fields_in(known, tier)]]
        for name, known in MEASUREMENTS.items()
        for tier in Tier
    ]
    revisions = sorted(
        path.name for path in (Path(migrate.__file__).parent / "migrations" / "versions").glob("*.py")
    )

    buckets = [asdict(bucket) for bucket in wanted(DEFAULT_TENANT)] if kind == "influx" else []

    def folder(part: str, *made_of: Any) -> Path:
        digest = hashlib.sha256(json.dumps([VERSION, *made_of]).encode()).hexdigest()[:12]
        return cache / f"bench-api-{kind}-{part}-{digest}"

    return (
        folder("points", size.points, size.sessions, registry, *buckets),
        folder("records", size.sessions, size.postings, revisions),
    )


@contextmanager
def serving(kind: str, kept: Kept) -> Iterator[Served]:
    """``scrapewatch up`` with default settings on a copy of the stores in ``kept``."""
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True))
        )
        environment = {"SCRAPEWATCH_SAMPLER": "true", "SCRAPEWATCH_DATABASE_URL": ""}
        if kind == "influx":
            influxd = stack.enter_context(Influxd(kept=kept.points / "influxd"))
            postgres = stack.enter_context(Postgres(kept=kept.records / "postgres"))
            environment |= {
                "SCRAPEWATCH_INFLUX_URL": influxd.url,
                "SCRAPEWATCH_INFLUX_ORG": influxd.org,
                "SCRAPEWATCH_INFLUX_TOKEN": bootstrap(influxd.url, influxd.org, influxd.token)[
                    DEFAULT_TENANT
                ],
                "SCRAPEWATCH_DATABASE_URL": postgres.url,
            }
        else:
            data = folder / "data"
            data.mkdir()
            shutil.copy(kept.points / _SERIES, data)
            shutil.copy(kept.records / _RECORDS, data)
        served = stack.enter_context(ours(folder, environment, part="up"))
        if kind == "influx":
            _rest(influxd.pid, 60.0)
        yield served


def echo(folder: Path, port: int) -> Served:
    """A bare FastAPI application that echoes, served as the product is."""
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "bench._echo:app",
        "--port",
        str(port),
        "--log-level",
        "warning",
    ]
    return Served(command, folder, port=port, probe="/echo")


def _fill_influx(fleet: Fleet, folder: Path, progress: Progress) -> None:
    with Influxd() as influxd:
        token = bootstrap(influxd.url, influxd.org, influxd.token)[DEFAULT_TENANT]
        store = InfluxStore(influxd.url, influxd.org, token, read_timeout=300.0)
        numbers = iter(range(1, sys.maxsize))

        def write(chunk: Chunk) -> None:
            lines = lines_of(chunk)
            batch = Batch(DEFAULT_TENANT, chunk.tier, lines, (1,) * len(lines))
            result = store.write(Flush(0, next(numbers), [batch]))
            if result.kept is not None or result.rejected:
                raise RuntimeError(
                    f"InfluxDB does not take the points: {result.kept or result.rejected[0].reason}"
                )

        _bring_points(fleet, write, progress, "InfluxDB")
        store.close()
        _rest(influxd.pid, 300.0)
        influxd.keep(folder / "influxd")


def _fill_postgres(fleet: Fleet, folder: Path, progress: Progress) -> None:
    with Postgres() as postgres:
        _bring_records(fleet, postgres.url, progress, "PostgreSQL")
        postgres.keep(folder / "postgres")


def _fill_duckdb(fleet: Fleet, folder: Path, progress: Progress) -> None:
    # The first flush makes the tables; the rest goes past the store, into its file.
    path = folder / _SERIES
    store = EmbeddedStore(path)
    store.write(Flush(0, 0, [Batch(DEFAULT_TENANT, Tier.FLEET, [f"jobs scraped=0i {fleet.stop}"], [1])]))
    store.close()
    with duckdb.connect(str(path), config={"memory_limit": "1GB", "threads": 2}) as db:

        def write(chunk: Chunk) -> None:
            db.register("incoming", chunk.columns())
            name = f"{schema_name(1, chunk.tier)}.{identifier(chunk.measurement)}"
            db.execute(f"INSERT INTO {name} BY NAME SELECT * FROM incoming")

        _bring_points(fleet, write, progress, "DuckDB")


def _fill_sqlite(fleet: Fleet, folder: Path, progress: Progress) -> None:
    _bring_records(fleet, f"sqlite:///{folder / _RECORDS}", progress, "SQLite")


def _rest(pid: int, seconds: float) -> None:
    """Wait until the process has little to do for a while, such as after InfluxDB has put its files in order; at most ``seconds``."""
    process = psutil.Process(pid)
    until, calm = time.monotonic() + seconds, 0
    while calm < _CALM_SECONDS and time.monotonic() < until:
        calm = calm + 1 if process.cpu_percent(1.0) < _CALM_PERCENT else 0


def lines_of(chunk: Chunk) -> list[str]:
    """The points of ``chunk`` as lines."""
    encode = encoder(chunk.measurement, chunk.tier)
    template = encode.template(tuple(chunk.fields))
    heads = [encode.head(head) for head in chunk.heads]
    values = (column.tolist() for column in chunk.fields.values())
    series, times = chunk.series.tolist(), chunk.times.tolist()
    return [
        template % (heads[one], *fields, "", time)
        for one, time, *fields in zip(series, times, *values, strict=True)
    ]


def _bring_points(fleet: Fleet, write: Callable[[Chunk], None], progress: Progress, name: str) -> None:
    """Write all chunks; some are made while others are written."""
    bar = progress.add_task(f"{name}: points", total=sum(number for *_, number in fleet.tables()))
    with _writing(write, lambda chunk: progress.advance(bar, len(chunk.times))) as put:
        for chunk in fleet.chunks():
            put(chunk)


@contextmanager
def _writing(write: Callable[[Any], None], written: Callable[[Any], None]) -> Iterator[Callable[[Any], None]]:
    """A thread that writes what it is given, in order; what it raises is raised here at the end."""
    waiting: queue.Queue[Any] = queue.Queue(_AHEAD)
    failed: list[BaseException] = []

    def work() -> None:
        while (each := waiting.get()) is not None:
            if not failed:
                try:
                    write(each)
                    written(each)
                except BaseException as error:  # told to who waits
                    failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield waiting.put
    finally:
        waiting.put(None)
        thread.join()
    if failed:
        raise failed[0]


def _bring_records(fleet: Fleet, url: str, progress: Progress, name: str) -> None:
    records = SqlRecords(url)
    migrate.upgrade(records.engine)
    bar = progress.add_task(f"{name}: records", total=fleet.size.sessions + fleet.size.postings)
    numbers = iter(range(1, sys.maxsize))

    def apply(changes: Sequence[Any]) -> None:
        records.apply(COLLECTORS - 1, next(numbers), changes)

    def applied(changes: Sequence[Any]) -> None:
        rows = changes[0].rows
        progress.advance(bar, sum(row.table in ("scrape_sessions", "job_postings") for row in rows))

    with _writing(apply, applied) as put:
        for changes in fleet.flushes():
            put(changes)
    with writing(records.engine) as db:
        db.execute(insert(Alert), list(fleet.alerts()))
    if records.engine.dialect.name == "postgresql":
        # As its autovacuum would have done, in the background, on any server that runs for longer.
        with records.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
            db.execute(text("SET statement_timeout TO 0"))
            db.execute(text("VACUUM ANALYZE"))
    records.close()
