"""Questions over HTTP."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from api.questions.routes import Rows
from scrapewatch.questions import QUESTIONS
from scrapewatch.time import HOUR, MINUTE, now_ns, to_rfc3339, window_start
from tests.api.stacks import Stack, event

PATH = "/api/v1/monitoring/questions"


def test_every_question_is_listed_with_what_can_be_given_and_what_it_answers(client: TestClient) -> None:
    items = {item["name"]: item for item in client.get(PATH).json()["items"]}
    assert items.keys() == QUESTIONS.keys()
    session = items["session_metrics"]
    assert session["parameters"] == [{"name": "session_id", "required": True, "description": "the session"}]
    assert session["columns"][0] == {
        "name": "time",
        "type": "time",
        "unit": "",
        "description": "start of the window",
    }


def test_a_question_is_answered_with_rows_and_units(stack: Stack, client: TestClient) -> None:
    at = window_start(now_ns(), HOUR) - HOUR
    stack.store(
        [
            event("job_scraped", {"site": "indeed", "count": 3}, time=at),
            event("job_scraped", {"site": "indeed", "count": 4}, time=at + MINUTE),
            event("job_scraped", {"site": "linkedin", "count": 5}, time=at),
        ]
    )
    # Too short for the rollups, which nobody makes here.
    asked = {"from": to_rfc3339(at), "to": to_rfc3339(at + HOUR // 2), "every": "30m", "site": "indeed"}
    answer = client.get(f"{PATH}/throughput", params=asked).json()
    assert [(row["time"], row["site"], row["scraped"]) for row in answer["items"]] == [
        (to_rfc3339(at), "indeed", 7)
    ]
    assert (answer["from"], answer["to"], answer["every_seconds"]) == (asked["from"], asked["to"], 1800)
    assert [column["name"] for column in answer["columns"]] == list(answer["items"][0])
    assert Rows.model_validate(answer).model_dump(by_alias=True) == answer  # as is documented


def test_an_hour_of_every_session_is_answered_at_once_however_its_windows_lie(client: TestClient) -> None:
    items = {item["name"]: item["longest_range_seconds"] for item in client.get(PATH).json()["items"]}
    assert (items["throughput"], items["session_pace"]) == (None, 3_600.0)
    for asked in ("", "?last=1h", "?last=1h&every=7m", "?last=1h&every=1h"):
        answer = client.get(f"{PATH}/session_pace{asked}")
        assert answer.status_code == 200
        again = {name: answer.json()[name] for name in ("from", "to")} | {
            "every": f"{answer.json()['every_seconds']:.0f}s"
        }
        assert client.get(f"{PATH}/session_pace", params=again).status_code == 200


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_can_be_asked(client: TestClient, name: str) -> None:
    wanted = {parameter.name: "x" for parameter in QUESTIONS[name].parameters}
    answer = client.get(f"{PATH}/{name}", params=wanted)
    assert answer.status_code == 200 and answer.json()["items"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("throughput?sitee=indeed", "parameters"),
        ("throughput?last=soon", "last"),
        ("session_metrics", "session_id"),
        ("secrets", "question"),
        ("session_pace?last=2h", "last"),
        ("session_progress?from=2026-01-01T00:00:00Z&to=2026-01-31T00:00:00Z", "from"),
        ("session_pace?last=1h&every=1d", "last"),
    ],
)
def test_what_cannot_be_answered_is_a_problem_that_says_why(
    client: TestClient, query: str, field: str
) -> None:
    answer = client.get(f"{PATH}/{query}")
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
