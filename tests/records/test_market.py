"""The job market by the postings, counted again in plain Python over the events, on every database."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from collector.decode import from_model
from collector.fold import Memory, Request, fold
from records.engine import reading
from records.market import Market, MarketQueries, Period
from records.migrate import downgrade, upgrade
from records.models import JobPosting, MarketDay
from records.salaries import normalise
from records.store import SqlRecords
from scrapewatch.events import validate
from scrapewatch.time import DAY, SECOND, to_datetime
from tests.records.flushes import NOON

TODAY = to_datetime(NOON).date()
PLACES = ("Berlin", "Berlin, Germany", "New  York, NY", "Köln", None)
SALARIES = ("$120k - $150k", "€25,50/Std.", "£45K", "Competitive", None, "60.000 € pro Jahr")

Events = list[dict[str, Any]]


def posted(k: int, chance: random.Random, days: int) -> dict[str, Any]:
    """A sight of posting ``k`` at a site, by one of the searches."""
    session = chance.choice(("s-python", "s-data", "s-nothing"))
    job = {
        "url": f"https://example.org/{k}",
        "title": f"title {k}",
        "company": chance.choice(("Acme", "Umbrella  Corp", None)),
        "location": chance.choice(PLACES),
        "salary": chance.choice(SALARIES),
        "skills": chance.sample(["Python", "SQL", " rust ", "python"], chance.randint(0, 3)),
        "is_remote": chance.choice((True, False, None)),
    }
    found = validate(
        {"session_id": session, "metric": "job_scraped", "value": {"site": "indeed", "job": job}}
    )
    if chance.random() < 0.3:
        found["value"]["site"] = "linkedin"
    found["time"] = NOON - chance.randrange(days * DAY // SECOND) * SECOND
    return found


def started(search: str) -> dict[str, Any]:
    found = validate(
        {"session_id": f"s-{search.lower()}", "metric": "session_started", "value": {"search_term": search}}
    )
    found["time"] = NOON - 100 * DAY
    return found


def store(records: SqlRecords, flushes: list[Events], *, first: int = 1) -> None:
    memory: Memory = {}
    for number, events in enumerate(flushes, start=first):
        times = [event["time"] for event in events]
        request = Request("t", None, NOON, times, [from_model(event) for event in events])
        folded = fold([request], memory, collector_no=1, number=number)
        memory |= folded.memory
        assert records.apply(1, number, folded.changes)


def by_hand(
    events: Events, first: date, last: date, keep: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Each posting once, on the day it first came, with the latest word of each of its facts."""
    postings: dict[tuple[str, str], dict[str, Any]] = {}
    for event in sorted(events, key=lambda event: event["time"]):
        value = event["value"]
        if event["metric"] != "job_scraped":
            continue
        key = (value["site"], value["job"]["url"])
        known = postings.setdefault(key, {"day": to_datetime(event["time"]).date()})
        search = {"s-python": "python", "s-data": "data", "s-nothing": None}[event["session_id"]]
        known["search"] = search or known.get("search")
        known["site"] = value["site"]
        for name, said in value["job"].items():
            if said not in (None, []):
                known[name] = said
    mine = [p for p in postings.values() if first <= p["day"] <= last and keep(p)]
    salaries: dict[str | None, list[float]] = {}
    for posting in mine:
        if found := normalise(posting.get("salary")):
            salaries.setdefault(found.currency, []).append(found.middle)
    return {
        "days": dict(Counter(p["day"] for p in mine)),
        "sites": Counter(p["site"] for p in mine),
        "companies": Counter(" ".join(p["company"].split()) for p in mine if p.get("company")),
        "locations": Counter(" ".join(p["location"].split()) for p in mine if p.get("location")),
        "skills": Counter(s for p in mine for s in {s.strip().lower() for s in p.get("skills", [])}),
        "remote": Counter("yes" if p["is_remote"] else "no" for p in mine if p.get("is_remote") is not None),
        "salaries": {currency: Counter(amounts) for currency, amounts in salaries.items()},
    }


def shown(period: Period) -> dict[str, Any]:
    return {
        "days": period.days,
        "sites": period.sites,
        "companies": period.companies,
        "locations": period.locations,
        "skills": period.skills,
        "remote": period.remote,
        "salaries": period.salaries,
    }


def anyone(_: dict[str, Any]) -> bool:
    return True


def asked(records: SqlRecords, days: int, **given: Any) -> Market:
    return MarketQueries(records.engine).market("t", until=TODAY, days=days, **given)


def spans(days: int) -> tuple[tuple[date, date], tuple[date, date]]:
    first = TODAY - timedelta(days=days - 1)
    return (first, TODAY), (first - timedelta(days=days), first - timedelta(days=1))


@pytest.mark.parametrize("seed", [1, 2])
def test_the_market_is_what_the_events_add_up_to_in_whichever_order_they_come(
    records: SqlRecords, seed: int
) -> None:
    chance = random.Random(seed)
    events = [posted(chance.randrange(150), chance, 25) for _ in range(400)]
    opening = [started("Python"), started("data")]
    chance.shuffle(events)
    store(records, [opening, *(events[k : k + 40] for k in range(0, 400, 40))])
    for days in (1, 10, 25):
        market = asked(records, days)
        now, before = (by_hand(events, *span, anyone) for span in spans(days))
        assert shown(market.now) == now
        assert market.before.days == before["days"]
        assert market.before.salaries == before["salaries"]
        assert market.before.remote == before["remote"]
        assert market.before.skills == Counter(
            {s: n for s, n in before["skills"].items() if s in now["skills"]}
        )


@pytest.mark.parametrize(
    ("given", "keep"),
    [
        ({"location": "berlin"}, lambda p: "berlin" in (p.get("location") or "").lower()),
        ({"location": " new york"}, lambda p: "New  York" in (p.get("location") or "")),
        ({"location": "KÖLN"}, lambda p: p.get("location") == "Köln"),
        ({"location": "%"}, lambda p: False),
        ({"search_term": "PYTHON "}, lambda p: p["search"] == "python"),
        ({"search_term": "py"}, lambda p: False),
        (
            {"search_term": "data", "location": "germany"},
            lambda p: p["search"] == "data" and p.get("location") == PLACES[1],
        ),
    ],
)
def test_a_search_or_a_place_asks_for_those_postings_alone(
    records: SqlRecords, given: dict[str, str], keep: Callable[[dict[str, Any]], bool]
) -> None:
    chance = random.Random(5)
    events = [posted(k, chance, 20) for k in range(200)]
    store(records, [[started("Python"), started("data")], events])
    market = asked(records, 10, **given)
    for period, span in zip((market.now, market.before), spans(10), strict=True):
        assert shown(period) == by_hand(events, *span, keep)
        assert period.looked_at == period.postings


def test_of_more_postings_than_are_read_the_newest_are_looked_at_and_all_are_counted(
    records: SqlRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("records.market.MOST_READ", 20)
    chance = random.Random(6)
    events = [posted(k, chance, 5) for k in range(60)]
    store(records, [[started("Python")], events])
    market = asked(records, 10, search_term="python")
    wanted = by_hand(events, *spans(10)[0], lambda p: p["search"] == "python")
    assert market.now.days == wanted["days"]
    assert market.now.postings > market.now.looked_at == 20 == sum(market.now.sites.values())


def test_another_tenants_postings_are_not_counted(records: SqlRecords) -> None:
    store(records, [[posted(1, random.Random(1), 1)]])
    found = MarketQueries(records.engine).market("another", until=TODAY, days=30)
    assert (found.now.postings, found.before.postings) == (0, 0)


def test_a_replayed_flush_counts_nothing_twice(records: SqlRecords) -> None:
    events = [posted(k, random.Random(k), 3) for k in range(20)]
    store(records, [events])
    before = shown(asked(records, 10).now)
    request = Request("t", None, NOON, [e["time"] for e in events], [from_model(e) for e in events])
    assert not records.apply(1, 1, fold([request], {}, collector_no=1, number=1).changes)
    store(records, [events], first=2)
    assert shown(asked(records, 10).now) == before


def test_postings_of_before_the_migration_are_counted_by_it(records: SqlRecords) -> None:
    events = [posted(k, random.Random(k), 20) for k in range(50)]
    store(records, [[started("Python"), started("data")], events])
    everything = [asked(records, 10), asked(records, 10, search_term="python")]
    downgrade(records.engine, "0004")
    upgrade(records.engine)
    again = [asked(records, 10), asked(records, 10, search_term="python")]
    for was, is_ in zip(everything, again, strict=True):
        assert shown(is_.now) == shown(was.now)
        assert shown(is_.before) == shown(was.before)


def test_counts_stay_those_of_the_postings_when_what_they_say_changes(
    engine: Engine, records: SqlRecords
) -> None:
    chance = random.Random(8)
    for number in range(1, 6):
        store(records, [[posted(k, chance, 3) for k in range(10)]], first=number)
    with reading(engine) as db:
        counts = db.execute(
            select(MarketDay.value, func.sum(MarketDay.n))
            .where(MarketDay.kind == "company")
            .group_by(MarketDay.value)
        )
        counted = {name: int(n) for name, n in counts if n}
        companies = Counter(
            " ".join(company.split()) for (company,) in db.execute(select(JobPosting.company)) if company
        )
    assert counted == companies


def test_companies_of_any_number_of_days_are_those_of_the_postings(
    engine: Engine, records: SqlRecords
) -> None:
    chance = random.Random(9)
    store(records, [[posted(k, chance, 60) for k in range(200)]])
    with reading(engine) as db:
        found = db.execute(select(JobPosting.company, JobPosting.first_seen)).all()
    for days in (1, 6, 7, 8, 13, 14, 15, 20, 21, 45):
        since = TODAY - timedelta(days=days - 1)
        assert asked(records, days).now.companies == Counter(
            " ".join(company.split()) for company, seen in found if company and seen and seen.date() >= since
        )


def test_percentiles_are_those_of_the_salaries() -> None:
    from scrapewatch.answers import percentile

    chance = random.Random(3)
    for size in (1, 2, 3, 10, 99):
        amounts = sorted(chance.randrange(10) for _ in range(size))
        counts = Counter(map(float, amounts))
        assert percentile(counts, 0.5) == statistics.median_low(amounts)
        for q in (0.1, 0.25, 0.75, 0.9):
            found = percentile(counts, q)
            assert found is not None
            assert sum(a <= found for a in amounts) >= q * size
            assert sum(a < found for a in amounts) < q * size
    assert percentile({}, 0.5) is None
