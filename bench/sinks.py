"""What a flush costs in the stores behind the collector, in processor time of this process: ``make bench-sinks``.

The flush is that of 1,000 sessions at work, a second of theirs: a row a session, two executions each, and their lines in two tiers.
Each store stands beside the least that the same data can cost: the same rows by ``executemany`` into a bare table, the same bytes by
``POST``. What counts are the ratios: the machines are shared.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import urllib3

from embedded.store import EmbeddedStore
from influx.bootstrap import bootstrap
from influx.buckets import bucket_name
from influx.store import InfluxStore
from records.migrate import upgrade
from records.store import SqlRecords
from scrapewatch.line_protocol import Point, encode
from scrapewatch.measurements import Tier
from scrapewatch.ports import DEFAULT_TENANT, Batch, Flush, RecordChanges, RowChange, SeriesStore
from scrapewatch.time import HOUR, MINUTE, SECOND, now_ns, window_start
from tests.influxd import Influxd, find_influxd
from tests.postgres import Postgres, find_postgres

T = TypeVar("T")

SITES = ("indeed", "linkedin")


def changes(sessions: int, second: int) -> list[RecordChanges]:
    """The changes of rows of a flush: every session at work at both sites."""
    began = window_start(now_ns(), HOUR)
    rows = []
    for k in range(sessions):
        at = began + second * SECOND + k * 1_000_000
        name = f"session-{k}"
        rows.append(
            RowChange(
                "scrape_sessions",
                {"session_id": name},
                add={"events": 80, "jobs_seen": 40, "total_jobs_saved": 38, "duplicates_skipped": 2}
                | {"pages_processed": 40, "pages_ok": 39, "pages_blocked": 1},
                least={"started_at": at},
                most={"last_event_at": at + 900_000},
                states=[[at + 900_000, -1, "running", None]],
            )
        )
        rows += [
            RowChange(
                "site_executions",
                {"session_id": name, "site_name": site, "attempt_number": 1},
                add={"jobs_scraped": 20, "pages_processed": 20, "pages_ok": 19, "pages_blocked": 1}
                | {"page_load_sum": 7.25, "page_load_count": 20},
                least={"started_at": at},
            )
            for site in SITES
        ]
    windows = {Tier.FLEET_1M: [window_start(began + second * SECOND, MINUTE)], Tier.FLEET_1H: [began]}
    return [RecordChanges(DEFAULT_TENANT, None, rows, windows)]


def flush(lines: int, second: int) -> Flush:
    """The lines of a flush: as many in the fleet's tier (shorter by a tag) as in that of the sessions."""
    began = window_start(now_ns(), HOUR) - HOUR
    batches = []
    for tier in (Tier.FLEET, Tier.SESSIONS):
        texts = []
        for k in range(lines):
            tags = {"site": f"site-{k % 40}", "session_id": f"session-{k // 5}"}
            if tier is Tier.FLEET:
                tags = {"site": f"site-{k}"}
            jobs = {"scraped": 20, "saved": 19, "duplicate": 1, "dropped": 0}
            pages = {"count": 20, "ok": 19, "blocked": 1, "duration_sum": 7.25, "duration_max": 0.5 + k / 1e4}
            point = (
                Point("pages", tags | {"status_class": "2xx"}, pages, began + second * SECOND)
                if k % 2
                else Point("jobs", tags, jobs, began + second * SECOND)
            )
            texts.append(encode(point))
        batches.append(Batch(DEFAULT_TENANT, tier, texts, [1] * lines))
    return Flush(0, second + 1, batches)


def cost(make: Callable[[int], T], run: Callable[[T], object], units: int, rounds: int) -> float:
    """Median processor time in µs of a unit of what is made anew for each round; the first, which fill caches and tables, do not count."""
    times = []
    for k in range(rounds + 2):
        made = make(k)
        began = time.process_time()
        run(made)
        times.append((time.process_time() - began) / units * 1e6)
    return statistics.median(times[2:])


def report(name: str, unit: str, ours: float, least: float) -> None:
    print(
        f"{name:<28}{ours:>8.2f} µs a {unit}{least:>10.2f} µs at the least{ours / least:>8.1f}×", flush=True
    )


def bench_records(
    url: str, name: str, least: Callable[[list[RecordChanges]], object], args: argparse.Namespace
) -> None:
    records = SqlRecords(url)
    upgrade(records.engine)
    units = len(changes(args.sessions, 0)[0].rows)
    numbers = itertools.count(1)

    def make(k: int) -> list[RecordChanges]:
        return changes(args.sessions, k)

    ours = cost(make, lambda made: records.apply(0, next(numbers), made), units, args.rounds)
    report(name, "row", ours, cost(make, least, units, args.rounds))
    marking = cost(make, records.mark_windows, 1, args.rounds)
    print(f"{name + ', marking windows':<28}{marking:>8.0f} µs a flush")
    records.close()


def bare_rows(made: list[RecordChanges]) -> list[tuple[object, ...]]:
    """The same rows as a bare table takes them."""
    return [
        (*map(str, row.key.values()), *row.add.values(), *row.least.values())[:8]
        for change in made
        for row in change.rows
    ]


def bench_sqlite(folder: Path, args: argparse.Namespace) -> None:
    db = sqlite3.connect(folder / "bare.db")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE bare (a, b, c, d, e, f, g, h)")

    def least(made: list[RecordChanges]) -> None:
        with db:
            db.executemany("INSERT INTO bare VALUES (?, ?, ?, ?, ?, ?, ?, ?)", bare_rows(made))

    bench_records(f"sqlite:///{folder / 'records.db'}", "records on SQLite", least, args)
    db.close()


def bench_postgres(args: argparse.Namespace) -> None:
    import psycopg

    with Postgres() as server:
        url = server.database()
        with psycopg.connect(url) as db:
            db.execute("CREATE TABLE bare (a text, b text, c text, d text, e text, f text, g text, h text)")
            db.commit()

            def least(made: list[RecordChanges]) -> None:
                rows = bare_rows(made)
                db.cursor().executemany("INSERT INTO bare VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", rows)
                db.commit()

            bench_records(url, "records on PostgreSQL", least, args)


def bench_series(
    store: SeriesStore, name: str, least: Callable[[Flush], object], args: argparse.Namespace
) -> None:
    def make(k: int) -> Flush:
        return flush(args.lines, k)

    def write(made: Flush) -> None:
        result = store.write(made)
        assert result.accepted == 2 * args.lines, result

    ours = cost(make, write, 2 * args.lines, args.rounds)
    report(name, "line", ours, cost(make, least, 2 * args.lines, args.rounds))
    store.close()


def bench_influx(args: argparse.Namespace) -> None:
    with Influxd() as server:
        token = bootstrap(server.url, server.org, server.token, [DEFAULT_TENANT])[DEFAULT_TENANT]
        pool = urllib3.PoolManager()

        def least(made: Flush) -> None:
            for batch in made.batches:
                bucket = bucket_name(batch.tenant, batch.tier)
                url = f"{server.url}/api/v2/write?org={server.org}&bucket={bucket}&precision=ns"
                body = "\n".join(batch.lines).encode()
                answer = pool.request("POST", url, body=body, headers={"Authorization": f"Token {token}"})
                assert answer.status == 204, answer.data

        bench_series(InfluxStore(server.url, server.org, token), "InfluxDB", least, args)


def bench_embedded(folder: Path, args: argparse.Namespace) -> None:
    import duckdb
    import numpy as np

    db = duckdb.connect(str(folder / "bare.duckdb"))
    db.execute("CREATE TABLE bare (time BIGINT, site VARCHAR, a BIGINT, b BIGINT, c DOUBLE, d DOUBLE)")

    def least(made: Flush) -> None:
        for batch in made.batches:
            n = len(batch.lines)
            names = np.array([line[:20] for line in batch.lines], object)
            numbers = np.arange(n)
            rows = {
                "time": numbers,
                "site": names,
                "a": numbers,
                "b": numbers,
                "c": numbers / 2,
                "d": numbers / 3,
            }
            db.register("incoming", rows)
            db.execute("INSERT INTO bare SELECT * FROM incoming")

    bench_series(EmbeddedStore(folder / "points.duckdb"), "embedded store", least, args)
    db.close()


@contextmanager
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="bench-sinks-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=1_000)
    parser.add_argument("--lines", type=int, default=5_000, help="lines of a flush in each of two tiers")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", choices=("", "sqlite", "postgres", "influx", "embedded"))
    args = parser.parse_args()
    with ExitStack() as stack:
        path = stack.enter_context(folder())
        benches: dict[str, Callable[[], object]] = {
            "sqlite": lambda: bench_sqlite(path, args),
            "postgres": lambda: bench_postgres(args) if find_postgres() else print("no PostgreSQL"),
            "influx": lambda: bench_influx(args) if find_influxd() else print("no influxd"),
            "embedded": lambda: bench_embedded(path, args),
        }
        for name, run in benches.items():
            if args.only in ("", name):
                run()


if __name__ == "__main__":
    main()
