from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scrapewatch.answers import ask
from scrapewatch.measurements import Tier
from scrapewatch.ports import DEFAULT_TENANT, TimeRange
from scrapewatch.time import DAY, MINUTE, now_ns
from tests.collector.conftest import PATH, Running

HISTORIC = {
    "session_id": "s1",
    "metric": "job_scraped",
    "value": {"site": "indeed", "count": 1},
}


def job(count: Any = 1, **more: Any) -> dict[str, Any]:
    return {"session_id": "s1", "metric": "job_scraped", "value": {"site": "indeed", "count": count}, **more}


def ago(**length: float) -> str:
    return (datetime.now(UTC) - timedelta(**length)).isoformat()


def scraped(running: Running) -> int:
    running.drain()
    now = now_ns()
    table = ask(
        running.series,
        "throughput",
        {},
        TimeRange.widened(now - 30 * MINUTE, now + MINUTE, 10 * 10**9),
        tenant=DEFAULT_TENANT,
    )
    return sum(row["scraped"] for row in table.dicts())


def test_the_historic_body_is_accepted_as_plain_fetch_sends_it(running: Running) -> None:
    answer = running.http.post(
        PATH, content=json.dumps(HISTORIC), headers={"Content-Type": "text/plain;charset=UTF-8"}
    )
    assert answer.status_code == 202
    assert answer.json() == {"accepted": 1, "duplicates": 0, "rejected": []}
    assert running.counts("total_jobs_found") == 1


def test_the_path_without_its_prefix_is_the_same(shared: Running) -> None:
    assert shared.http.post("/monitoring/metrics", json=[job()]).status_code == 202


# --- row 9


def test_a_thousand_distinct_events_of_one_series_and_millisecond_all_count(running: Running) -> None:
    at = ago(seconds=5)
    assert running.post([job(timestamp=at) for _ in range(1_000)]).json()["accepted"] == 1_000
    assert running.counts("total_jobs_found") == 1_000
    assert scraped(running) == 1_000


# --- row 10


def test_the_same_request_three_times_is_counted_once_even_after_a_restart(
    start: Callable[..., AbstractContextManager[Running]],
) -> None:
    body = [job(3, timestamp=ago(seconds=1)), job(4, timestamp=ago(seconds=1))]
    with start() as first:
        answers = [first.post(body, headers={"Idempotency-Key": "k"}).json() for _ in range(2)]
    with start() as second:
        answers.append(second.post(body, headers={"Idempotency-Key": "k"}).json())
        assert [answer["accepted"] for answer in answers] == [2, 0, 0]
        assert [answer["duplicates"] for answer in answers] == [0, 2, 2]
        assert second.counts("total_jobs_found") == 7
        assert scraped(second) == 7


def test_the_same_key_with_another_body_is_a_conflict(running: Running) -> None:
    running.post([job(1)], headers={"Idempotency-Key": "k"})
    answer = running.post([job(2)], headers={"Idempotency-Key": "k"})
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert running.counts("total_jobs_found") == 1


def test_an_event_with_a_known_id_is_reported_as_a_duplicate(running: Running) -> None:
    running.post([job(5, event_id="e")])
    assert running.post([job(5, event_id="e"), job(1)]).json() == {
        "accepted": 1,
        "duplicates": 1,
        "rejected": [],
    }
    assert running.counts("total_jobs_found") == 6


# --- row 11


@pytest.mark.parametrize(
    ("age", "word"), [(timedelta(minutes=-6), "ahead"), (timedelta(days=7, minutes=1), "backfill")]
)
def test_a_time_out_of_bounds_rejects_that_item_and_keeps_the_rest(
    shared: Running, age: timedelta, word: str
) -> None:
    at = (datetime.now(UTC) - age).isoformat()
    answer = shared.post([job(), job(timestamp=at), job(timestamp=ago(days=6))])
    assert answer.status_code == 202
    receipt = answer.json()
    assert receipt["accepted"] == 2
    assert [(item["index"], item["field"]) for item in receipt["rejected"]] == [(1, "timestamp")]
    assert word in receipt["rejected"][0]["reason"]


def test_when_all_times_are_out_of_bounds_nothing_is_accepted(shared: Running) -> None:
    answer = shared.post([job(timestamp=ago(days=8))] * 2)
    assert answer.status_code == 422
    assert len(answer.json()["rejected"]) == 2


def test_history_is_accepted_when_it_says_that_it_is_history(running: Running) -> None:
    answer = running.post([job(6, timestamp=ago(days=400))], params={"backfill": "true"})
    assert answer.status_code == 202
    assert running.counts("total_jobs_found") == 6
    time_range = TimeRange.widened(now_ns() - 500 * 86_400 * 10**9, now_ns(), 3_600 * 10**9)
    table = running.series.ask(
        "throughput", {"site": ""}, time_range, tier=Tier.FLEET_1H, tenant=DEFAULT_TENANT
    )
    assert [row["scraped"] for row in table.dicts()] == [6]


def test_history_under_a_key_is_known_for_good(start: Callable[..., AbstractContextManager[Running]]) -> None:
    body = [job(6, timestamp=ago(days=30))]
    options: dict[str, Any] = {"params": {"backfill": "true"}, "headers": {"Idempotency-Key": "source"}}
    with start() as running:
        running.post(body, **options)
        running.drain()
        running.collector.spool.forget_keys(now_ns() + 100 * DAY)
        assert running.post(body, **options).json()["duplicates"] == 1
        assert running.counts("total_jobs_found") == 6


# --- row 12


@pytest.mark.parametrize(
    "body",
    [
        b'[{"session_id": "s1"',
        b'[{"session_id": "\xff\xfe"}]',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a": ' * 5_000 + b"1" + b"}" * 5_000,
        b'[{"value": ' + b"9" * 5_000 + b"}]",
        b"",
        b"not json",
    ],
    ids=["truncated", "bad UTF-8", "deep arrays", "deep objects", "5,000 digits", "empty", "text"],
)
def test_a_body_that_is_no_json_is_a_400(shared: Running, body: bytes) -> None:
    answer = shared.http.post(PATH, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


# --- row 13

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("item", "field"),
    [
        (job("NUMBER"), "value.count"),
        (job(True), "value.count"),
        (job(1.5), "value.count"),
        (job(-1), "value.count"),
        (job(10**30), "value.count"),
        ({**job(), "metric": SECRET}, "metric"),
        ({"session_id": "s1", "value": {}}, "metric"),
        ({**job(), "session_id": f"a\0{SECRET}"}, "session_id"),
        ({**job(), "session_id": 5}, "session_id"),
        ({**job(), "value": {"site": f"{SECRET}\0"}}, "value.site"),
        ({**job(), "value": {"site": ""}}, "value.site"),
        ({**job(), "value": {}}, "value.site"),
        ({**job(), "value": SECRET}, "value"),
        ({**job(), "timestamp": SECRET}, "timestamp"),
        ({**job(), "timestamp": "12345"}, "timestamp"),
        ({**job(), "timestamp": True}, "timestamp"),
        (SECRET, ""),
        (None, ""),
        ([[]], ""),
        (
            {
                "session_id": "s",
                "metric": "data_quality",
                "value": {"site": "a", "items": 1, "field_coverage": {SECRET: 2}},
            },
            "value.field_coverage",
        ),
    ],
)
def test_an_item_that_is_no_event_is_rejected_with_its_field_and_not_echoed(
    shared: Running, item: Any, field: str
) -> None:
    answer = shared.post([job(), item])
    assert answer.status_code == 202
    (rejected,) = answer.json()["rejected"]
    assert rejected["index"] == 1
    assert rejected["field"].startswith(field)
    assert SECRET not in answer.text
    alone = shared.post([item])
    assert alone.status_code == 422
    assert SECRET not in alone.text


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_reject_their_item_alone(shared: Running, number: str) -> None:
    good = json.dumps(job())
    page = {"session_id": "s1", "metric": "page_processed", "value": {"site": "a", "duration": 0.25}}
    bad = json.dumps(page).replace("0.25", number)
    answer = shared.http.post(PATH, content=f"[{good}, {bad}]", headers={"Content-Type": "application/json"})
    assert answer.status_code == 202
    assert [(item["index"], item["field"]) for item in answer.json()["rejected"]] == [(1, "value.duration")]
    assert shared.http.post(PATH, content=f"[{bad}]").status_code == 422


def test_half_of_a_surrogate_pair_rejects_its_item_alone(shared: Running) -> None:
    bad = r'{"session_id": "s1", "metric": "error_occurred", "value": {"site": "a", "message": "\ud800"}}'
    answer = shared.http.post(PATH, content=f"[{json.dumps(job())}, {bad}]")
    assert answer.status_code == 202
    assert [(item["index"], item["field"]) for item in answer.json()["rejected"]] == [(1, "value.message")]


# --- row 14


@pytest.mark.parametrize(
    "kind", ["application/xml", "multipart/form-data", "application/x-www-form-urlencoded"]
)
def test_another_content_type_is_a_415(shared: Running, kind: str) -> None:
    answer = shared.http.post(PATH, content=json.dumps(job()), headers={"Content-Type": kind})
    assert answer.status_code == 415


def test_an_encoding_that_is_not_taken_is_a_415(shared: Running) -> None:
    answer = shared.http.post(PATH, content=b"x", headers={"Content-Encoding": "br"})
    assert answer.status_code == 415


def test_a_gzipped_body_is_taken(shared: Running) -> None:
    body = gzip.compress(json.dumps([job(2)]).encode())
    answer = shared.http.post(PATH, content=body, headers={"Content-Encoding": "gzip"})
    assert answer.json()["accepted"] == 1


def test_what_is_not_gzip_as_it_says_is_a_400(shared: Running) -> None:
    assert shared.http.post(PATH, content=b"{}", headers={"Content-Encoding": "gzip"}).status_code == 400
    cut = gzip.compress(json.dumps([job(2)]).encode())[:-10]
    assert shared.http.post(PATH, content=cut, headers={"Content-Encoding": "gzip"}).status_code == 400


def test_a_gzip_bomb_is_a_413_before_it_is_unpacked(shared: Running) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    answer = shared.http.post(PATH, content=bomb, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 413


def test_an_oversize_body_is_a_413_before_it_is_read(
    start: Callable[..., AbstractContextManager[Running]],
) -> None:
    with start(max_body_bytes=1_000) as running:
        read = 0

        def body() -> Iterator[bytes]:
            nonlocal read
            for _ in range(100):
                read += 500
                yield b" " * 500

        assert running.http.post(PATH, content=b" " * 1_001).status_code == 413
        assert running.http.post(PATH, content=body()).status_code == 413


def test_more_events_than_allowed_are_a_413(start: Callable[..., AbstractContextManager[Running]]) -> None:
    with start(max_events=3) as running:
        assert running.post([job()] * 4).status_code == 413
        assert running.post([job()] * 3).status_code == 202


def test_an_empty_list_is_a_422(shared: Running) -> None:
    assert shared.post([]).status_code == 422


def test_a_full_spool_is_a_503_that_says_when_to_try_again(
    start: Callable[..., AbstractContextManager[Running]],
) -> None:
    with start(spool_min_free_bytes=10**18) as running:
        answer = running.post([job()])
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert running.collector.spool.status().accepted == 0


def test_a_large_request_is_validated_off_the_loop_with_the_same_outcome(running: Running) -> None:
    answer = running.post([job(), {"bad": 1}] * 500)
    assert answer.json()["accepted"] == 500
    assert [item["index"] for item in answer.json()["rejected"]] == list(range(1, 1_000, 2))
    assert running.counts("total_jobs_found") == 500
