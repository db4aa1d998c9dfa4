"""Reports of data quality alone, which are data_quality events like any others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scrapewatch.measurements import Tier
from scrapewatch.ports import TimeRange
from scrapewatch.time import DAY, HOUR, now_ns, to_rfc3339
from tests.collector.conftest import Running

PATH = "/api/v1/data-quality-metrics"
ONE = {"site": "indeed", "items": 200, "valid": 196, "duplicates": 11, "field_coverage": {"title": 0.5}}


def asked(running: Running, question: str) -> list[tuple[Any, ...]]:
    running.drain()
    now = now_ns()
    time_range = TimeRange.widened(now - 2 * DAY, now, 7 * DAY)
    table = running.series.ask(question, {"site": ""}, time_range, tier=Tier.FLEET, tenant="default")
    return [row[1:] for row in table.rows]


@pytest.mark.parametrize("path", [PATH, "/data-quality-metrics"])
def test_the_value_alone_is_counted(running: Running, path: str) -> None:
    answer = running.http.post(path, json=ONE)
    assert answer.status_code == 202
    assert answer.json() == {"accepted": 1, "duplicates": 0, "rejected": []}
    assert asked(running, "data_quality") == [("indeed", 200, 196, 11)]
    assert asked(running, "field_coverage") == [("indeed", "title", 200, 100.0)]
    assert running.counts("events") == 0, "it belongs to no session, and opens none"


def test_with_a_session_it_belongs_to_it(running: Running) -> None:
    at = to_rfc3339(now_ns() - HOUR)
    body = [{**ONE, "session_id": "s1", "timestamp": at, "event_id": "e1"}] * 2
    assert running.http.post(PATH, json=body).json() == {"accepted": 1, "duplicates": 1, "rejected": []}
    assert asked(running, "data_quality") == [("indeed", 200, 196, 11)]
    assert running.counts("events") == 1


def test_it_may_be_packed_in_lines_and_sent_again(running: Running) -> None:
    headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": "k"}
    body = b'{"site": "indeed", "items": 3, "valid": 2}\n{"site": "linkedin", "items": 4}'
    for accepted, duplicates in ((2, 0), (0, 2)):
        answer = running.http.post(PATH, content=body, headers=headers).json()
        assert (answer["accepted"], answer["duplicates"]) == (accepted, duplicates)
    assert asked(running, "data_quality") == [("indeed", 3, 2, None), ("linkedin", 4, None, None)]


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({"site": "indeed"}, "items"),
        ({"site": "indeed", "items": -1}, "items"),
        ({"site": "indeed", "items": float("nan")}, "items"),
        ({"site": "\ud800", "items": 1}, "site"),
        ({"site": "indeed", "items": 1, "timestamp": "yesterday"}, "timestamp"),
        ({"site": "indeed", "items": 1, "session_id": 5}, "session_id"),
        ("indeed", ""),
        (None, ""),
    ],
)
def test_what_is_no_quality_is_rejected_by_the_name_of_its_field(
    shared: Running, item: Any, field: str
) -> None:
    answer = shared.http.post(PATH, content=json.dumps([item, ONE]))
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 1
    assert [(each["index"], each["field"]) for each in answer.json()["rejected"]] == [(0, field)]
    alone = shared.http.post(PATH, content=json.dumps(item))
    assert alone.status_code == 422
    assert alone.json()["detail"].startswith(field)


@pytest.mark.parametrize(
    "body", [b"{", b"\xff", b'{"site":"a","items":' + b"1" * 5_000 + b"}", b"[" * 100_000]
)
def test_what_is_no_json_is_a_400(shared: Running, body: bytes) -> None:
    assert shared.http.post(PATH, content=body).status_code == 400


def test_another_metric_cannot_come_this_way(shared: Running) -> None:
    before = shared.collector.spool.status().accepted
    answer = shared.http.post(PATH, json={"metric": "job_scraped", "value": {"site": "indeed"}})
    assert answer.status_code == 422
    assert shared.collector.spool.status().accepted == before


def test_a_large_report_is_taken(shared: Running) -> None:
    body = [
        {**ONE, "site": f"site {k % 50}", "field_coverage": {f"f{n}": 1.0 for n in range(40)}}
        for k in range(900)
    ]
    assert shared.http.post(PATH, json=body).json()["accepted"] == 900


def test_more_than_a_request_may_have_are_refused_before_they_become_larger(shared: Running) -> None:
    answer = shared.http.post(PATH, content=b"[" + b"{}," * 10_000 + b"{}]")
    assert answer.status_code == 413


def test_it_is_in_the_document_with_the_schema_of_the_event(shared: Running) -> None:
    document = shared.http.get("/openapi.json").json()
    assert "requestBody" in document["paths"][PATH]["post"]
    assert "/data-quality-metrics" not in document["paths"]
