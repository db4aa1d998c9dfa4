"""Questions in Flux: a file for each, bound parameters, and answers that break off."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import influx
from influx.buckets import bucket_name
from influx.store import InfluxStore
from scrapewatch.measurements import Tier
from scrapewatch.ports import DEFAULT_TENANT, Batch, Flush, TimeRange
from scrapewatch.problems import StoreUnavailable
from scrapewatch.questions import QUESTIONS
from scrapewatch.time import DAY, HOUR, MINUTE, now_ns, window_start
from tests.influx.conftest import Answering
from tests.influxd import Influxd

FLUX = Path(influx.__file__).parent / "flux"
BASE = window_start(now_ns(), DAY) - 2 * DAY
DAY_BY_HOUR = TimeRange(BASE, BASE + DAY, HOUR)


def test_every_question_has_its_file_and_every_file_its_question() -> None:
    assert {path.stem for path in FLUX.glob("*.flux")} == {*QUESTIONS, "windows", "windows_of_sessions"}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_file_reads_nothing_but_bound_names(question: str) -> None:
    text = (FLUX / f"{question}.flux").read_text(encoding="utf-8")
    named = set(re.findall(r"\bparams\.(\w+)", text))
    assert named == {"tier", *(parameter.name for parameter in QUESTIONS[question].parameters)}
    # Grafana puts text of its own in the place of such names.
    assert not re.search(r"\w\.(bucket|organization|defaultBucket)\b", text)
    windows = {"windowPeriod"} if QUESTIONS[question].by_window else set()
    assert set(re.findall(r"\bv\.(\w+)", text)) == {"timeRangeStart", "timeRangeStop"} | windows


def test_buckets_of_tenants_and_tiers_have_names_of_their_own() -> None:
    tenants = (DEFAULT_TENANT, "fleet", "a", "a.b", "b")
    names = {bucket_name(tenant, tier) for tenant in tenants for tier in Tier}
    assert len(names) == len(tenants) * len(Tier)
    assert bucket_name(DEFAULT_TENANT, Tier.FLEET_1M) == "fleet_1m"
    assert bucket_name("acme", Tier.SESSIONS) == "acme.sessions"


@pytest.mark.parametrize(
    "answer",
    [
        b"error,reference\r\nquery terminated: memory allocation limit reached,897\r\n",
        b",result,table,_time,site,_field,_value\r\n,fields,0,2026-01-05T10:00:00Z,a,scraped,1\r\n\r\n"
        b",error,reference\r\n,engine is closed,\r\n",
        b",result,table,_time,site,_field,_value\r\n,fields,0,yesterday,a,scraped,1\r\n",
    ],
)
def test_an_answer_that_breaks_off_is_no_answer(answering: Answering, answer: bytes) -> None:
    store = InfluxStore(answering(lambda path, body: (200, {}, answer)), "org", "token")
    with pytest.raises(StoreUnavailable):
        store.ask("throughput", {"site": ""}, DAY_BY_HOUR, tier=Tier.FLEET, tenant=DEFAULT_TENANT)


def test_a_question_to_a_bucket_that_is_not_there_says_what_to_do(influxd: Influxd) -> None:
    store = InfluxStore(influxd.url, influxd.org, influxd.token)
    with pytest.raises(StoreUnavailable, match="influx bootstrap"):
        store.ask("throughput", {"site": ""}, DAY_BY_HOUR, tier=Tier.FLEET, tenant="nobody")
    with pytest.raises(StoreUnavailable, match="influx bootstrap"):
        store.windows("jobs", DAY_BY_HOUR, tier=Tier.FLEET, tenant="nobody")


def test_tags_that_the_registry_does_not_know_are_added_up_like_any(store: InfluxStore, tenant: str) -> None:
    lines = [
        f"jobs,site=a,shop=1 scraped=1i {BASE}",
        f"jobs,site=a,shop=2 scraped=2i {BASE}",
        f"breakers,site=a,shop=1 state=0i {BASE}",
        f"breakers,site=a,shop=2 state=2i {BASE}",
    ]
    store.write(Flush(0, 1, [Batch(tenant, Tier.FLEET, lines, [1] * 4)]))
    asked = [
        store.ask(question, {"site": ""}, DAY_BY_HOUR, tier=Tier.FLEET, tenant=tenant).rows
        for question in ("throughput", "breaker_states")
    ]
    assert [rows[0][:3] for rows in asked] == [(BASE, "a", 3), (BASE, "a", 2)]
    [point] = store.windows("jobs", DAY_BY_HOUR, tier=Tier.FLEET, tenant=tenant)
    assert (dict(point.tags), dict(point.fields)) == ({"site": "a"}, {"scraped": 3})


def test_windows_of_sessions_take_the_latest_state_of_any_session(store: InfluxStore, tenant: str) -> None:
    lines = [
        f"breakers,session_id=s1,site=a state=2i {BASE + 10 * MINUTE}",
        f"breakers,session_id=s2,site=a state=1i {BASE + 20 * MINUTE}",
        f"breakers,session_id=s3,site=a state=0i {BASE + 15 * MINUTE}",
    ]
    store.write(Flush(0, 1, [Batch(tenant, Tier.SESSIONS, lines, [1] * 3)]))
    [point] = store.windows("breakers", DAY_BY_HOUR, tier=Tier.SESSIONS, tenant=tenant)
    assert (point.time, dict(point.fields)) == (BASE, {"state": 1, "state_max": 2})


def test_windows_of_rollups_keep_the_maxima_that_are_stored(store: InfluxStore, tenant: str) -> None:
    lines = [
        f"host,host=h cpu_percent=10,cpu_percent_max=50 {BASE}",
        f"host,host=h cpu_percent=20,cpu_percent_max=30 {BASE + MINUTE}",
    ]
    store.write(Flush(0, 1, [Batch(tenant, Tier.FLEET_1M, lines, [1] * 2)]))
    [point] = store.windows("host", DAY_BY_HOUR, tier=Tier.FLEET_1M, tenant=tenant)
    assert dict(point.fields) == {"cpu_percent": 15.0, "cpu_percent_max": 50.0}


def test_many_threads_may_write_and_ask_at_once(store: InfluxStore, tenant: str) -> None:
    def write(number: int) -> int:
        lines = [f"jobs,site=s{number} scraped=1i {BASE + k}" for k in range(100)]
        return store.write(Flush(number, 1, [Batch(tenant, Tier.FLEET, lines, [1] * 100)])).accepted

    def ask(number: int) -> int:
        site = {"site": f"s{number}"}
        rows = store.ask("throughput", site, DAY_BY_HOUR, tier=Tier.FLEET, tenant=tenant).rows
        return sum(row[2] for row in rows)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(write, range(24))) == [100] * 24
        assert list(pool.map(ask, range(24))) == [100] * 24
