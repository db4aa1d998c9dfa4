"""A point that a store rejects for good is a dead letter; once the cause is mended, its replay stores it as if nothing had been."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from collector.roller import Roller
from records.store import SqlRecords
from scrapewatch.line_protocol import decode
from scrapewatch.measurements import KEEPING, Tier
from scrapewatch.ports import DEFAULT_TENANT, Batch, Flush, SeriesStore, TimeRange
from scrapewatch.time import HOUR, MINUTE, SECOND, now_ns, to_rfc3339
from stack.stores import open_records, open_series
from tests.stack.conftest import Stores
from tests.stack.running import Up


@contextlib.contextmanager
def opened(stores: Stores) -> Iterator[tuple[SeriesStore, SqlRecords]]:
    """Both stores, while no collector has them."""
    settings = stores.settings()
    series, records = open_series(settings), open_records(settings)
    yield series, records
    series.close()
    records.close()


def spoil(stores: Stores) -> None:
    """From now on the field `scraped` of the fleet's jobs is stored as a float, as if someone else had written it."""
    value = "1i" if stores.influxd is None else "1.5"
    # Of another hour, so that no rollup stumbles over it, but of the same day: InfluxDB keeps the types by shard.
    hours = now_ns() // HOUR
    other = now_ns() + (2 * HOUR if hours % 24 < 2 else -2 * HOUR)
    with opened(stores) as (series, _):
        poison = Batch(DEFAULT_TENANT, Tier.FLEET, [f"jobs,site=else scraped={value} {other}"], [0])
        assert series.write(Flush(98, 1, [poison])).rejected == []
    if stores.influxd is None:
        _retype(stores, "DOUBLE")


def mend(stores: Stores) -> None:
    """Take away what :func:`spoil` did."""
    if stores.influxd is None:
        _retype(stores, "BIGINT")
        return
    influxd, org = stores.influxd, stores.environment["INFLUX_ORG"]
    what = {
        "start": "1970-01-01T00:00:00Z",
        "stop": "2100-01-01T00:00:00Z",
        "predicate": '_measurement="jobs"',
    }
    request = urllib.request.Request(
        f"{influxd.url}/api/v2/delete?org={org}&bucket=fleet", json.dumps(what).encode()
    )
    request.add_header("Authorization", f"Token {influxd.token}")
    request.add_header("Content-Type", "application/json")
    urllib.request.urlopen(request, timeout=30).close()


def _retype(stores: Stores, kind: str) -> None:
    with duckdb.connect(str(stores.folder / "data" / "series.duckdb")) as db:
        db.execute(f"ALTER TABLE t1_fleet.jobs ALTER scraped TYPE {kind}")


def post(up: Up, count: int, at: int) -> None:
    event = {
        "session_id": "s1",
        "metric": "job_scraped",
        "value": {"site": "a", "count": count},
        "timestamp": to_rfc3339(at),
    }
    request = urllib.request.Request(f"{up.url}/api/v1/monitoring/metrics", json.dumps(event).encode())
    request.add_header("Content-Type", "application/json")
    urllib.request.urlopen(request, timeout=10).close()


def scraped(series: SeriesStore, tier: Tier, at: int) -> int:
    """The jobs of site a around ``at`` as the store of points counts them."""
    every = KEEPING[tier].window
    time_range = TimeRange.widened(at - MINUTE, at + MINUTE, max(every, MINUTE))
    points = series.windows("jobs", time_range, tier=tier, tenant=DEFAULT_TENANT)
    return sum(int(point.fields["scraped"]) for point in points if point.tags["site"] == "a")


def roll(series: SeriesStore, records: SqlRecords) -> None:
    roller = Roller(series, records, holder="test")
    deadline = time.monotonic() + 30
    while records.dirty_windows(1, settled_before={}):
        roller.roll(hours=True)
        assert time.monotonic() < deadline
    roller.release()


def status(up: Up) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(up.command("spool", "status", "--json").stdout)
    assert found["accepted"] == found["delivered"] + found["spooled"] + found["dead_lettered"]
    return found


def test_what_a_store_rejected_is_stored_under_its_old_stamp_once_the_cause_is_mended(
    stores: Stores, tmp_path: Path
) -> None:
    up = Up(tmp_path, stores.environment)
    with up:
        up.drain()  # the stores are there now
    spoil(stores)
    # Not now: a second that is over is one that no other flush adds to.
    at = (now_ns() - 30 * SECOND) // SECOND * SECOND
    with up:
        post(up, 5, at)
        up.drain()
        sessions = up.sessions()
        assert [session["total_jobs_found"] for session in sessions] == [5]
    before = status(up)
    (letter,) = json.loads(up.command("spool", "dead-letters", "--json").stdout)
    assert letter["tier"] == "fleet"
    assert "scraped" in letter["reason"]
    assert decode(letter["line"]).fields["scraped"] == 5
    with opened(stores) as (series, records):
        roll(series, records)
        assert scraped(series, Tier.FLEET_1M, at) == 0

    # The cause is still there: it comes back, with its reason.
    again = up.command("spool", "replay", str(letter["id"]))
    assert again.returncode == 1
    assert "0 stored, 1 rejected again" in again.stdout
    assert status(up)["dead_lettered"] == before["dead_lettered"]

    mend(stores)
    mended = up.command("spool", "replay", "--all", "--json")
    assert mended.returncode == 0, mended.stderr
    assert json.loads(mended.stdout)["stored"] == 1
    after = status(up)
    assert after["dead_letters"] == after["dead_lettered"] == 0
    assert after["delivered"] == before["delivered"] + before["dead_lettered"]
    with opened(stores) as (series, records):
        assert scraped(series, Tier.FLEET, at) == 5
        assert {window.tier for window in records.dirty_windows(10, settled_before={})} == {
            Tier.FLEET_1M,
            Tier.FLEET_1H,
        }
        # Under the very stamp that it had: once more changes nothing.
        once_more = Batch(DEFAULT_TENANT, Tier.FLEET, [letter["line"]], [0])
        assert series.write(Flush(98, 2, [once_more])).rejected == []
        roll(series, records)
        for tier in (Tier.FLEET, Tier.FLEET_1M, Tier.FLEET_1H):
            assert scraped(series, tier, at) == 5
    with up:
        assert up.sessions() == sessions


def test_a_running_collector_sends_what_is_wanted_while_events_go_on(stores: Stores, tmp_path: Path) -> None:
    up = Up(tmp_path, stores.environment)
    with up:
        up.drain()
    spoil(stores)
    at = (now_ns() - 30 * SECOND) // SECOND * SECOND
    with up:
        for k in range(3):
            post(up, 1, at - k * SECOND)
        up.drain()
    before = status(up)
    assert before["dead_letters"] == 3
    mend(stores)
    with up:
        post(up, 10, at - 10 * SECOND)
        first = json.loads(up.command("spool", "dead-letters", "--json", "--limit", "1").stdout)[0]["id"]
        done = up.command("spool", "replay", str(first))
        assert done.returncode == 0, done.stderr
        assert "holds the spool" in done.stderr
        assert "1 stored, 0 rejected again, 0 wait" in done.stdout
        assert status(up)["dead_letters"] == 2
        assert up.command("spool", "replay", "--all").returncode == 0
        up.drain()
        assert up.metric("scrapewatch_events_dead_lettered") == 0
    with opened(stores) as (series, records):
        roll(series, records)
        assert scraped(series, Tier.FLEET_1M, at) == 13
