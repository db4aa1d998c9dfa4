"""InfluxDB refuses what is one tenant's: nobody else waits for it, and what is that tenant's is neither lost nor counted twice."""

from __future__ import annotations

import http.client
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from influx.bootstrap import COLLECTOR, bootstrap, token_file
from records.store import SqlRecords
from tests.credentials import make_key
from tests.faults.ledger import Counts, Ledger, Request, Writer, by_site, difference, request
from tests.faults.proxy import NOT_FOUND, PASS, UNAUTHORIZED, Fault
from tests.faults.rig import PATH, Rig
from tests.influxd import Influxd
from tests.loopback import wait_for

BROKEN, WELL = TENANTS = ("acme", "bravo")


@dataclass
class House:
    """A collector with two tenants, and a ledger of what each sent."""

    rig: Rig
    keys: dict[str, str]
    said: str = ""
    ledgers: dict[str, Ledger] = field(default_factory=lambda: {tenant: Ledger() for tenant in TENANTS})

    def post(self, tenant: str, sent: Request) -> int:
        """Send once; the status of the answer, whose reason is in ``said``."""
        with closing(
            http.client.HTTPConnection("127.0.0.1", self.rig.process.port, timeout=60)
        ) as connection:
            headers = {
                "Content-Type": "application/json",
                "Authorization": f"Bearer {self.keys[tenant]}",
                "Idempotency-Key": sent.key,
            }
            connection.request("POST", PATH, sent.body, headers)
            answer = connection.getresponse()
            self.said = answer.read().decode()
        if answer.status == 202:
            self.ledgers[tenant].ack(sent)
        return answer.status

    def write(self, tenant: str, lines: str, query: str = "") -> int:
        """Write line protocol; the status of the answer, whose reason is in ``said``."""
        with closing(
            http.client.HTTPConnection("127.0.0.1", self.rig.process.port, timeout=60)
        ) as connection:
            headers = {"Authorization": f"Token {self.keys[tenant]}"}
            connection.request("POST", f"/api/v2/write{query}", lines, headers)
            answer = connection.getresponse()
            self.said = answer.read().decode()
            return answer.status

    def send(self, tenant: str, requests: int = 10) -> None:
        """So many requests of up to 30 events each, all of which must be acknowledged."""
        for k in range(requests):
            name = f"{tenant}-{random.randrange(10**9)}-{k}"
            assert self.post(tenant, Writer(random.Random(), name).request()) == 202

    def stored(self, tenant: str, tier: str) -> Counts:
        return self.rig.in_influx(f"{tenant}.{tier}")

    def differs(self, tenant: str) -> list[str]:
        """How the points of a tenant differ from what was acknowledged."""
        expected = self.ledgers[tenant].acked()
        return [
            *difference(expected, self.stored(tenant, "sessions")),
            *difference(by_site(expected), self.stored(tenant, "fleet")),
        ]

    def recorded(self) -> Counts:
        return self.rig.in_records()

    def expected(self) -> Counts:
        found: Counts = Counter()
        for ledger in self.ledgers.values():
            found.update(ledger.acked())
        return found

    def ready(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.rig.process.get("/readyz")
        return found

    def held(self) -> int:
        """Events that wait for the broken tenant's sake, as the metrics say."""
        with suppress(AssertionError):
            return int(self.rig.process.metric(f'scrapewatch_events_held{{tenant="{BROKEN}"}}'))
        return 0

    def must_be_exact(self) -> None:
        wait_for(
            lambda: self.rig.process.totals()["spooled"] == 0,
            what="all is stored",
            seconds=120,
            log=self.rig.process.log,
        )
        for tenant in TENANTS:
            assert self.differs(tenant) == []
        assert difference(self.expected(), self.recorded()) == []
        totals = self.rig.process.totals()
        assert totals["dead_lettered"] == 0
        assert totals["accepted"] == totals["delivered"]
        wait_for(lambda: "held" not in self.ready(), what="nothing is held any more")


@pytest.fixture(scope="module")
def house(influxd: Influxd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with ExitStack() as ends:
        rig = ends.enter_context(Rig(tmp_path_factory.mktemp("house"), influxd, tenants=TENANTS))
        records = SqlRecords(f"sqlite:///{rig.records}")
        keys = {tenant: make_key(records.engine, "writer", tenant=tenant) for tenant in TENANTS}
        reader = make_key(records.engine, "viewer")
        records.close()
        rig.process.headers["Authorization"] = f"Bearer {reader}"
        yield House(rig, keys)


Broken = Callable[[House], ExitStack]


def refused(fault: Fault) -> Broken:
    def begin(house: House) -> ExitStack:
        ends = ExitStack()
        house.rig.proxy.set(fault.of(BROKEN))
        ends.callback(house.rig.proxy.set, PASS)
        return ends

    return begin


def with_another_token(house: House) -> ExitStack:
    ends = ExitStack()
    file = token_file(house.rig.process.folder / "data" / "secrets", BROKEN, COLLECTOR)
    ends.callback(file.write_text, file.read_text())
    file.write_text("none-that-influxdb-knows")
    return ends


@pytest.mark.parametrize(
    "begin",
    [refused(NOT_FOUND), with_another_token],
    ids=["bucket gone", "another token"],
)
def test_what_is_refused_of_one_tenant_delays_nothing_of_another(house: House, begin: Broken) -> None:
    for tenant in TENANTS:
        house.send(tenant)
    house.must_be_exact()
    with begin(house):
        for _ in range(3):
            for tenant in TENANTS:
                house.send(tenant, 5)
            time.sleep(0.3)  # so that there are several flushes
        wait_for(lambda: house.differs(WELL) == [], what="the other tenant's points are all there")
        wait_for(
            lambda: difference(house.expected(), house.recorded()) == [],
            what="the records of both are all there",
        )
        wait_for(lambda: BROKEN in house.ready().get("held", {}), what="readiness says whose points wait")
        assert "bootstrap" in house.ready()["held"][BROKEN]
        assert house.held() > 0
        totals = house.rig.process.totals()
        assert totals["spooled"] >= house.held()
        assert totals["accepted"] == totals["delivered"] + totals["spooled"] + totals["dead_lettered"]
        assert totals["dead_lettered"] == 0
    house.must_be_exact()
    assert house.held() == 0


def test_what_is_held_survives_a_kill_and_stays_in_order(house: House) -> None:
    with refused(UNAUTHORIZED)(house):
        house.send(BROKEN)
        wait_for(lambda: house.held() > 0, what="something is held")
        house.rig.process.kill()
        house.rig.process.start()
        for tenant in TENANTS:
            house.send(tenant)
        wait_for(lambda: house.differs(WELL) == [], what="the other tenant's points are all there")
        house.rig.process.kill()
        house.rig.process.start()
    house.must_be_exact()


def test_lines_of_a_field_written_twice_end_with_what_came_last(house: House) -> None:
    at = int(time.time())
    with refused(UNAUTHORIZED)(house):
        for value in range(8):
            assert house.write(BROKEN, f"overwritten value={value} {at}", "?precision=s") == 204
            time.sleep(0.15)  # so that there are several flushes
    assert house.write(BROKEN, f"overwritten value=8 {at}", "?precision=s") == 204
    wait_for(lambda: house.rig.process.totals()["spooled"] == 0, what="all is stored", seconds=120)
    query = f'from(bucket: "{BROKEN}.external") |> range(start: 0) |> filter(fn: (r) => r._measurement == "overwritten")'
    said = house.rig._ask("POST", f"/api/v2/query?org={house.rig.org}", query.encode()).decode()
    (row,) = [line for line in said.splitlines() if "overwritten" in line]
    assert ",8," in row


def test_a_tenant_whose_backlog_fills_its_half_of_the_spool_is_refused_alone(
    influxd: Influxd, tmp_path: Path
) -> None:
    with Rig(tmp_path, influxd, {"SCRAPEWATCH_SPOOL_MAX_BYTES": "4000000"}, tenants=TENANTS) as rig:
        records = SqlRecords(f"sqlite:///{rig.records}")
        house = House(rig, {tenant: make_key(records.engine, "writer", tenant=tenant) for tenant in TENANTS})
        rig.process.headers["Authorization"] = f"Bearer {make_key(records.engine, 'viewer')}"
        records.close()
        rig.proxy.set(UNAUTHORIZED.of(BROKEN))
        answers: list[int] = []
        while "of this tenant alone" not in house.said:
            # Of texts that cannot be made small; and of keys and ids, which the spool keeps for days, there are none.
            lines = "\n".join(f'full,k={k} text="{random.randbytes(100).hex()}"' for k in range(500))
            answers.append(house.write(BROKEN, lines))
            assert len(answers) < 1_000
            if len(answers) % 10 == 0:  # what is on its way there is not counted as held yet
                wait_for(lambda: rig.process.totals()["spooled"] == house.held(), what="all is held")
        assert set(answers) == {204, 503}
        for _ in range(5):
            sent = request(Writer(random.Random(), WELL).events(30))
            wait_for(lambda: house.post(WELL, sent) == 202, what="the other tenant is taken")  # noqa: B023
        wait_for(lambda: house.differs(WELL) == [], what="the other tenant goes on")
        rig.proxy.set(PASS)
        house.must_be_exact()
        assert house.write(BROKEN, "full value=1") == 204
        house.send(BROKEN)
        house.must_be_exact()


def test_a_tenants_windows_are_rolled_up_while_another_tenant_is_refused(house: House) -> None:
    def rolled(tenant: str) -> Counter[str]:
        found: Counter[str] = Counter()
        for (kind, _, _), count in house.stored(tenant, "fleet_1m").items():
            found[kind] += count
        return found

    def expected(tenant: str) -> Counter[str]:
        found: Counter[str] = Counter()
        for (kind, _, _), count in house.ledgers[tenant].acked().items():
            found[kind] += count
        return found

    with refused(UNAUTHORIZED)(house):
        for tenant in TENANTS:
            house.send(tenant)
        wait_for(lambda: rolled(WELL) == expected(WELL), what="its minutes are rolled up", seconds=120)
    house.must_be_exact()
    wait_for(lambda: rolled(BROKEN) == expected(BROKEN), what="so are the other's, then", seconds=120)


def test_buckets_that_were_deleted_are_made_again_and_filled(house: House) -> None:
    house.must_be_exact()
    buckets = json.loads(house.rig._ask("GET", f"/api/v2/buckets?org={house.rig.org}&limit=100"))["buckets"]
    (found,) = [bucket["id"] for bucket in buckets if bucket["name"] == f"{BROKEN}.fleet"]
    house.rig._ask("DELETE", f"/api/v2/buckets/{found}")
    house.ledgers[BROKEN], before = Ledger(), house.ledgers[BROKEN]
    house.send(BROKEN)
    house.send(WELL)
    wait_for(lambda: BROKEN in house.ready().get("held", {}), what="readiness says whose points wait")
    wait_for(lambda: house.differs(WELL) == [], what="the other tenant goes on")
    bootstrap(
        house.rig.influxd.url,
        house.rig.org,
        house.rig.influxd.token,
        [BROKEN],
        secrets_dir=house.rig.process.folder / "data" / "secrets",
    )
    wait_for(lambda: house.rig.process.totals()["spooled"] == 0, what="all is stored", seconds=120)
    assert difference(by_site(house.ledgers[BROKEN].acked()), house.stored(BROKEN, "fleet")) == []
    house.ledgers[BROKEN] = before
