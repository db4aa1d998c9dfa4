"""SQLite against DuckDB as the embedded store's engine, on our own questions.

    python -m bench.engines [--points 10000000] [--engine sqlite|duckdb]

Both hold the same points of a plausible fleet in the layout of the registry: SQLite (WAL, ``synchronous=FULL``) with the series and
time as the key of its clustered tables and an index by session, DuckDB as :class:`embedded.store.EmbeddedStore` keeps them. Each runs in
a process of its own. Writes ``bench/results/engines.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import duckdb
import numpy as np
from numpy.typing import NDArray

from embedded.incoming import read
from embedded.layout import TableLayout, identifier, schema_name
from embedded.store import EmbeddedStore, question_sql
from scrapewatch import histogram
from scrapewatch.line_protocol import Point, encode
from scrapewatch.measurements import KEEPING, MEASUREMENTS, Fold, Tier, fields_in
from scrapewatch.ports import Batch, Flush, TimeRange
from scrapewatch.questions import QUESTIONS, tier_for
from scrapewatch.time import DAY, HOUR, MINUTE, SECOND, now_ns

TENANT = "default"
NOW = now_ns() // HOUR * HOUR
SITES = ("indeed", "linkedin", "glassdoor")
SESSIONS = 10 * 90  # ten a day, of which each runs for an hour or so

# The share of each table in all points: 9 days of flushes, 90 days by session, 90 days of minutes, 5 years of hours.
SHARES: Mapping[tuple[Tier, str], float] = {
    (Tier.FLEET, "jobs"): 0.08,
    (Tier.FLEET, "pages"): 0.12,
    (Tier.FLEET, "errors"): 0.03,
    (Tier.FLEET, "breakers"): 0.01,
    (Tier.FLEET, "host"): 0.02,
    (Tier.FLEET, "service_checks"): 0.01,
    (Tier.SESSIONS, "jobs"): 0.12,
    (Tier.SESSIONS, "pages"): 0.18,
    (Tier.SESSIONS, "errors"): 0.04,
    (Tier.SESSIONS, "queue"): 0.09,
    (Tier.SESSIONS, "resources"): 0.077,
    (Tier.FLEET_1M, "jobs"): 0.04,
    (Tier.FLEET_1M, "pages"): 0.08,
    (Tier.FLEET_1M, "errors"): 0.03,
    (Tier.FLEET_1M, "breakers"): 0.01,
    (Tier.FLEET_1M, "host"): 0.01,
    (Tier.FLEET_1M, "queue"): 0.02,
    (Tier.FLEET_1M, "service_checks"): 0.01,
    (Tier.FLEET_1H, "jobs"): 0.006,
    (Tier.FLEET_1H, "pages"): 0.01,
    (Tier.FLEET_1H, "errors"): 0.002,
    (Tier.FLEET_1H, "breakers"): 0.002,
    (Tier.FLEET_1H, "host"): 0.001,
    (Tier.FLEET_1H, "queue"): 0.002,
}
ASKED = (
    "throughput",
    "errors",
    "success_rate",
    "response_times",
    "session_metrics",
    "queue",
    "resources",
    "breaker_states",
)
# A span, and its windows: about 300 to a picture, or as fine as an analyst may ask.
SPANS = {
    "1 h by 30 s": (HOUR, 30 * SECOND),
    "1 d by 5 min": (DAY, 5 * MINUTE),
    "7 d by 5 min": (7 * DAY, 5 * MINUTE),
    "90 d by 15 min": (90 * DAY, 15 * MINUTE),
    "90 d by 6 h": (90 * DAY, 6 * HOUR),
}
CHUNK = 100_000
FLUSHES = 100
REPEATS = 11

Columns = dict[str, NDArray[Any]]


def session_name(number: int) -> str:
    return f"session-{number:06d}"


def chunk_of(tier: Tier, measurement: str, start: int, stop: int, rows: int, seed: int) -> Columns:
    """``rows`` points from ``start`` to ``stop``: time, tags, and fields masked where a point has none."""
    chance = np.random.default_rng(seed)
    known = MEASUREMENTS[measurement]
    window = KEEPING[tier].window
    times = np.sort(chance.integers(start, stop, rows))
    if window:
        times = times // window * window
    columns: Columns = {"time": times}
    pools: dict[str, tuple[str, ...]] = {
        "site": SITES,
        "status_class": ("2xx", "2xx", "2xx", "4xx", "5xx"),
        "type": ("403", "429", "timeout", "parsing"),
        "service": ("influxdb", "sql", "redis", "grafana", "collector"),
    }
    for tag in known.tag_names(tier):
        if tag == "session_id":
            # Each session reports for a while, then the next one does.
            numbers = ((times - (NOW - 90 * DAY)) * SESSIONS // (90 * DAY)) + chance.integers(0, 10, rows)
            names = np.array([session_name(number) for number in range(SESSIONS + 10)], object)
            columns[tag] = names[numbers]
        else:
            pool = np.array(pools.get(tag, ("one",)), object)
            columns[tag] = pool[chance.integers(0, len(pool), rows)]
    for field in fields_in(known, tier):
        share = 1.0
        if field.name in histogram.FIELDS:
            share = 0.3 if "h16" < field.name < "h27" else 0.0
        values = chance.integers(0, 3 if field.fold is Fold.STATE else 50, rows)
        typed = values.astype(np.int64) if field.type is int else values * 1.37
        columns[field.name] = np.ma.masked_array(typed, chance.random(rows) >= share)
    return columns


def chunks(points: int) -> Iterator[tuple[Tier, str, Columns]]:
    """All points, table by table in the order of time."""
    for seed, ((tier, measurement), share) in enumerate(SHARES.items()):
        rows = round(points * share)
        start = max(NOW - KEEPING[tier].retention, NOW - 365 * DAY)
        count = max(1, rows // CHUNK)
        for k in range(count):
            low, high = start + (NOW - start) * k // count, start + (NOW - start) * (k + 1) // count
            yield tier, measurement, chunk_of(tier, measurement, low, high, rows // count, 1000 * seed + k)


def flush_of(number: int) -> Flush:
    """A flush of about 1,000 points, as of a second after the bulk."""
    chance = random.Random(number)
    stamp = NOW + number * SECOND + number
    lines: dict[Tier, list[str]] = {Tier.FLEET: [], Tier.SESSIONS: []}
    for k in range(240):
        site, session = f"{chance.choice(SITES)}-{k % 20}", session_name(SESSIONS + k)
        found: dict[str, Any] = {"scraped": 5, "saved": 4, "duplicate": 1}
        page: dict[str, Any] = {"count": 3, "ok": 3, "bytes": 91_123, "duration_sum": 3.25}
        page |= {"duration_count": 3, "duration_max": 1.5, "h18": 1, "h19": 2}
        waiting: dict[str, Any] = {"depth": k, "pending": 2, "active_scrapers": 1}
        of_site = {"session_id": session, "site": site}
        own = NOW + number * SECOND + chance.randrange(SECOND)
        lines[Tier.SESSIONS] += [
            encode(Point("jobs", of_site, found, stamp)),
            encode(Point("pages", {**of_site, "status_class": "2xx"}, page, stamp)),
            encode(Point("queue", of_site, waiting, own)),
            encode(
                Point("resources", {"session_id": session}, {"memory_mb": 210.5, "cpu_percent": 12.5}, own)
            ),
        ]
        if k < 20:
            lines[Tier.FLEET] += [
                encode(Point("jobs", {"site": f"site-{k}"}, found, stamp)),
                encode(Point("pages", {"site": f"site-{k}", "status_class": "2xx"}, page, stamp)),
            ]
    return Flush(0, number, [Batch(TENANT, tier, those, (1,) * len(those)) for tier, those in lines.items()])


class _Engine(Protocol):
    """What is measured of either engine."""

    def load(self, tier: Tier, measurement: str, columns: Columns) -> None: ...

    def loaded(self) -> None: ...

    def write(self, flush: Flush) -> None: ...

    def ask(
        self, question: str, bound: Mapping[str, str], over: TimeRange, tier: Tier
    ) -> list[tuple[Any, ...]]: ...

    def close(self) -> None: ...


class _DuckDb:
    """The store as it is; the bulk goes past it, into its file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "points.duckdb"
        new = not self._path.exists()
        self._store = EmbeddedStore(self._path)
        if new:
            self._store.write(Flush(0, 0, [Batch(TENANT, Tier.FLEET, [f"jobs scraped=0i {NOW}"], [1])]))
            self._store.close()
            self._bulk = duckdb.connect(str(self._path), config={"memory_limit": "512MB", "threads": 2})

    def load(self, tier: Tier, measurement: str, columns: Columns) -> None:
        self._bulk.register("incoming", columns)
        name = f"{schema_name(1, tier)}.{identifier(measurement)}"
        self._bulk.execute(f"INSERT INTO {name} BY NAME SELECT * FROM incoming")

    def loaded(self) -> None:
        self._bulk.close()
        self._store = EmbeddedStore(self._path)

    def write(self, flush: Flush) -> None:
        result = self._store.write(flush)
        assert not result.rejected
        assert result.kept is None, result.kept

    def ask(
        self, question: str, bound: Mapping[str, str], over: TimeRange, tier: Tier
    ) -> list[tuple[Any, ...]]:
        return self._store.ask(question, bound, over, tier=tier, tenant=TENANT).rows

    def close(self) -> None:
        self._store.close()


class _Sqlite:
    """The same layout in SQLite: no engine setting is left at less than it can do."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "points.sqlite"
        self._layouts: dict[Tier, dict[str, TableLayout]] = {
            tier: {
                name: TableLayout.new(name, tier) for name, m in MEASUREMENTS.items() if fields_in(m, tier)
            }
            for tier in Tier
        }
        self._db = self._connect()
        self._reading = threading.local()
        for tier, layouts in self._layouts.items():
            for name, layout in layouts.items():
                columns = [
                    "time INTEGER NOT NULL",
                    *(f"{tag} TEXT NOT NULL DEFAULT ''" for tag in layout.tags),
                ]
                columns += [f"{f} {'INTEGER' if layout.types[f] is int else 'REAL'}" for f in layout.fields]
                key = ", ".join(["time", *layout.tags])
                self._db.execute(
                    f"CREATE TABLE IF NOT EXISTS {tier}_{name} ({', '.join(columns)}, PRIMARY KEY ({key})) WITHOUT ROWID"
                )
                if tier is Tier.SESSIONS:
                    self._db.execute(
                        f"CREATE INDEX IF NOT EXISTS {tier}_{name}_session ON {tier}_{name} (session_id, time)"
                    )

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-262144", "mmap_size=1073741824"):
            db.execute(f"PRAGMA {pragma}")
        return db

    def _upsert(self, tier: Tier, measurement: str, columns: Columns) -> None:
        layout = self._layouts[tier][measurement]
        names = list(columns)
        keys = ["time", *layout.tags]
        sets = ", ".join(f"{n} = coalesce(excluded.{n}, {n})" for n in names if n not in keys)
        self._db.executemany(
            f"INSERT INTO {tier}_{measurement} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
            f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {sets}",
            zip(*(values.tolist() for values in columns.values()), strict=True),
        )

    def load(self, tier: Tier, measurement: str, columns: Columns) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._upsert(tier, measurement, columns)
        self._db.execute("COMMIT")

    def loaded(self) -> None:
        self._db.execute("ANALYZE")
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def write(self, flush: Flush) -> None:
        tables = [
            (batch.tier, name, table.columns(table.layout))
            for batch in flush.batches
            for name, table in read(batch, self._layouts[batch.tier], 0)[0].items()
        ]
        self._db.execute("BEGIN IMMEDIATE")
        for tier, name, columns in tables:
            self._upsert(tier, name, columns)
        self._db.execute("COMMIT")

    def ask(
        self, question: str, bound: Mapping[str, str], over: TimeRange, tier: Tier
    ) -> list[tuple[Any, ...]]:
        if not hasattr(self._reading, "db"):
            self._reading.db = self._connect()
        every = {"start": over.start, "stop": over.stop, "every": over.every}
        rows: list[tuple[Any, ...]] = self._reading.db.execute(
            sqlite_sql(question, tier), {**bound, **every}
        ).fetchall()
        return rows

    def close(self) -> None:
        self._db.close()


def sqlite_sql(question: str, tier: Tier) -> str:
    """The text of ``question`` in SQLite's words."""
    where = "time >= $start AND time < $stop"
    if question == "success_rate":
        of_site = f"{where} AND ($site = '' OR site = $site)"
        return f"""SELECT time / $every * $every, site, sum(p), sum(ok), sum(blocked), sum(e) FROM (
            SELECT time, site, count AS p, ok, blocked, NULL AS e FROM {tier}_pages WHERE {of_site}
            UNION ALL SELECT time, site, NULL, NULL, NULL, count FROM {tier}_errors WHERE {of_site}
        ) GROUP BY 1, 2 ORDER BY 1, 2"""
    if question == "session_metrics":
        mine = f"session_id = $session_id AND {where}"
        return f"""SELECT time / $every * $every, site, type, sum(a), sum(b), sum(c), sum(d), sum(e), sum(f), max(g), max(h),
            max(i), avg(j) FROM (
            SELECT time, site, '' AS type, scraped AS a, NULL AS b, NULL AS c, NULL AS d, NULL AS e, NULL AS f, NULL AS g,
                NULL AS h, NULL AS i, NULL AS j FROM {tier}_jobs WHERE {mine}
            UNION ALL SELECT time, site, '', NULL, count, ok, duration_count, duration_sum, NULL, NULL, NULL, NULL, NULL
                FROM {tier}_pages WHERE {mine}
            UNION ALL SELECT time, site, type, NULL, NULL, NULL, NULL, NULL, count, NULL, NULL, NULL, NULL
                FROM {tier}_errors WHERE {mine}
            UNION ALL SELECT time, site, '', NULL, NULL, NULL, NULL, NULL, NULL, depth, active_scrapers, NULL, NULL
                FROM {tier}_queue WHERE {mine}
            UNION ALL SELECT time, '', '', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, memory_mb, cpu_percent
                FROM {tier}_resources WHERE {mine}
        ) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""
    sql = question_sql(question, tier).replace("//", "/").replace("::DOUBLE", "")
    sql = sql.replace("sum(COLUMNS('^h\\d\\d$'))", ", ".join(f"sum({name})" for name in histogram.FIELDS))
    # Beside max(), a bare column is of the row that holds the maximum.
    sql = sql.replace("arg_max(state, time) AS state,", "state, max(time),")
    return sql.replace("\nFROM ", f"\nFROM {tier}_")


def timed(work: Callable[[], object], times: int) -> list[float]:
    """How long ``work`` takes, in ms, sorted."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append((time.perf_counter() - begun) * 1000)
    return sorted(taken)


def write_all(engine: _Engine, flushes: list[Flush]) -> list[float]:
    """How long each of ``flushes`` takes to be durable, in ms, sorted."""
    coming = iter(flushes)
    return timed(lambda: engine.write(next(coming)), len(flushes))


def at(share: float, ordered: list[float]) -> float:
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)


def questions(engine: _Engine) -> Iterator[tuple[str, Callable[[], list[tuple[Any, ...]]]]]:
    """Each question over each span, from the tier that the product would read."""
    for question in ASKED:
        for label, (span, every) in SPANS.items():
            bound = {p.name: p.default or "" for p in QUESTIONS[question].parameters}
            stop = NOW
            if question == "session_metrics":
                if span > DAY:
                    continue
                bound = {"session_id": session_name(SESSIONS // 2)}
                stop = NOW - 45 * DAY + span // 2
            over = TimeRange.widened(max(stop - span, NOW - KEEPING[Tier.FLEET_1M].retention), stop, every)
            tier = tier_for(QUESTIONS[question], over, NOW)
            yield (
                f"{question} {label} ({tier})",
                lambda q=question, b=bound, o=over, t=tier: engine.ask(q, b, o, t),  # type: ignore[misc]
            )


def measure(name: str, folder: Path, points: int) -> dict[str, Any]:
    """All figures of one engine, in this process."""
    engine: _Engine = _DuckDb(folder) if name == "duckdb" else _Sqlite(folder)
    rows = spent = worked = 0.0
    for tier, measurement, columns in chunks(points):
        begun, working = time.perf_counter(), time.process_time()
        engine.load(tier, measurement, columns)
        spent += time.perf_counter() - begun
        worked += time.process_time() - working
        rows += len(columns["time"])
    begun = time.perf_counter()
    engine.loaded()
    spent += time.perf_counter() - begun
    size = sum(file.stat().st_size for file in folder.iterdir())
    figures: dict[str, Any] = {
        "points": int(rows),
        "bulk_rows_per_s": round(rows / spent),
        "bulk_cpu_us_per_row": round(worked / rows * 1e6, 2),
        "bytes_per_point": round(size / rows, 1),
        "rss_mib_after_load": rss_mib(),
        "questions_ms": {},
    }
    answers: dict[str, int] = {}
    for label, work in questions(engine):
        answers[label] = len(work())
        worked = time.process_time()
        taken = timed(work, REPEATS)
        worked = (time.process_time() - worked) / REPEATS * 1000
        figures["questions_ms"][label] = {
            "p50": at(0.5, taken),
            "p95": at(0.95, taken),
            "cpu": round(worked, 2),
        }
    figures["rows_answered"] = answers
    numbers = iter(range(1, 100_000))
    flushes = [flush_of(next(numbers)) for _ in range(FLUSHES)]
    lines = sum(len(batch.lines) for batch in flushes[0].batches)
    worked = time.process_time()
    taken = write_all(engine, flushes)
    worked = time.process_time() - worked
    figures["flush"] = {
        "lines": lines,
        "p50_ms": at(0.5, taken),
        "p95_ms": at(0.95, taken),
        "max_ms": at(1, taken),
    }
    figures["flush"]["cpu_us_per_line"] = round(worked / lines / FLUSHES * 1e6, 1)
    figures["flush"]["lines_per_s"] = round(lines * FLUSHES / sum(taken) * 1000)
    figures["beside_a_writer_ms"] = beside_a_writer(engine, [flush_of(next(numbers)) for _ in range(FLUSHES)])
    figures["rss_mib_peak"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    engine.close()
    return figures


def beside_a_writer(engine: _Engine, flushes: list[Flush]) -> dict[str, float]:
    """Latency of a question and of flushes while both go on without a pause."""
    over = TimeRange.widened(NOW - DAY, NOW, 5 * MINUTE)
    writes: list[float] = []
    writer = threading.Thread(target=lambda: writes.extend(write_all(engine, flushes)))
    reads: list[float] = []
    writer.start()
    while writer.is_alive():
        reads += timed(lambda: engine.ask("throughput", {"site": ""}, over, Tier.FLEET_1M), 1)
    writer.join()
    reads.sort()
    return {
        "read_p50": at(0.5, reads),
        "read_p95": at(0.95, reads),
        "write_p50": at(0.5, writes),
        "write_p95": at(0.95, writes),
    }


def write_until_killed(name: str, folder: Path) -> None:
    """Write flushes, and print the number of each once it is durable."""
    engine: _Engine = _DuckDb(folder) if name == "duckdb" else _Sqlite(folder)
    if isinstance(engine, _DuckDb):
        engine.loaded()
    for number in range(1, 100_000):
        engine.write(flush_of(number))
        print(number, flush=True)


def survives_kill(name: str) -> dict[str, int]:
    """Flushes that were acknowledged before a kill -9, and those that are there after it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "bench.engines",
            "--engine",
            name,
            "--folder",
            folder,
            "--until-killed",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            number = 0
            while number < 20:
                number = int(writer.stdout.readline())
            writer.kill()
            acknowledged = int([str(number), *writer.stdout.read().split()][-1])
        engine: _Engine = _DuckDb(Path(folder)) if name == "duckdb" else _Sqlite(Path(folder))
        over = TimeRange.widened(NOW + SECOND, NOW + HOUR, SECOND)
        found = engine.ask("throughput", {"site": "site-0"}, over, Tier.FLEET)
        engine.close()
        return {"acknowledged": acknowledged, "found": len(found)}


def rss_mib() -> int:
    """Resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 2**20


def cpu_model() -> str:
    """What the machine calls its processor."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(": ")[2] if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=10_000_000)
    parser.add_argument("--engine", choices=("sqlite", "duckdb"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--until-killed", action="store_true")
    asked = parser.parse_args()
    if asked.until_killed:
        write_until_killed(asked.engine, asked.folder)
        return
    if asked.folder:
        print(json.dumps(measure(asked.engine, asked.folder, asked.points)))
        return
    results: dict[str, Any] = {
        "versions": {
            "python": platform.python_version(),
            "duckdb": duckdb.__version__,
            "sqlite": sqlite3.sqlite_version,
        },
        "cores": os.cpu_count(),
        "cpu": cpu_model(),
        "load_average_before": os.getloadavg(),
        "engines": {},
    }
    for name in [asked.engine] if asked.engine else ["duckdb", "sqlite"]:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "bench.engines", "--engine", name, "--folder", folder]
            command += ["--points", str(asked.points)]
            figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        results["engines"][name] = {**figures, "kill_9": survives_kill(name)}
        print(name, json.dumps(results["engines"][name], indent=1))
    results["load_average_after"] = os.getloadavg()
    out = Path(__file__).parent / "results" / "engines.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
