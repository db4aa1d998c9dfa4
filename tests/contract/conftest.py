"""Every store of points, each on a tenant of the test's own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from scrapewatch.ports import SeriesStore
from tests.influxd import Influxd

_tenants = (f"tenant {number}" for number in itertools.count())


@dataclass(frozen=True)
class Series:
    """A store, and two tenants of it that hold nothing."""

    store: SeriesStore
    tenant: str
    other_tenant: str


def open_embedded(path: Path, tenants: Sequence[str]) -> SeriesStore:
    """The embedded store in a new file; it makes room for a tenant at its first point."""
    from embedded.store import EmbeddedStore

    return EmbeddedStore(path)


def open_influx(influxd: Influxd, tenants: Sequence[str]) -> SeriesStore:
    """The InfluxDB store, with empty buckets for ``tenants``."""
    from influx.bootstrap import bootstrap
    from influx.store import InfluxStore

    return InfluxStore(influxd.url, influxd.org, bootstrap(influxd.url, influxd.org, influxd.token, tenants))


@pytest.fixture(params=["embedded", "influx"])
def series(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Series]:
    tenants = next(_tenants), next(_tenants)
    if request.param == "embedded":
        store = open_embedded(tmp_path / "points.db", tenants)
    else:
        store = open_influx(request.getfixturevalue("influxd"), tenants)
    try:
        yield Series(store, *tenants)
    finally:
        store.close()
