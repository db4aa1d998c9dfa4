"""Tenants never see each other: random calls as two of them, against the running product.

Every text that a tenant sends carries its mark, under ids and names that both use as well as under ids of its own; whatever is asked,
no answer has the other's mark. Nor does any statement that is made for a request read a tenant's table without naming the tenant.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import structlog
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import event
from starlette.testclient import TestClient

from records.credentials import SqlCredentials
from records.models import Base
from records.store import SqlRecords
from scrapewatch import examples
from scrapewatch.access import ROUTES
from scrapewatch.events import OWN
from scrapewatch.gate import registered
from scrapewatch.settings import load
from stack.parts import API, COLLECTOR
from stack.serve import build
from stack.stores import open_records
from tests.credentials import bearer, make_key
from tests.influxd import Influxd
from tests.loopback import wait_for
from tests.postgres import Postgres

TENANTS = ("acme", "bravo")
SAME = "same"

# What takes free text; the rest are words of a list, numbers and times.
_TEXTS = frozenset(
    (
        *("site", "sites", "search_term", "location", "message", "error_message", "url", "reason", "name"),
        *("provider", "proxy", "title", "company", "description", "skills"),
    )
)
_UNOWNED = frozenset({"tenants", "api_keys", "token_keys", "collectors", "leases", "dirty_windows"})
_OWNED = frozenset(
    name for name, table in Base.metadata.tables.items() if "tenant" in table.columns and name not in _UNOWNED
)


def mark(tenant: str) -> str:
    return f"zq{tenant}zq"


def marked(value: Any, tenant: str, *, within: bool = False) -> Any:
    """``value`` with the tenant's mark in each text that is free."""
    if isinstance(value, Mapping):
        return {name: marked(item, tenant, within=name in _TEXTS) for name, item in value.items()}
    if isinstance(value, list):
        return [marked(item, tenant, within=within) for item in value]
    return f"{value}{mark(tenant)}" if within and isinstance(value, str) else value


def events_of(tenant: str, session: str, count: int) -> list[dict[str, Any]]:
    """One event of each type, but for the end of the session, with the tenant's mark; ``count`` jobs."""
    found = []
    for metric, shown in examples.EVENTS.items():
        if metric in OWN or metric == "session_finished":
            continue
        made = marked(copy.deepcopy(dict(shown)), tenant)
        made["session_id"] = session
        made.pop("timestamp", None)
        made.pop("event_id", None)
        if metric == "job_scraped":
            made["value"] = {**made["value"], "count": count, "saved": count}
        found.append(made)
    return found


@dataclass
class House:
    """The product with two tenants in it."""

    http: TestClient
    app: Any
    keys: dict[str, dict[str, str]]
    admins: dict[str, dict[str, str]]
    paths: list[str]
    statements: list[str] = field(default_factory=list, repr=False)
    cursors: list[str] = field(default_factory=list)

    def post(self, tenant: str, body: Any, **more: Any) -> Any:
        return self.http.post(
            "/api/v1/monitoring/metrics",
            json=body,
            headers={**self.keys[tenant], **more.pop("headers", {})},
            **more,
        )

    def get(self, tenant: str, path: str, query: Mapping[str, str] | None = None) -> Any:
        return self.http.get(path, params=query or {}, headers=self.keys[tenant])

    def settle(self) -> None:
        """Wait until both stores have everything."""
        spool = self.app.state.collector.spool
        wait_for(lambda: not spool.status().spooled, what="both stores have everything", seconds=60)
        time.sleep(0.1)  # and the live feed has counted it


@pytest.fixture(scope="module", params=["embedded", "influx"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    environment = {
        "SCRAPEWATCH_DATA_DIR": str(folder),
        "SCRAPEWATCH_SAMPLER": "false",
        "SCRAPEWATCH_FLUSH_INTERVAL": "0.05",
        "SCRAPEWATCH_CHECK_INTERVAL": "0.5",
        "SCRAPEWATCH_FORWARDING_PROCESS": "false",
        "SCRAPEWATCH_KEY_REQUESTS_PER_MINUTE": "0",
        "SCRAPEWATCH_TENANT_REQUESTS_PER_MINUTE": "0",
        "SCRAPEWATCH_ADDRESS_REQUESTS_PER_MINUTE": "0",
    }
    with contextlib.ExitStack() as ends:
        if request.param == "influx":
            influxd: Influxd = request.getfixturevalue("influxd")
            postgres: Postgres = request.getfixturevalue("postgres")
            from influx.bootstrap import bootstrap

            org = "house"
            made = bootstrap(
                influxd.url, org, influxd.token, ("default", *TENANTS), secrets_dir=folder / "secrets"
            )
            ends.callback(influxd.delete_org, org)
            url = postgres.database()
            ends.callback(postgres.drop, url)
            environment |= {
                "INFLUX_URL": influxd.url,
                "INFLUX_ORG": org,
                "INFLUX_TOKEN": made["default"],
                "DATABASE_URL": url,
            }
        chosen = load(environment)
        records = open_records(chosen)
        keys = {
            tenant: bearer(make_key(records.engine, "viewer", "writer", tenant=tenant)) for tenant in TENANTS
        }
        admins = {tenant: bearer(make_key(records.engine, "admin", tenant=tenant)) for tenant in TENANTS}
        records.close()
        app = build(chosen, (COLLECTOR, API), ends)
        http = ends.enter_context(
            TestClient(app.state.front, base_url="http://127.0.0.1:8000", follow_redirects=False)
        )
        # What streams without an end is looked at by a test of its own.
        paths = sorted(
            template
            for method, template in registered(app.routes)
            if method == "GET"
            and re.match(r"/(api/v1/)?(monitoring|analytics)", template)
            and "stream" not in template
        )
        found = House(http, app, keys, admins, paths)
        event.listen(_engine_of(app), "before_cursor_execute", _noting(found))
        for number, tenant in enumerate(TENANTS):
            for session in (SAME, f"{tenant}-own"):
                answer = found.post(tenant, events_of(tenant, session, 1_000 + number))
                assert answer.status_code == 202 and not answer.json()["rejected"], answer.text
        found.settle()
        yield found


def _engine_of(app: Any) -> Any:
    records: SqlRecords = app.state.collector._records
    return records.engine


def _noting(house: House) -> Any:
    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        who = structlog.contextvars.get_contextvars().get("who", "")
        if str(who).startswith("key:"):
            house.statements.append(statement)

    return note


def foreign(tenant: str) -> str:
    return next(other for other in TENANTS if other != tenant)


QUERIES: dict[str, list[str]] = {
    "status": ["running", "completed", "open", "firing"],
    "site": [f"indeed{mark(tenant)}" for tenant in TENANTS],
    "search_term": [f"python developer{mark(tenant)}" for tenant in TENANTS],
    "location": [f"Berlin{mark(tenant)}" for tenant in TENANTS],
    "tenant": [*TENANTS, "default", "*"],
    "limit": ["1", "50"],
    "timeframe": ["1h", "24h"],
    "days": ["1", "7", "30"],
    "format": ["json", "csv", "prometheus"],
    "interval": ["1m", "1h"],
}
IDS = [SAME, *(f"{tenant}-own" for tenant in TENANTS), "1", "2", "x' OR tenant='acme"]


@given(
    tenant=st.sampled_from(TENANTS),
    path=st.integers(0, 10_000),
    ids=st.lists(st.sampled_from(IDS), min_size=3, max_size=3),
    query=st.dictionaries(st.sampled_from(sorted(QUERIES)), st.integers(0, 3), max_size=3),
    cursor=st.none() | st.integers(0, 1_000),
)
@example(tenant="acme", path=0, ids=[SAME] * 3, query={}, cursor=None)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_answer_to_any_call_has_what_is_anothers(
    house: House, tenant: str, path: int, ids: list[str], query: dict[str, int], cursor: int | None
) -> None:
    template = house.paths[path % len(house.paths)]
    given_ids = iter(ids)
    target = re.sub(r"\{[^}]*\}", lambda _: next(given_ids), template)
    chosen = {name: QUERIES[name][number % len(QUERIES[name])] for name, number in query.items()}
    if cursor is not None and house.cursors:
        chosen["cursor"] = house.cursors[cursor % len(house.cursors)]
    answer = house.get(tenant, target, chosen)
    assert answer.status_code in (200, 404, 422, 503), (target, answer.text)
    assert_none_of(foreign(tenant), answer.text, asked=[*ids, *chosen.values()])
    if answer.headers["content-type"] == "application/json":
        said = answer.json()
        if isinstance(said, dict) and said.get("next_cursor"):
            house.cursors.append(said["next_cursor"])


def assert_none_of(tenant: str, text: str, *, asked: list[str]) -> None:
    """Nothing of ``tenant`` is in ``text`` but what the caller asked by itself, which an answer may repeat."""
    for word in asked:
        text = text.replace(word, "")
    assert mark(tenant) not in text
    assert f"{tenant}-own" not in text


def test_every_route_is_asked_as_both_for_everything_that_is_there(house: House) -> None:
    for tenant in TENANTS:
        seen = False
        for template in house.paths:
            for wanted in (SAME, f"{tenant}-own", f"{foreign(tenant)}-own"):
                target = re.sub(r"\{[^}]*\}", wanted, template)
                answer = house.get(tenant, target)
                assert answer.status_code in (200, 404, 422), (target, answer.text)
                assert_none_of(foreign(tenant), answer.text, asked=[wanted])
                seen = seen or mark(tenant) in answer.text
        assert seen, "or else the test could not tell"


def test_anothers_session_is_none(house: House) -> None:
    for tenant in TENANTS:
        for path in ("", "/metrics"):
            own = house.get(tenant, f"/api/v1/monitoring/sessions/{tenant}-own{path}")
            other = house.get(tenant, f"/api/v1/monitoring/sessions/{foreign(tenant)}-own{path}")
            nobody = house.get(tenant, f"/api/v1/monitoring/sessions/nobody{path}")
            assert (own.status_code, other.status_code, nobody.status_code) == (200, 404, 404)
            told = [re.sub(r"'[^']*'", "''", answer.json()["detail"]) for answer in (other, nobody)]
            assert told[0] == told[1], "it does not even tell that there is one"


def made_by(house: House, tenant: str) -> dict[str, str]:
    """An id of something of the tenant's for each route that takes one, by the route's last name."""
    call, shown = house.http, house.admins[tenant]
    alert = {
        "status": "firing",
        "labels": {"alertname": f"by {tenant}"},
        "startsAt": "2026-01-05T10:01:00Z",
        "fingerprint": f"of-{tenant}",
    }
    answer = call.post("/api/v1/monitoring/alerts/grafana", json={"alerts": [alert]}, headers=shown)
    assert answer.status_code < 300, answer.text
    (known,) = call.get("/api/v1/monitoring/alerts", headers=shown).json()["items"]
    silence = {"matchers": [{"name": "resource", "value": "x"}], "duration": "1h"}
    silenced = call.post("/api/v1/monitoring/silences", json=silence, headers=shown).json()
    schedule = {"name": f"of-{tenant}", "metrics": ["throughput"]}
    assert call.post("/api/v1/monitoring/export/schedules", json=schedule, headers=shown).status_code < 300
    key = call.post("/api/v1/admin/keys", json={"name": "spare", "scopes": ["viewer"]}, headers=shown).json()
    return {
        "session_id": f"{tenant}-own",
        "alert_id": str(known["id"]),
        "silence_id": str(silenced["id"]),
        "export/schedules": schedule["name"],
        "prefix": key["prefix"],
    }


def test_an_id_of_anothers_is_a_404_on_every_route_that_takes_one(house: House) -> None:
    """Row 18 of the faults."""
    owned = {tenant: made_by(house, tenant) for tenant in TENANTS}
    tried = 0
    for line in ROUTES:
        method, _, template = line.partition(" ")
        if "{" not in template or template.startswith(("/monitoring/questions", "/admin/tenants")):
            continue  # those are of nobody, or of the whole installation
        placed = re.sub(r".*\{(.*?)\}.*", r"\1", template)
        kind = placed if placed in owned["acme"] else "export/schedules"
        for tenant in TENANTS:
            path = re.sub(r"\{.*?\}", owned[foreign(tenant)][kind], template)
            if method == "WS":
                with house.http.websocket_connect(
                    f"ws://127.0.0.1/api/v1{path}", headers=house.admins[tenant]
                ) as socket:
                    told = socket.receive_text()
                assert_none_of(foreign(tenant), told, asked=[owned[foreign(tenant)][kind]])
            else:
                answer = house.http.request(
                    method,
                    f"/api/v1{path}",
                    headers=house.admins[tenant],
                    json={} if method != "GET" else None,
                )
                assert answer.status_code == 404, (line, answer.text)
                assert_none_of(foreign(tenant), answer.text, asked=[owned[foreign(tenant)][kind]])
            tried += 1
    assert tried >= 2 * 11
    for tenant in TENANTS:  # and all of it is there still
        shown, ids = house.admins[tenant], owned[tenant]
        alert = house.http.get(f"/api/v1/monitoring/alerts/{ids['alert_id']}", headers=shown).json()
        assert alert["status"] == "firing"
        for path, wanted in (
            (f"monitoring/silences/{ids['silence_id']}", 204),
            (f"monitoring/export/schedules/{ids['export/schedules']}", 204),
            (f"admin/keys/{ids['prefix']}", 200),
        ):
            assert house.http.delete(f"/api/v1/{path}", headers=shown).status_code in (200, wanted), path


def test_sessions_of_one_name_are_two(house: House) -> None:
    found = [house.get(tenant, f"/api/v1/monitoring/sessions/{SAME}").json() for tenant in TENANTS]
    assert [session["total_jobs_found"] for session in found] == [1_000, 1_001]
    points = [house.get(tenant, f"/api/v1/monitoring/sessions/{SAME}/metrics").json() for tenant in TENANTS]
    jobs = [sum(item["jobs_per_minute"] for item in answer["items"]) for answer in points]
    assert jobs == [1_000, 1_001]


def test_one_key_of_idempotency_is_two_for_two_tenants(house: House) -> None:
    for tenant in TENANTS:
        once = {"session_id": f"{tenant}-own", "metric": "progress", "event_id": "e1", "value": {"done": 1}}
        once = marked(once, tenant)
        for expected in ((1, 0), (0, 1)):
            answer = house.post(tenant, once, headers={"Idempotency-Key": "k1"}).json()
            assert (answer["accepted"], answer["duplicates"]) == expected


def test_what_happens_is_told_to_its_tenant_alone(house: House) -> None:
    for route in ("/api/v1/ws/system", f"/api/v1/ws/sessions/{SAME}", "/api/v1/ws/sessions/bravo-own"):
        with house.http.websocket_connect(f"ws://127.0.0.1{route}", headers=house.keys["acme"]) as mine:
            for tenant in ("bravo", "acme", "bravo"):
                for session in (SAME, f"{tenant}-own"):
                    assert house.post(tenant, events_of(tenant, session, 1)).status_code == 202
            told = [mine.receive_text()]
            if "bravo-own" not in route:
                while mark("acme") not in told[-1] or '"type":"events"' not in told[-1]:
                    told.append(mine.receive_text())
        for text in told:
            assert_none_of("bravo", text, asked=["bravo-own"])
    house.settle()


def test_every_statement_for_a_request_names_the_tenant_of_what_it_reads(house: House) -> None:
    for tenant in TENANTS:
        for template in house.paths:
            house.get(tenant, re.sub(r"\{[^}]*\}", SAME, template))
    # A row that is put in names the tenant by its values.
    reading = [
        text
        for text in house.statements
        if _tables(text) & _OWNED and not re.match(r"INSERT INTO .* VALUES", text)
    ]
    assert reading
    for text in set(reading):
        assert re.search(r"\btenant\b", text.partition("WHERE")[2]), text


INJECTIONS = (
    "' OR '1'='1",
    "x' OR tenant='bravo' --",
    "x'; DROP TABLE scrape_sessions; --",
    "') UNION SELECT * FROM api_keys --",
    '") |> drop() from(bucket: "bravo.fleet") |> range(start: -1h) //',
    "${r.site}",
    '|> yield(name: "x")',
    "$(id)",
    "../../etc/passwd",
    "%' ESCAPE '\\",
    "\x00",
    "\ud800".encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
    "1;SELECT pg_sleep(5)",
    "\u202e\u0000",
    "a" * 5_000,
)
"""Row 17 of the faults: what would be code, were it pasted into SQL or Flux."""


def test_what_would_be_code_is_text_in_every_parameter_of_every_route(house: House) -> None:
    document = house.http.get("/openapi.json").json()
    asked = 0
    for path, operations in document["paths"].items():
        operation = operations.get("get")
        if operation is None or path not in house.paths:
            continue
        texts = [
            (parameter["in"], parameter["name"])
            for parameter in operation.get("parameters", ())
            if parameter["in"] in ("query", "path")
        ]
        for where, name in texts:
            for number, text in enumerate(INJECTIONS):
                quoted = quote(text, safe="")
                target = re.sub(r"\{([^}]*)\}", lambda m: quoted if m[1] == name else SAME, path)  # noqa: B023
                began = time.monotonic()
                answer = house.get(TENANTS[number % 2], target, {name: text} if where == "query" else None)
                # 307: a slash at its end, which names nothing.
                assert answer.status_code in (200, 307, 400, 404, 422), (target, name, text, answer.text)
                assert time.monotonic() - began < 4, (target, name, text)
                assert_none_of(foreign(TENANTS[number % 2]), answer.text, asked=[text])
                asked += 1
    assert asked > 50
    for tenant in TENANTS:
        assert house.get(tenant, f"/api/v1/monitoring/sessions/{SAME}").status_code == 200


BODIES: dict[str, Any] = {
    "/api/v1/monitoring/metrics": examples.EVENTS["job_scraped"],
    "/api/v1/data-quality-metrics": {"site": "indeed", "items": 5, "session_id": "s1"},
    "/api/v1/monitoring/export/schedules": {"name": "n", "metrics": ["throughput"], "format": "csv"},
    "/api/v1/monitoring/alerts/grafana": {
        "alerts": [
            {
                "status": "firing",
                "labels": {"alertname": "a", "site": "indeed"},
                "annotations": {"summary": "s"},
                "startsAt": "2026-01-05T10:01:00Z",
                "fingerprint": "f",
            }
        ]
    },
    "/api/v1/monitoring/alerts/{alert_id}/acknowledge": {"by": "ann", "notes": "n"},
    "/api/v1/monitoring/alerts/{alert_id}/resolve": {"by": "ann", "notes": "n"},
    "/api/v1/monitoring/silences": {
        "matchers": [{"name": "resource", "value": "indeed"}],
        "duration": "2h",
        "comment": "c",
        "by": "ann",
    },
    "/api/v1/admin/keys": {"name": "k", "scopes": ["viewer"], "tenant": "acme"},
    "/api/v1/admin/tenants": {"name": "t", "title": "T"},
    "/api/v1/admin/tenants/{name}": {"title": "T"},
    "/api/v1/login": {"key": "sw_x"},
}
"""A body of every route that takes JSON; the test puts its texts in the place of each text in it."""


def with_text(body: Any, text: str) -> Iterator[Any]:
    """``body`` with ``text`` in the place of one of its texts, for each of them, names of labels included."""
    if isinstance(body, str):
        yield text
    elif isinstance(body, list):
        for place, item in enumerate(body):
            yield from ([*body[:place], each, *body[place + 1 :]] for each in with_text(item, text))
    elif isinstance(body, Mapping):
        for name, item in body.items():
            yield from ({**body, name: each} for each in with_text(item, text))


def test_what_would_be_code_is_text_in_every_text_that_is_sent(house: House) -> None:
    """Row 17 of the faults, for what is not asked but told."""
    document = house.http.get("/openapi.json").json()
    taking = {
        (method, path)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    }
    assert {path for _, path in taking} == set(BODIES), "every route that takes JSON has its body here"
    before = [house.get(tenant, "/api/v1/monitoring/sessions").json() for tenant in TENANTS]
    tried = 0
    for method, template in sorted(taking):
        path = re.sub(r"\{.*?\}", "1" if "alert_id" in template else "acme", template)
        for number, text in enumerate(INJECTIONS):
            for body in with_text(BODIES[template], text):
                tenant = TENANTS[number % 2]
                answer = house.http.request(method, path, json=body, headers=house.admins[tenant])
                assert answer.status_code in (200, 201, 202, 204, 400, 401, 403, 404, 409, 422), (
                    path,
                    body,
                    answer.text,
                )
                assert_none_of(foreign(tenant), answer.text, asked=[text])
                tried += 1
    assert tried > 20 * len(INJECTIONS)
    house.settle()
    for tenant, sessions in zip(TENANTS, before, strict=True):
        found = house.get(tenant, "/api/v1/monitoring/sessions?limit=200").json()["items"]
        known = {session["session_id"]: session for session in found}
        assert {session["session_id"] for session in sessions["items"]} <= set(known)
        assert_none_of(foreign(tenant), json.dumps(found), asked=list(INJECTIONS))
        assert house.get(tenant, "/api/v1/monitoring/silences").status_code == 200
        assert house.get(tenant, "/api/v1/monitoring/alerts").status_code == 200


def _tables(statement: str) -> set[str]:
    return set(re.findall(r"(?:FROM|JOIN|UPDATE|INTO)\s+\"?(\w+)", statement))


def test_a_tenant_without_a_place_for_its_points_can_have_no_key(tmp_path: Path, influxd: Influxd) -> None:
    chosen = load(
        {
            "SCRAPEWATCH_DATA_DIR": str(tmp_path),
            "INFLUX_URL": influxd.url,
            "INFLUX_TOKEN": "x",
        }
    )
    from scrapewatch.problems import NotFound
    from stack.access import credentials_of

    records = open_records(chosen)
    store: SqlCredentials = credentials_of(chosen, records.engine)
    store.create_tenant("carol")
    with pytest.raises(NotFound, match="bootstrap --tenant carol"):
        store.create_key("k", scopes=frozenset({"monitoring:read"}), tenant="carol")
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "carol.collector.token").write_text("token")
    text, _ = store.create_key("k", scopes=frozenset({"monitoring:read"}), tenant="carol")
    assert text
    (folder / "carol.collector.token").unlink()
    assert "INFLUX_TOKENS_DIR" in str(store.by_prefix(text[3:11]))
    records.close()
