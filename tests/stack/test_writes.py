"""Line protocol as clients of InfluxDB send it: durable, stored as it came, counted, bounded, and never another tenant's."""

from __future__ import annotations

import csv
import gzip
import io
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision

from influx.bootstrap import bootstrap
from records.store import SqlRecords
from scrapewatch.time import SECOND, now_ns
from tests.credentials import make_key
from tests.influxd import Influxd
from tests.stack.running import Up

PATH = "/api/v2/write"
ORG = "writes"
TENANTS = ("acme", "bravo")


@dataclass
class Answer:
    status: int
    headers: Any
    body: Any


@dataclass
class Writing:
    """The product on InfluxDB with two tenants, and a key for each."""

    up: Up
    influxd: Influxd
    keys: dict[str, str]

    def write(
        self,
        lines: str | bytes,
        *,
        tenant: str = "acme",
        query: str = "?org=any&bucket=any",
        key: str | None = None,
        **headers: str,
    ) -> Answer:
        shown = {
            "Authorization": f"Token {key or self.keys[tenant]}",
            "Content-Type": "text/plain; charset=utf-8",
        }
        shown |= {name.replace("_", "-"): value for name, value in headers.items()}
        return post(self.up.url + PATH + query, lines if isinstance(lines, bytes) else lines.encode(), shown)

    def stored(self, measurement: str, *, tenant: str = "acme") -> list[dict[str, str]]:
        """The values of a measurement in the bucket of a tenant."""
        self.up.drain()
        query = (
            f'from(bucket: "{tenant}.external") |> range(start: 0, stop: 2100-01-01T00:00:00Z)'
            f' |> filter(fn: (r) => r._measurement == "{measurement}")'
        )
        asked = urllib.request.Request(
            f"{self.influxd.url}/api/v2/query?org={ORG}",
            query.encode(),
            {"Authorization": f"Token {self.influxd.token}", "Content-Type": "application/vnd.flux"},
        )
        with urllib.request.urlopen(asked, timeout=60) as answer:
            # Its CSV has \r\n where a value has \n.
            rows = csv.DictReader(io.StringIO(answer.read().decode().replace("\r\n", "\n")))
            return [row for row in rows if row["_measurement"] == measurement]


def post(url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, dict(headers)), timeout=60) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, json.loads(error.read()))


@pytest.fixture(scope="module")
def writing(influxd: Influxd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writing]:
    folder = tmp_path_factory.mktemp("writes")
    tokens = bootstrap(
        influxd.url, ORG, influxd.token, ("default", *TENANTS), secrets_dir=folder / "data" / "secrets"
    )
    records = f"sqlite:///{folder / 'data' / 'records.sqlite'}"
    environment = {
        "INFLUX_URL": influxd.url,
        "INFLUX_ORG": ORG,
        "INFLUX_TOKEN": tokens["default"],
        "DATABASE_URL": records,
        "SCRAPEWATCH_MAX_EXTERNAL_SERIES": "500",
    }
    with Up(folder, environment) as up:
        store = SqlRecords(records)
        keys = {tenant: make_key(store.engine, "writer", tenant=tenant) for tenant in TENANTS}
        keys["viewer"] = make_key(store.engine, "viewer", tenant="acme")
        keys["default"] = make_key(store.engine, "viewer")
        store.close()
        up.headers["Authorization"] = f"Bearer {keys['default']}"
        yield Writing(up, influxd, keys)
    influxd.delete_org(ORG)


def test_lines_are_stored_as_they_came_under_their_own_times(writing: Writing) -> None:
    at = now_ns()
    answer = writing.write(f'weather,city=Berlin temperature=21.5,wind=3i,said="a, b\nc",rain=f {at}\n')
    assert (answer.status, answer.body) == (204, b"")
    found = {row["_field"]: row["_value"] for row in writing.stored("weather")}
    assert found == {"temperature": "21.5", "wind": "3", "said": "a, b\nc", "rain": "false"}
    (city,) = {row["city"] for row in writing.stored("weather")}
    assert city == "Berlin"


@pytest.mark.parametrize(("precision", "factor"), [("s", SECOND), ("ms", 10**6), ("us", 1_000), ("ns", 1)])
def test_a_line_sent_again_in_any_precision_is_the_same_point(
    writing: Writing, precision: str, factor: int
) -> None:
    at = now_ns() // SECOND
    before = len(writing.stored("again"))
    for _ in range(3):
        line = f"again,unit={precision} value=1 {at * SECOND // factor}"
        assert writing.write(line, query=f"?precision={precision}").status == 204
    assert len(writing.stored("again")) == before + 1


def test_a_compressed_body_is_taken(writing: Writing) -> None:
    body = gzip.compress(f"packed value=1 {now_ns()}".encode())
    assert writing.write(body, Content_Encoding="gzip").status == 204
    assert len(writing.stored("packed")) == 1


def test_the_client_of_influxdb_writes_and_reads_what_is_wrong(writing: Writing) -> None:
    with InfluxDBClient(writing.up.url, token=writing.keys["acme"], org="whatever") as client:
        api = client.write_api(write_options=SYNCHRONOUS)
        point = {
            "measurement": "from_client",
            "tags": {"host": "a b,c=d"},
            "fields": {"count": 3, "share": 0.5},
            "time": now_ns() // SECOND,
        }
        api.write("whatever", record=point, write_precision=WritePrecision.S)
        with pytest.raises(Exception, match="line 1 has the name of a measurement") as caught:
            api.write("whatever", record={"measurement": "jobs", "fields": {"scraped": 1}})
        assert caught.value.status == 400  # type: ignore[attr-defined]
        assert "own" in caught.value.message  # type: ignore[attr-defined]
    assert {row["_field"]: row["_value"] for row in writing.stored("from_client")} == {
        "count": "3",
        "share": "0.5",
    }
    assert writing.stored("from_client")[0]["host"] == "a b,c=d"


def test_good_lines_are_kept_beside_bad_ones_and_the_answer_says_which(writing: Writing) -> None:
    answer = writing.write("mixed value=1\nmixed\njobs scraped=1i\nmixed,a=b value=2")
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.body["code"] == "invalid"
    assert answer.body["message"].startswith("partial write: line 2 has no fields")
    assert answer.body["line"] == 2
    assert answer.body["accepted"] == 2
    assert [bad["line"] for bad in answer.body["rejected"]] == [2, 3]
    assert len(writing.stored("mixed")) == 2


def test_what_a_field_was_of_another_type_before_becomes_a_dead_letter_and_all_adds_up(
    writing: Writing,
) -> None:
    at = now_ns()
    assert writing.write(f"typed value=1 {at}").status == 204
    assert len(writing.stored("typed")) == 1
    before = writing.up.metric("scrapewatch_events_dead_lettered")
    assert writing.write(f"typed value=2i {at}\ntyped other=2i {at}").status == 204
    assert len(writing.stored("typed")) == 2
    assert writing.up.metric("scrapewatch_events_dead_lettered") == before + 1
    accepted, delivered, dead = (
        writing.up.metric(f"scrapewatch_events_{name}")
        for name in ("accepted_total", "delivered_total", "dead_lettered")
    )
    assert accepted == delivered + dead


def test_lines_go_to_the_tenant_of_the_credential_whatever_bucket_is_named(writing: Writing) -> None:
    query = "?org=writes&bucket=bravo.external&orgID=1"
    assert writing.write("mine value=1", tenant="acme", query=query).status == 204
    assert writing.write("mine value=2", tenant="bravo", query="").status == 204
    assert [row["_value"] for row in writing.stored("mine", tenant="acme")] == ["1"]
    assert [row["_value"] for row in writing.stored("mine", tenant="bravo")] == ["2"]


def test_events_and_lines_of_one_tenant_arrive_beside_each_other(writing: Writing) -> None:
    event = {"session_id": "beside", "metric": "job_scraped", "value": {"site": "indeed", "count": 3}}
    for k in range(20):
        assert writing.write(f"beside,k={k} value=1").status == 204
        answer = post(
            writing.up.url + "/api/v1/monitoring/metrics",
            json.dumps({**event, "event_id": f"e{k}"}).encode(),
            {"Authorization": f"Bearer {writing.keys['acme']}", "Content-Type": "application/json"},
        )
        assert answer.status == 202
    assert len(writing.stored("beside")) == 20


def test_a_tenants_series_are_bounded_and_anothers_are_not_touched(writing: Writing) -> None:
    answer = writing.write("\n".join(f"many,k={k} value=1" for k in range(600)), tenant="bravo")
    assert answer.status == 400
    assert "series" in answer.body["message"]
    assert len(answer.body["rejected"]) >= 100
    assert writing.write("many,k=1 value=1", tenant="acme").status == 204


@pytest.mark.parametrize(
    ("lines", "more", "status", "kind"),
    [
        ("m f=1", {"query": "?precision=minutes"}, 400, "invalid-input"),
        (b"\xff\xfe", {}, 400, "not-lines"),
        (b"no gzip", {"Content_Encoding": "gzip"}, 400, "not-lines"),
        ("m f=1", {"Content_Encoding": "br"}, 415, "unsupported-body"),
        ("m f=1\n" * 10_001, {}, 413, "too-many-events"),
        ("m f=1", {"key": "sw_wrong"}, 401, "unauthenticated"),
        ("m f=1", {"tenant": "viewer"}, 403, "forbidden"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_a_reason(
    writing: Writing, lines: str | bytes, more: dict[str, str], status: int, kind: str
) -> None:
    answer = writing.write(lines, **more)
    assert (answer.status, answer.body["type"]) == (status, f"urn:scrapewatch:problem:{kind}")
    if status == 400:
        assert answer.body["code"] == "invalid"
        assert answer.body["message"] == answer.body["detail"]


def test_an_empty_body_is_no_fault(writing: Writing) -> None:
    assert writing.write("").status == writing.write("# a comment\n\n").status == 204


def test_lines_that_were_acknowledged_survive_a_kill(writing: Writing) -> None:
    assert writing.write("killed value=1").status == 204
    writing.up.kill()
    writing.up.start()
    assert len(writing.stored("killed")) == 1


def test_without_influxdb_it_is_said_what_is_missing(tmp_path: Path) -> None:
    with Up(tmp_path) as up:
        answer = post(up.url + PATH, b"m f=1", {})
        assert answer.status == 501
        assert "SCRAPEWATCH_INFLUX_URL" in answer.body["detail"]
        assert up.metric("scrapewatch_events_accepted_total") == 0
