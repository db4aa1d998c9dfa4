"""Stores for dashboards: filled once for all tests, and empty ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import psycopg
import pytest
from influxdb_client.client.influxdb_client import InfluxDBClient

from influx.bootstrap import bootstrap
from influx.buckets import bucket_name
from influx.store import InfluxStore
from records.migrate import upgrade
from records.store import SqlRecords
from scrapewatch.measurements import Tier
from scrapewatch.ports import DEFAULT_TENANT
from scrapewatch.time import SECOND, now_ns
from tests.grafana.filled import PAST, fill
from tests.grafana.history import events
from tests.influxd import Influxd
from tests.postgres import Postgres

READER: Final = "reads_for_dashboards"
"""A role of its own: other tests make and drop the one that is called `grafana`, on the same server."""


@dataclass(frozen=True, slots=True)
class Stores:
    """What Grafana's data sources lead to; ``now`` (ns) is when the history in them ends."""

    influx_url: str
    org: str
    token: str
    records_url: str
    reader_url: str
    now: int


@pytest.fixture(scope="session")
def stores(influxd: Influxd, postgres: Postgres) -> Iterator[Stores]:
    """Stores with sixty days of history."""
    now = now_ns() // SECOND * SECOND
    made = _make(influxd, postgres, "grafana-filled", now)
    with InfluxDBClient(influxd.url, influxd.token, org=made.org) as client:
        client.buckets_api().create_bucket(bucket_name=bucket_name(PAST, Tier.FLEET))
    # The operator's token, since that of a tenant reads no other's buckets.
    series = InfluxStore(made.influx_url, made.org, influxd.token, read_timeout=60.0)
    records = SqlRecords(made.records_url)
    fill(events(now), now, series, records)
    series.close()
    records.close()
    yield made
    _forget(influxd, postgres, made)


@pytest.fixture(scope="session")
def empty_stores(influxd: Influxd, postgres: Postgres) -> Iterator[Stores]:
    """Stores as a new installation has them."""
    made = _make(influxd, postgres, "grafana-empty", now_ns())
    yield made
    _forget(influxd, postgres, made)


def _make(influxd: Influxd, postgres: Postgres, org: str, now: int) -> Stores:
    token = bootstrap(influxd.url, org, influxd.token)[DEFAULT_TENANT]
    url = postgres.database()
    made = Stores(influxd.url, org, token, url, url.replace("postgres@", f"{READER}@"), now)
    _make_reader(postgres)
    records = SqlRecords(made.records_url)
    upgrade(records.engine)
    records.close()
    with psycopg.connect(url, autocommit=True) as database:
        database.execute(
            "INSERT INTO panels.readers (role, tenant) VALUES (%s, %s)", [READER, DEFAULT_TENANT]
        )
    return made


def _make_reader(postgres: Postgres) -> None:
    """The role that Grafana asks as."""
    with psycopg.connect(postgres.url, autocommit=True) as server:
        if server.execute("SELECT FROM pg_roles WHERE rolname = %s", [READER]).fetchone() is None:
            server.execute(f"CREATE ROLE {READER} LOGIN".encode())


def _forget(influxd: Influxd, postgres: Postgres, made: Stores) -> None:
    influxd.delete_org(made.org)
    postgres.drop(made.records_url)
