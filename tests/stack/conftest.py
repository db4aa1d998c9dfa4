"""The pairs of stores that a stack can run on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scrapewatch.settings import Settings, load
from tests.influxd import Influxd
from tests.postgres import Postgres


@dataclass(frozen=True)
class Stores:
    """The settings of a pair of stores, as environment variables; ``influxd`` and ``postgres`` are the servers behind it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    influxd: Influxd | None = None
    postgres: Postgres | None = None

    def settings(self) -> Settings:
        """The same as settings."""
        return load({"SCRAPEWATCH_DATA_DIR": str(self.folder / "data"), **self.environment})


@pytest.fixture(params=["embedded", "influx"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    """The embedded store with SQLite, and a fresh InfluxDB with PostgreSQL."""
    if request.param == "embedded":
        yield Stores(tmp_path)
        return
    request.getfixturevalue("influxd")  # says what is missing
    server: Postgres = request.getfixturevalue("postgres")
    from influx.bootstrap import bootstrap

    url = server.database()
    with Influxd() as fresh:
        tokens = bootstrap(fresh.url, fresh.org, fresh.token)
        yield Stores(
            tmp_path,
            {
                "INFLUX_URL": fresh.url,
                "INFLUX_ORG": fresh.org,
                "INFLUX_TOKEN": tokens["default"],
                "DATABASE_URL": url,
            },
            fresh,
            server,
        )
    server.drop(url)
