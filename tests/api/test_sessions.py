"""Sessions: lists, details, and what happens when the records do not answer."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.patience import Patience
from scrapewatch.problems import StoreUnavailable
from scrapewatch.time import MINUTE, SECOND, now_ns, to_rfc3339
from tests.api.stacks import Stack, event

SESSIONS = "/api/v1/monitoring/sessions"


def begin(
    number: int, *, at: int, site: str = "indeed", source: str = "scrapy", term: str = "nurse"
) -> dict[str, Any]:
    value = {"search_term": term, "sites": [site], "source": source}
    return event("session_started", value, time=at, session=f"s{number}")


def listed(client: TestClient, **query: Any) -> list[str]:
    answer = client.get(SESSIONS, params=query)
    assert answer.status_code == 200, answer.text
    return [item["session_id"] for item in answer.json()["items"]]


def test_paging_shows_each_session_once_while_new_ones_begin(stack: Stack, client: TestClient) -> None:
    now = now_ns()
    stack.store([begin(n, at=now - n // 3 * SECOND) for n in range(23)])
    seen: list[str] = []
    cursor = None
    while True:
        answer = client.get(SESSIONS, params={"limit": 5, **({"cursor": cursor} if cursor else {})}).json()
        seen += [item["session_id"] for item in answer["items"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
        stack.store([begin(100 + len(seen), at=now_ns())])
    assert sorted(seen) == sorted(f"s{n}" for n in range(23))


def test_the_newest_session_comes_first(stack: Stack, client: TestClient) -> None:
    now = now_ns()
    stack.store([begin(n, at=now - n * MINUTE) for n in (2, 0, 1)])
    assert listed(client) == ["s0", "s1", "s2"]


def test_filters_are_literal_and_add_up(stack: Stack, client: TestClient) -> None:
    now = now_ns()
    stack.store(
        [
            begin(1, at=now),
            begin(2, at=now, site="linkedin"),
            begin(3, at=now, source="node"),
            begin(4, at=now, term="' OR 1=1 --"),
            event("session_finished", {"status": "failed"}, session="s1"),
        ]
    )
    assert listed(client, site="linkedin") == ["s2"]
    assert listed(client, source="node") == ["s3"]
    assert listed(client, search_term="' OR 1=1 --") == ["s4"]
    assert listed(client, status="failed") == ["s1"]
    assert listed(client, status="failed", site="linkedin") == []
    assert listed(client, site="%") == listed(client, search_term="NURSE") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": 0}, "query.limit"),
        ({"limit": 201}, "query.limit"),
        ({"status": "fine"}, "query.status"),
        ({"cursor": "bm9uZSBvZiBvdXJz"}, "cursor"),
    ],
)
def test_what_cannot_be_asked_is_said_by_field(client: TestClient, query: dict[str, Any], field: str) -> None:
    answer = client.get(SESSIONS, params=query)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_a_session_comes_with_its_executions_breakers_verdict_and_errors(
    stack: Stack, client: TestClient
) -> None:
    now = now_ns()
    stack.store(
        [
            begin(1, at=now - MINUTE),
            event("site_started", {"site": "indeed"}, time=now - MINUTE),
            *(
                event("page_processed", {"site": "indeed", "status": 403, "blocked": True, "duration": 0.5})
                for _ in range(4)
            ),
            event("error_occurred", {"site": "indeed", "type": "403", "message": "go away", "count": 4}),
            event("circuit_breaker", {"site": "indeed", "state": "open", "failures": 4}),
            event("site_finished", {"site": "indeed", "success": False, "error_message": "403"}, time=now),
            event("session_finished", {"status": "completed"}, time=now),
        ]
    )
    session = client.get(f"{SESSIONS}/s1").json()
    assert session["status"] == "completed"
    assert session["verdict"] == "blocked"
    assert session["verdict_evidence"][0]["figures"]["blocked"] == 4
    assert session["duration_seconds"] == 60
    (execution,) = session["site_executions"]
    assert (execution["site_name"], execution["pages_blocked"], execution["success"]) == ("indeed", 4, False)
    assert execution["avg_page_load_time"] == 0.5
    assert [(b["site_name"], b["state"], b["failures"]) for b in session["breakers"]] == [
        ("indeed", "open", 4)
    ]
    assert [(g["type"], g["message"], g["count"]) for g in session["error_groups"]] == [("403", "go away", 4)]
    assert session["started_at"] == to_rfc3339((now - MINUTE) // 1_000 * 1_000)


def test_a_session_that_nobody_knows_is_a_404(client: TestClient) -> None:
    for path in (f"{SESSIONS}/nobody", f"{SESSIONS}/nobody/metrics", f"{SESSIONS}/%27%20OR%201=1"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert answer.json()["type"] == "urn:scrapewatch:problem:not-found"


def test_the_path_without_its_version_answers_the_same(stack: Stack, client: TestClient) -> None:
    stack.store([begin(1, at=now_ns())])
    for path in ("/monitoring/sessions", "/monitoring/sessions/s1", "/monitoring/sessions/s1/metrics"):
        assert client.get(path).json() == client.get(f"/api/v1{path}").json()
    assert not [
        path for path in client.get("/openapi.json").json()["paths"] if path.startswith("/monitoring")
    ]


def test_without_its_database_a_route_says_so_and_when_to_try_again(stack: Stack, client: TestClient) -> None:
    with stack.records.engine.begin() as db:
        db.exec_driver_sql("DROP TABLE scrape_sessions")
    for path in (SESSIONS, f"{SESSIONS}/s1", f"{SESSIONS}/s1/metrics"):
        answer = client.get(path)
        assert answer.status_code == 503, answer.text
        assert answer.json()["type"] == "urn:scrapewatch:problem:store-unavailable"
        assert int(answer.headers["retry-after"]) > 0


async def _impatient() -> list[str]:
    hanging = threading.Event()
    patience = Patience("the store", seconds=0.05, threads=2)
    found = []
    for _ in range(4):  # more than it has threads: those are all held by calls that hang
        try:
            await patience.call(hanging.wait, 30)
        except StoreUnavailable as error:
            found.append(str(error))
    hanging.set()
    return found


def test_a_store_that_hangs_is_not_waited_for() -> None:
    import anyio

    assert anyio.run(_impatient) == ["the store did not answer within 0.05 s; try again"] * 4


def test_a_wish_for_a_session_is_kept_and_shown(stack: Stack, client: TestClient) -> None:
    stack.store([begin(1, at=now_ns())])
    answer = client.post(f"{SESSIONS}/s1/pause")
    assert answer.status_code == 202
    assert (answer.json()["wish"], answer.json()["session_id"]) == ("pause", "s1")
    assert client.get(f"{SESSIONS}/s1").json()["wish"] == "pause"
    assert client.post(f"{SESSIONS}/s1/cancel").json()["wished_at"] > answer.json()["wished_at"]
    assert client.post(f"{SESSIONS}/s1/resume").json() == {
        "session_id": "s1",
        "wish": None,
        "wished_at": None,
    }
    assert client.get(f"{SESSIONS}/s1").json()["wish"] is None


def test_a_wish_needs_a_session_that_has_not_ended(stack: Stack, client: TestClient) -> None:
    assert client.post(f"{SESSIONS}/s1/pause").status_code == 404
    stack.store([begin(1, at=now_ns()), event("session_finished", {"status": "completed"})])
    answer = client.post(f"{SESSIONS}/s1/pause")
    assert answer.status_code == 409 and "completed" in answer.json()["detail"]
    assert client.post(f"{SESSIONS}/s1/explode").status_code == 404
