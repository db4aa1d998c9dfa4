"""The pairs of stores that a stack can run on."""

from __future__ import annotations

import uuid
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
    """The embedded store with SQLite, and an organisation of the test's own in InfluxDB with a database in PostgreSQL."""
    if request.param == "embedded":
        yield Stores(tmp_path)
        return
    influxd: Influxd = request.getfixturevalue("influxd")
    server: Postgres = request.getfixturevalue("postgres")
    from influx.bootstrap import bootstrap

    url = server.database()
    org = f"stack-{uuid.uuid4().hex[:12]}"
    tokens = bootstrap(influxd.url, org, influxd.token)
    yield Stores(
        tmp_path,
        {
            "INFLUX_URL": influxd.url,
            "INFLUX_ORG": org,
            "INFLUX_TOKEN": tokens["default"],
            "DATABASE_URL": url,
        },
        influxd,
        server,
    )
    influxd.delete_org(org)
    server.drop(url)
