"""Market insights as the API answers them, against the events that were sent."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from datetime import date, timedelta
from typing import Any

from starlette.testclient import TestClient

from api.analytics.market import MarketInsights
from records.market import Market, Period
from records.salaries import normalise
from scrapewatch.problems import StoreUnavailable
from scrapewatch.time import DAY, now_ns, to_datetime
from tests.api.stacks import Stack, event

PATH = "/api/v1/analytics/market/insights"


def postings(days: int, number: int, seed: int = 1) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    now = now_ns()
    found = [event("session_started", {"search_term": "Data Engineer"}, time=now - days * DAY)]
    for k in range(number):
        job = {
            "url": f"u{k}",
            "company": chance.choice(("Acme", "Umbrella")),
            "location": chance.choice(("Berlin, Germany", "Paris")),
            "salary": chance.choice(("$100k", "$50/hr", "€4.000 - €5.000 pro Monat", None)),
            "skills": chance.sample(["python", "sql", "rust"], 2),
            "is_remote": chance.choice((True, False)),
        }
        at = now - chance.randrange(days) * DAY
        found.append(
            event("job_scraped", {"site": chance.choice(("indeed", "linkedin")), "job": job}, time=at)
        )
    return found


def day_of(sent: dict[str, Any]) -> str:
    return to_datetime(sent["time"]).date().isoformat()


def test_insights_are_what_the_events_add_up_to(stack: Stack, client: TestClient) -> None:
    events = postings(20, 300)
    stack.store(events, source="history")
    answer = client.get(f"{PATH}?days=10").json()
    sent = [e for e in events if e["metric"] == "job_scraped"]
    now = [e["value"]["job"] for e in sent if answer["first_day"] <= day_of(e) <= answer["last_day"]]
    before = [e["value"]["job"] for e in sent if day_of(e) < answer["first_day"]]
    assert answer["total_postings"] == len(now) > 100
    days = {item["date"]: item["postings"] for item in answer["postings_per_day"]}
    assert list(days) == sorted(days)
    assert len(days) == 10
    for day, number in days.items():
        assert number == sum(day_of(e) == day for e in sent)
    for levels in answer["salaries"]:
        amounts, earlier = (
            sorted(
                s.middle
                for p in jobs
                if (s := normalise(p.get("salary"))) and s.currency == levels["currency"]
            )
            for jobs in (now, before)
        )
        assert levels["postings"] == len(amounts)
        assert levels["p50"] == statistics.median_low(amounts)
        assert levels["previous_p50"] == statistics.median_low(earlier)
        assert levels["p10"] <= levels["p25"] <= levels["p50"] <= levels["p75"] <= levels["p90"]
        assert {levels["p10"], levels["p90"]} <= set(amounts)
    assert {levels["currency"] for levels in answer["salaries"]} == {"USD", "EUR"}
    for skill in answer["skills"]:
        share, earlier_share = (
            sum(skill["name"] in p["skills"] for p in jobs) / len(jobs) for jobs in (now, before)
        )
        assert abs(skill["share"] - share) < 1e-9
        assert abs(skill["previous_share"] - earlier_share) < 1e-9
        assert abs(skill["change_percent"] - (share - earlier_share) / earlier_share * 100) < 1e-6
    assert {c["name"]: c["postings"] for c in answer["companies"]} == {
        name: sum(p["company"] == name for p in now) for name in ("Acme", "Umbrella")
    }
    assert sum(place["share"] for place in answer["locations"]) == 1
    assert answer["remote_share"] == sum(p["is_remote"] for p in now) / len(now)
    assert answer["trend"]["previous_postings"] == len(before)
    trust = answer["trust"]
    assert trust["salary_share"] == sum("salary" in p for p in now) / len(now)
    assert trust["looked_at"] == trust["postings"] == len(now)
    assert sum(trust["sites"].values()) == len(now)
    assert trust["notes"] == []


def test_insights_of_a_search_and_a_place_say_how_little_they_rest_on(
    stack: Stack, client: TestClient
) -> None:
    events = postings(3, 20)
    stack.store(events)
    answer = client.get(f"{PATH}?search_term=data engineer&location=berlin").json()
    wanted = [e for e in events if e["value"].get("job", {}).get("location") == "Berlin, Germany"]
    assert answer["total_postings"] == len(wanted)
    assert answer["locations"] == [{"name": "Berlin, Germany", "postings": len(wanted), "share": 1.0}]
    assert any(note.startswith("Fewer than 30 postings") for note in answer["trust"]["notes"])
    assert any("fewer than half of the days" in note for note in answer["trust"]["notes"])


def test_what_may_mislead_is_said() -> None:
    day = date(2026, 1, 12)
    now = Period(
        {day: 5_000}, looked_at=2_000, sites=Counter(indeed=2_000), salaries={None: Counter({50_000.0: 9})}
    )
    before = Period({day - timedelta(20): 10}, looked_at=10, sites=Counter(linkedin=10))
    answer = MarketInsights.of(Market(now, before), day, 10, search_term=None, location="Oslo")
    assert [note.split(" ")[0] for note in answer.trust.notes] == [
        "Only",
        "Fewer",
        "All",
        "Postings",
        "Other",
    ]
    assert answer.salaries[0].currency is None
    assert answer.salaries[0].previous_p50 is None
    assert answer.trend.previous_remote_share is None


def test_without_postings_there_is_an_empty_answer(client: TestClient) -> None:
    answer = client.get(PATH).json()
    assert (answer["total_postings"], len(answer["postings_per_day"])) == (0, 30)
    assert (answer["salaries"], answer["skills"], answer["remote_share"]) == ([], [], None)
    assert answer["trust"]["salary_share"] is None


def test_without_the_records_the_answer_is_a_problem(client: TestClient, stack: Stack) -> None:
    def down(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("the records are on holiday")

    stack.services.market.market = down  # type: ignore[method-assign]
    assert client.get(PATH).status_code == 503
