"""Performance, comparison and ROI, against the events themselves, counted again in plain Python."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.analytics.roi import read_price
from records import queries
from scrapewatch.problems import InvalidInput, StoreUnavailable
from scrapewatch.time import DAY, HOUR, MINUTE, SECOND, now_ns, to_ns
from tests.api.stacks import BASE, Stack, event

PATH = "/api/v1/analytics"
SITES = ("indeed", "linkedin", "a b,c=d")

Events = list[dict[str, Any]]


def fleet(days: float, *, seed: int, steps: int = 400) -> Events:
    """Some events of every kind that analytics look at, over the last ``days`` days."""
    chance = random.Random(seed)
    now = now_ns()
    found: Events = []
    # In few minutes, since each one is rolled up by itself.
    minutes = [now - MINUTE - chance.randrange(int(days * DAY)) for _ in range(8)]
    for _ in range(steps):
        at = chance.choice(minutes) + chance.randrange(MINUTE - SECOND)
        site = chance.choice(SITES)
        session = f"s{chance.randrange(12)}"
        if chance.random() < 0.8:
            status = chance.choice((200, 200, 200, 301, 403, 500))
            value = {
                "site": site,
                "status": status,
                "blocked": chance.random() < 0.05,
                "duration": chance.random() * 4,
            }
            found.append(event("page_processed", value, time=at, session=session))
        if chance.random() < 0.5:
            count = chance.randint(0, 9)
            value = {"site": site, "count": count, "duplicate": chance.randint(0, 3)}
            found.append(event("job_scraped", value, time=at, session=session))
        if chance.random() < 0.2:
            value = {"site": site, "type": chance.choice(("403", "timeout", "weird"))}
            found.append(event("error_occurred", value, time=at, session=session))
        if chance.random() < 0.1:
            value = {
                "site": chance.choice((*SITES, None)),
                "amount": chance.randint(1, 500) / 100,
                "kind": chance.choice(("proxy", "compute", "captcha")),
                "currency": chance.choice(("USD", "EUR")),
            }
            found.append(event("cost", value, time=at, session=session))
    return found


def store(stack: Stack, events: Events) -> None:
    """History as history, the rest as it comes; and both rolled up."""
    recent = now_ns() - 6 * DAY
    stack.store([e for e in events if e["time"] < recent], source="history")
    stack.store([e for e in events if e["time"] >= recent])
    stack.roll()


def inside(events: Events, start: str, stop: str) -> Events:
    first, last = _ns(start), _ns(stop)
    return [e for e in events if first <= e["time"] < last]


def _ns(text: str) -> int:
    return to_ns(datetime.fromisoformat(text))


def of(events: Events, metric: str, site: str | None = None) -> list[dict[str, Any]]:
    return [
        e["value"]
        for e in events
        if e["metric"] == metric and (site is None or e["value"].get("site") == site)
    ]


def saved(value: dict[str, Any]) -> int:
    return max(0, int(value["count"]) - int(value["duplicate"]))


def by_hand(events: Events, hours: float, site: str | None = None) -> dict[str, Any]:
    """The figures of the events, said again. Of several sites each must be counted by itself to know what is sure to have failed."""
    pages, jobs, errors = (of(events, m, site) for m in ("page_processed", "job_scraped", "error_occurred"))
    good = [p for p in pages if not p["blocked"] and p["status"] < 400]
    attempts = len(good) + max(len(pages) - len(good), len(errors))
    times = sorted(p["duration"] for p in pages)
    types = Counter(e["type"] if e["type"] != "weird" else "other" for e in errors)
    return {
        "jobs": sum(j["count"] for j in jobs),
        "jobs_saved": sum(map(saved, jobs)),
        "jobs_per_hour": pytest.approx(sum(j["count"] for j in jobs) / hours),
        "pages": len(pages),
        "success_rate": pytest.approx(len(good) / attempts) if attempts else None,
        "block_rate": pytest.approx(sum(p["blocked"] for p in pages) / len(pages)) if pages else None,
        "response_time": pytest.approx(sum(times) / len(times)) if times else None,
        "errors": len(errors),
        "errors_by_type": dict(types),
        "times": times,
    }


def assert_figures(answer: dict[str, Any], wanted: dict[str, Any]) -> None:
    times = wanted.pop("times")
    for name, value in wanted.items():
        assert answer[name] == value, name
    for q in (0.5, 0.95):
        exact = times[min(int(q * len(times)), len(times) - 1)]
        assert exact / 1.5 <= answer[f"response_time_p{round(q * 100)}"] <= exact * 1.5


@pytest.mark.parametrize(("days", "seed"), [(1, 1), (2, 2), (7, 3), (30, 5)])
def test_the_summary_is_what_the_events_add_up_to(
    stack: Stack, client: TestClient, days: int, seed: int
) -> None:
    events = fleet(2.2 * days, seed=seed)
    store(stack, events)
    answer = client.get(f"{PATH}/performance/summary?days={days}").json()
    now = inside(events, answer["start"], answer["stop"])
    hours = (_ns(answer["stop"]) - _ns(answer["start"])) / HOUR
    assert days * 24 <= hours <= days * 24 + 1
    assert_figures(answer["figures"], by_hand(now, hours))
    assert answer["degraded"] == []
    assert {site["site"] for site in answer["sites"]} == set(SITES)
    for site in answer["sites"]:
        assert_figures(site, by_hand(now, hours, site["site"]))
    assert [site["jobs"] for site in answer["sites"]] == sorted(
        (s["jobs"] for s in answer["sites"]), reverse=True
    )
    start, stop = _ns(answer["start"]), _ns(answer["stop"])
    whole = stop + -stop % HOUR - start
    before = by_hand([e for e in events if start - whole <= e["time"] < start], whole / HOUR)
    after = by_hand(now, hours)
    for name in ("jobs_per_hour", "success_rate", "response_time"):
        was, is_ = before[name].expected, after[name].expected
        assert answer["change_percent"][name] == pytest.approx((is_ - was) / was * 100), name


def test_the_summary_counts_the_sessions_that_began_by_status_and_verdict(
    stack: Stack, client: TestClient
) -> None:
    now = now_ns()
    for k, age in enumerate((1, 2, 3, 20)):
        at = now - age * DAY
        events = [
            event("session_started", {"sites": ["indeed"]}, time=at, session=f"s{k}"),
            event("job_scraped", {"site": "indeed"}, time=at + SECOND, session=f"s{k}"),
        ]
        if k != 1:
            events.append(
                event("session_finished", {"status": "completed"}, time=at + MINUTE, session=f"s{k}")
            )
        stack.store(events)
    sessions = client.get(f"{PATH}/performance/summary?days=7").json()["sessions"]
    assert sessions == {
        "total": 3,
        "by_status": {"completed": 2, "running": 1},
        "by_verdict": {"healthy": 2},
    }


def test_without_points_the_summary_answers_the_sessions_and_the_other_way_round(
    stack: Stack, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(stack, fleet(1, seed=1))
    good = client.get(f"{PATH}/performance/summary").json()
    _records_down(monkeypatch)
    answer = client.get(f"{PATH}/performance/summary").json()
    assert (answer["sessions"], answer["degraded"]) == (None, ["records"])
    assert answer["figures"]["jobs"] == good["figures"]["jobs"]
    monkeypatch.undo()
    stack.series.close()
    answer = client.get(f"{PATH}/performance/summary").json()
    assert (answer["figures"], answer["change_percent"], answer["sites"]) == (None, None, [])
    assert (answer["sessions"], answer["degraded"]) == (good["sessions"], ["series"])
    _records_down(monkeypatch)
    assert client.get(f"{PATH}/performance/summary").status_code == 503


def _records_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(_: Any) -> Any:
        raise StoreUnavailable("the records are on holiday")

    monkeypatch.setattr(queries, "reading", down)


@pytest.mark.parametrize(
    ("period", "days", "every"),
    [
        ("1h", 1 / 24, MINUTE),
        ("6h", 0.25, 5 * MINUTE),
        ("24h", 1, 15 * MINUTE),
        ("7d", 7, 2 * HOUR),
        ("90d", 90, DAY),
    ],
)
def test_a_trend_is_what_the_events_of_each_window_add_up_to(
    stack: Stack, client: TestClient, period: str, days: float, every: int
) -> None:
    events = fleet(2 * days, seed=7, steps=250)
    store(stack, events)
    for metric in ("jobs_per_hour", "success_rate", "response_time"):
        assert_trend(client, events, metric, period, days, every)


def assert_trend(
    client: TestClient, events: Events, metric: str, period: str, days: float, every: int
) -> None:
    answer = client.get(f"{PATH}/performance/trends?metric={metric}&period={period}").json()
    assert answer["interval_seconds"] == every / SECOND
    stop = _ns(answer["stop"])
    times = [_ns(item["time"]) for item in answer["items"]]
    assert times == list(range(_ns(answer["start"]), stop, every))
    assert times[-1] - times[0] >= int(days * DAY) - every
    for item, time in zip(answer["items"], times, strict=True):
        window = [e for e in events if time <= e["time"] < time + every]
        hours = (min(time + every, stop) - time) / HOUR
        whole = by_hand(window, hours)[metric]
        assert item["value"] == (whole if metric != "jobs_per_hour" else pytest.approx(whole.expected))
        for site, value in item["sites"].items():
            assert value == by_hand(window, hours, site)[metric], site
    now = inside(events, answer["start"], answer["stop"])
    assert answer["value"] == by_hand(now, (stop - times[0]) / HOUR)[metric]
    whole_length = times[-1] + every - times[0]
    before = by_hand(
        [e for e in events if times[0] - whole_length <= e["time"] < times[0]], whole_length / HOUR
    )
    assert answer["previous_value"] == before[metric]
    change = answer["change_percent"]
    assert answer["direction"] == ("steady" if abs(change) <= 5 else "up" if change > 0 else "down")


def test_a_trend_may_be_of_one_site(stack: Stack, client: TestClient) -> None:
    store(stack, fleet(1, seed=3))
    answer = client.get(f"{PATH}/performance/trends?site=linkedin").json()
    assert {site for item in answer["items"] for site in item["sites"]} == {"linkedin"}


def test_sites_are_compared_by_what_their_events_add_up_to(stack: Stack, client: TestClient) -> None:
    events = fleet(15, seed=9, steps=600)
    store(stack, events)
    answer = client.get(f"{PATH}/sites/comparison?days=7").json()
    now = inside(events, answer["start"], answer["stop"])
    hours = (_ns(answer["stop"]) - _ns(answer["start"])) / HOUR
    jobs = sum(value["count"] for value in of(now, "job_scraped"))
    assert {item["site"] for item in answer["items"]} == set(SITES)
    figures = {site: by_hand(now, hours, site) for site in SITES}
    for item in answer["items"]:
        assert item["share_of_jobs"] == pytest.approx(figures[item["site"]]["jobs"] / jobs)
        assert_figures(item, dict(figures[item["site"]]))
    best = answer["best"]
    assert best["jobs_per_hour"] == max(SITES, key=lambda site: figures[site]["jobs"])
    assert best["success_rate"] == max(SITES, key=lambda site: figures[site]["success_rate"].expected)
    assert best["response_time"] == min(SITES, key=lambda site: figures[site]["response_time"].expected)


def test_nothing_scraped_is_nothing_to_compare(client: TestClient) -> None:
    answer = client.get(f"{PATH}/sites/comparison").json()
    assert answer["items"] == []
    assert set(answer["best"].values()) == {None}
    trend = client.get(f"{PATH}/performance/trends?metric=success_rate").json()
    assert (trend["value"], trend["direction"], trend["least"]) == (None, None, None)
    summary = client.get(f"{PATH}/performance/summary").json()
    assert summary["figures"]["jobs"] == 0
    assert summary["figures"]["success_rate"] is None


def costs_by_hand(events: Events, values: Iterable[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """Costs by currency and site; what is of no site by the sites' pages."""
    pages = Counter(p["site"] for p in of(events, "page_processed"))
    found: defaultdict[tuple[str, str], float] = defaultdict(float)
    for value in values:
        if value.get("site"):
            found[value["currency"], value["site"]] += value["amount"]
        else:
            for site, number in pages.items():
                found[value["currency"], site] += value["amount"] * number / sum(pages.values())
    return dict(found)


def test_costs_are_what_the_events_add_up_to_by_site_and_currency(stack: Stack, client: TestClient) -> None:
    events = fleet(25, seed=11, steps=800)
    events.append(event("proxy", {"provider": "p", "requests": 9, "cost": 1_000.0}, time=now_ns() - DAY))
    store(stack, events)
    answer = client.get(f"{PATH}/roi?competitor=some:one:5&competitor=other:0").json()
    now = inside(events, answer["start"], answer["stop"])
    wanted = costs_by_hand(now, of(now, "cost"))
    valid = {site: sum(map(saved, of(now, "job_scraped", site))) for site in SITES}
    got = {(item["currency"], item["site"]): item for item in answer["items"]}
    assert got.keys() == wanted.keys()
    for key, item in got.items():
        assert item["cost"] == pytest.approx(wanted[key])
        assert item["cost"] == pytest.approx(item["own_cost"] + item["shared_cost"])
        assert item["own_cost"] == pytest.approx(sum(item["by_kind"].values()))
        assert item["valid_results"] == valid[key[1]]
        assert item["cost_per_1000"] == pytest.approx(wanted[key] * 1_000 / valid[key[1]])
    spent = sum(cost for (currency, _), cost in wanted.items() if currency == "USD")
    results = sum(valid.values())
    assert answer["valid_results"] == results
    some, other = answer["savings"]
    assert some["competitor"] == "some:one"
    assert some["price"] == pytest.approx(5 * results / 1_000)
    assert some["saved"] == pytest.approx(5 * results / 1_000 - spent)
    assert some["saved_share"] == pytest.approx(some["saved"] / some["price"])
    assert (other["price"], other["saved_share"]) == (0, None)
    totals = {total["currency"]: total for total in answer["totals"]}
    assert totals["USD"]["cost"] == pytest.approx(spent)
    assert len(answer["notes"]) == 2


def test_what_proxies_say_they_cost_counts_where_nothing_else_was_said_of_proxies(
    stack: Stack, client: TestClient
) -> None:
    at = now_ns() - HOUR
    store(
        stack,
        [
            event("page_processed", {"site": "indeed", "status": 200}, time=at),
            event("job_scraped", {"site": "indeed", "count": 10}, time=at),
            event("proxy", {"provider": "p", "proxy": "1", "requests": 9, "cost": 1.5}, time=at),
            event("proxy", {"provider": "q", "requests": 9, "cost": 0.5}, time=at),
            event("cost", {"site": "indeed", "kind": "compute", "amount": 1.0, "currency": "CHF"}, time=at),
        ],
    )
    answer = client.get(f"{PATH}/roi?currency=chf").json()
    (item,) = answer["items"]
    assert (item["cost"], item["own_cost"], item["shared_cost"]) == (3.0, 1.0, 2.0)
    assert (item["currency"], item["cost_per_1000"], item["by_kind"]) == ("CHF", 300.0, {"compute": 1.0})
    assert {item["currency"] for item in client.get(f"{PATH}/roi").json()["items"]} == {"CHF", "USD"}


def test_costs_without_any_page_stay_without_a_site(stack: Stack, client: TestClient) -> None:
    store(stack, [event("cost", {"amount": 2.0}, time=now_ns() - HOUR)])
    answer = client.get(f"{PATH}/roi").json()
    (item,) = answer["items"]
    assert (item["site"], item["cost"], item["cost_per_1000"]) == ("", 2.0, None)
    assert answer["notes"] == ["No valid result came in this time, so nothing has a cost by result."]


@pytest.mark.parametrize(
    ("investment", "monthly_return", "roi", "payback"),
    [(1_000, 125, 0.5, 8.0), (1_200, 100, 0.0, 12.0), (100, 0, -1.0, None), (100, -10, -2.2, None)],
)
def test_the_return_is_that_of_the_users_own_figures(
    client: TestClient, investment: float, monthly_return: float, roi: float, payback: float | None
) -> None:
    own = client.get(f"{PATH}/roi?investment={investment}&monthly_return={monthly_return}").json()[
        "own_figures"
    ]
    assert own["roi"] == pytest.approx(roi)
    assert own["payback_months"] == payback


def test_no_price_is_assumed_and_none_of_the_own_figures(make: Callable[..., Stack]) -> None:
    stack = make()
    client = TestClient(stack.app, base_url=BASE)
    answer = client.get(f"{PATH}/roi").json()
    assert (answer["savings"], answer["own_figures"], answer["currency"]) == ([], None, "USD")


def test_competitors_and_currency_may_be_settings(make: Callable[..., Stack]) -> None:
    stack = make(competitor_prices="someone:4.50, other:9", currency="EUR")
    client = TestClient(stack.app, base_url=BASE)
    answer = client.get(f"{PATH}/roi").json()
    assert [(s["competitor"], s["price_per_1000"]) for s in answer["savings"]] == [
        ("someone", 4.5),
        ("other", 9.0),
    ]
    assert answer["currency"] == "EUR"


def test_without_points_the_return_by_the_own_figures_is_answered_alone(
    stack: Stack, client: TestClient
) -> None:
    store(stack, fleet(1, seed=1))
    stack.series.close()
    answer = client.get(f"{PATH}/roi?investment=1000&monthly_return=125").json()
    assert answer["degraded"] == ["series"]
    assert answer["own_figures"]["roi"] == 0.5
    assert answer["valid_results"] is None
    assert client.get(f"{PATH}/roi").status_code == 503


@pytest.mark.parametrize("text", ["", "x", ":1", "x:", "x:-1", "x:nan", "x:inf", "x:1e99"])
def test_a_competitor_is_a_name_and_a_price(text: str) -> None:
    with pytest.raises(InvalidInput):
        read_price(text)


@pytest.mark.parametrize(
    "query",
    [
        "roi?investment=1000",
        "roi?monthly_return=10",
        "roi?investment=0&monthly_return=1",
        "roi?investment=nan&monthly_return=1",
        "roi?competitor=x",
        "roi?currency=dollars",
        "roi?days=0",
        "performance/summary?days=366",
        "performance/trends?metric=weather",
        "performance/trends?period=2h",
        "market/insights?days=0",
    ],
)
def test_what_cannot_be_asked_is_refused(client: TestClient, query: str) -> None:
    assert client.get(f"{PATH}/{query}").status_code == 422
    assert client.get(f"/analytics/{query}").status_code == 422, "the path without its version is an alias"


@pytest.mark.parametrize("path", ["performance/trends", "sites/comparison"])
def test_without_the_store_of_points_the_answer_is_a_problem(
    stack: Stack, client: TestClient, path: str
) -> None:
    store(stack, fleet(1, seed=1))
    stack.series.close()
    assert client.get(f"{PATH}/{path}").status_code == 503
