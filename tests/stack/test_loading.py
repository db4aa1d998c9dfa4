"""What a process loads: as little as its parts need, for the sake of its start and its memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SERVE = """
import asyncio, json, sys
from pathlib import Path
from scrapewatch.settings import load
from stack.serve import serving

async def main():
    # InfluxDB need not be there for a collector to start.
    chosen = load(
        {"SCRAPEWATCH_INFLUX_URL": "http://127.0.0.1:9", "SCRAPEWATCH_INFLUX_TOKEN": "t", "SCRAPEWATCH_SAMPLER": "false"},
        data_dir=Path(sys.argv[1]),
    )
    async with serving(chosen.model_copy(update={"port": 0}), sys.argv[2:]):
        print(json.dumps(sorted(sys.modules)))

asyncio.run(main())
"""

COMMAND = """
import json, sys
from scrapewatch.command import main
main(sys.argv[1:])
print(json.dumps(sorted(sys.modules)))
"""


def modules(program: str, *arguments: str) -> set[str]:
    """The modules and packages that ``program`` had loaded in the end."""
    ran = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    (listed,) = [line for line in ran.stdout.splitlines() if line.startswith('["')]
    names = json.loads(listed)
    return {name.rpartition(".")[0] or name for name in names} | set(names)


def test_a_collector_on_influxdb_loads_neither_the_api_nor_the_embedded_store_nor_migrations_that_are_done(
    tmp_path: Path,
) -> None:
    first = modules(SERVE, str(tmp_path), "collector")
    assert {"collector.spool", "influx.store", "alembic"} <= first
    again = modules(SERVE, str(tmp_path), "collector")
    for loaded in (first, again):
        unwanted = {"api.app", "api.sessions", "records.queries", "embedded", "duckdb", "numpy", "httpx2"}
        assert loaded & (unwanted | {"collector.grafana_live", "websockets"}) == set()
    assert "alembic" not in again


def test_an_api_loads_what_it_serves(tmp_path: Path) -> None:
    assert {"api.app", "records.queries"} <= modules(SERVE, str(tmp_path), "api")


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (("--help",), {"pydantic", "structlog", "sqlalchemy", "collector", "stack.serve"}),
        (("spool", "status"), {"fastapi", "uvicorn", "sqlalchemy", "duckdb", "stack.serve"}),
        (("import", "scrapy-log", "no.log"), {"fastapi", "structlog", "collector", "stack.serve"}),
    ],
)
def test_a_command_that_serves_nothing_loads_no_server(
    tmp_path: Path, arguments: tuple[str, ...], unwanted: set[str]
) -> None:
    more = ("--data-dir", str(tmp_path)) if len(arguments) > 1 else ()
    loaded = modules(COMMAND, *arguments, *more)
    assert "stack.cli" in loaded
    assert loaded & unwanted == set()
