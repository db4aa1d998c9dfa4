"""The job site is one that can be crawled, repeatably, and each of its sites is trouble of its own kind."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import date
from typing import TypeVar

import httpx2
import pytest

from stack.demo.loopback import serve
from stack.demo.page import MalformedPosting, read_job, read_page
from stack.demo.postings import PLACES, posting
from stack.demo.site import (
    CHARACTERS,
    DEFAULT_SITES,
    GUARDED,
    POSTINGS_PER_PAGE,
    SWIFT,
    job_site,
    json_ld,
)

T = TypeVar("T")
TODAY = date(2026, 1, 5)


def visit(app: object, ask: Callable[[httpx2.AsyncClient], Awaitable[T]]) -> T:
    async def run() -> T:
        async with serve(app) as url, httpx2.AsyncClient(base_url=url, trust_env=False, timeout=20) as http:
            return await ask(http)

    return asyncio.run(run())


async def persist(http: httpx2.AsyncClient, path: str) -> httpx2.Response:
    """The page, however often the site refuses or fails first."""
    for _ in range(300):
        try:
            response = await http.get(path, timeout=1.0)
        except httpx2.TimeoutException:
            continue
        refused = response.status_code in (403, 429, 500) or "verify you are human" in response.text
        if not refused:
            return response
        await asyncio.sleep(0.01)
    raise AssertionError(f"{path} never came")


PAGES = [
    path
    for site in DEFAULT_SITES
    for path in (f"/{site}/jobs?q=python", f"/{site}/jobs/7", f"/{site}/jobs/211")
]


def pages_of(seed: int) -> list[str]:
    async def ask(http: httpx2.AsyncClient) -> list[str]:
        return [(await persist(http, path)).text for path in PAGES]

    return visit(job_site(seed, pace=0.001, postings=220, today=TODAY), ask)


def test_the_same_seed_makes_the_same_site_and_another_seed_another() -> None:
    first = pages_of(1)
    assert pages_of(1) == first
    assert all(here != there for here, there in zip(pages_of(2), first, strict=True))


def test_a_posting_does_not_depend_on_what_was_asked_for_before() -> None:
    async def backwards(http: httpx2.AsyncClient) -> list[str]:
        return [(await persist(http, path)).text for path in reversed(PAGES)][::-1]

    assert visit(job_site(1, pace=0.001, postings=220, today=TODAY), backwards) == pages_of(1)


def test_every_listing_link_resolves_and_leads_to_every_posting() -> None:
    async def ask(http: httpx2.AsyncClient) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for link in re.findall(r'href="([^"]+)"', (await http.get("/")).text):
            path: str | None = link
            jobs = found.setdefault(link.split("/")[1], set())
            while path:
                response = await persist(http, path)
                assert response.status_code == 200, path
                page = read_page(response.text)
                jobs.update(page.job_links)
                path = page.next_link
            for job in jobs:
                assert (await persist(http, job)).status_code == 200, job
        return found

    found = visit(job_site(3, pace=0.001, postings=70), ask)
    limited = GUARDED.page_limit
    assert limited is not None
    assert {site: len(jobs) for site, jobs in found.items()} == {
        "indeed": 70,
        "linkedin": limited * POSTINGS_PER_PAGE,
        "glassdoor": 70,
    }


def test_a_site_has_a_good_thousand_postings_and_says_how_many() -> None:
    async def ask(http: httpx2.AsyncClient) -> list[int | None]:
        return [read_page((await persist(http, f"/{site}/jobs")).text).total for site in DEFAULT_SITES]

    totals = visit(job_site(1, pace=0.001), ask)
    assert all(total is not None and total > 1_000 for total in totals)


def test_what_is_not_there_is_a_404() -> None:
    paths = [f"/indeed/jobs?page={page}" for page in ("0", "-1", "two", "", "999")]
    paths += [
        "/monster/jobs",
        "/monster/jobs/1",
        "/indeed/jobs/0",
        "/indeed/jobs/99999",
        "/indeed/jobs/first",
    ]

    async def ask(http: httpx2.AsyncClient) -> dict[str, int]:
        return {path: (await http.get(path)).status_code for path in paths}

    assert visit(job_site(1, pace=0.001, postings=50), ask) == dict.fromkeys(paths, 404)


def test_a_search_finds_what_has_its_words_and_its_place() -> None:
    async def ask(http: httpx2.AsyncClient) -> list[dict[str, object]]:
        listing = read_page((await http.get("/indeed/jobs?q=python+engineer&l=berlin")).text)
        jobs = [read_page((await http.get(link)).text) for link in listing.job_links]
        assert listing.total == len(jobs) > 0
        return [read_job(job, "") for job in jobs]

    for job in visit(job_site(1, pace=0.001), ask):
        assert "Engineer" in str(job["title"])
        assert "Python" in str(job["title"]) + str(job.get("skills", "Python"))
        assert "Berlin" in str(job["location"])


def test_a_search_for_what_nobody_offers_is_an_empty_page() -> None:
    page = read_page(
        visit(
            job_site(1, pace=0.001, postings=50), lambda http: http.get("/indeed/jobs?q=lighthouse+keeper")
        ).text
    )
    assert (page.total, page.job_links, page.next_link) == (0, [], None)


def test_the_guarded_site_refuses_in_phases_that_begin_by_count_and_end_by_time() -> None:
    now, pace = 0.0, 0.001

    def kind(response: httpx2.Response) -> str:
        return "captcha" if "verify you are human" in response.text else str(response.status_code)

    async def ask(http: httpx2.AsyncClient) -> list[list[str]]:
        nonlocal now
        phases = []
        for _ in range(3):
            answers = []
            while kind(response := await http.get("/linkedin/jobs/1")) == "200":
                answers.append("200")
            # Asking on does not end it, and other sites do not care.
            answers += [kind(response), *[kind(await http.get("/linkedin/jobs/2")) for _ in range(5)]]
            answers.append(kind(await http.get("/indeed/jobs/1")))
            phases.append(answers)
            now += 2 * GUARDED.refuses_for * pace
        return phases

    phases = visit(job_site(1, pace=pace, postings=2, clock=lambda: now), ask)
    assert [phase[-7:] for phase in phases] == [[kind] * 6 + ["200"] for kind in ("429", "captcha", "403")]
    assert GUARDED.refuses_after is not None
    assert all(0.7 * GUARDED.refuses_after <= phase[:-1].count("200") for phase in phases)


def test_the_guarded_site_always_asks_for_a_human_at_some_searches() -> None:
    async def ask(http: httpx2.AsyncClient) -> list[bool]:
        paths = (
            "/linkedin/jobs?q=penetration+tester",
            "/linkedin/jobs?q=python",
            "/indeed/jobs?q=penetration+tester",
        )
        return [read_page((await http.get(path)).text).captcha for path in paths]

    assert visit(job_site(1, pace=0.001, postings=50), ask) == [True, False, False]


def test_the_slow_site_fails_now_and_then_and_the_fast_one_never() -> None:
    async def ask(http: httpx2.AsyncClient) -> tuple[set[int], set[int]]:
        async def statuses(site: str) -> set[int]:
            seen = set()
            for number in range(1, 120):
                try:
                    seen.add((await http.get(f"/{site}/jobs/{number}", timeout=1.0)).status_code)
                except httpx2.TimeoutException:
                    seen.add(0)
            return seen

        return await statuses("indeed"), await statuses("glassdoor")

    fast, slow = visit(job_site(1, pace=0.001, postings=120), ask)
    assert fast == {200}
    assert {200, 500} <= slow <= {0, 200, 500}


def test_salaries_come_in_many_forms() -> None:
    jobs = [
        json_ld(posting(1, "indeed", number, quality=SWIFT.quality, today=TODAY)) for number in range(1, 500)
    ]
    salaries = [job["baseSalary"] for job in jobs if "baseSalary" in job]
    texts = [salary for salary in salaries if isinstance(salary, str)]
    amounts = [salary for salary in salaries if isinstance(salary, dict)]
    assert texts
    assert all(re.search(r"\d", text) for text in texts)
    assert {salary["value"]["unitText"] for salary in amounts} == {"YEAR", "MONTH", "DAY", "HOUR"}
    assert {salary["currency"] for salary in amounts} == {place.currency for place in PLACES}
    ranges = [salary["value"] for salary in amounts if "minValue" in salary["value"]]
    assert 0 < len(ranges) < len(amounts)
    assert all(0 < value["minValue"] < value["maxValue"] for value in ranges)


def test_data_quality_differs_by_site() -> None:
    def figures(site: str, character: int) -> tuple[float, float, float]:
        quality = CHARACTERS[character].quality
        postings = [posting(1, site, number, quality=quality, today=TODAY) for number in range(1, 1_001)]
        distinct = {
            (item.title, item.company, item.place, item.description, item.posted_on) for item in postings
        }
        return (
            sum(item.salary is None for item in postings) / 1_000,
            sum(item.malformed for item in postings) / 1_000,
            1 - len(distinct) / 1_000,
        )

    swift, guarded, slow = figures("indeed", 0), figures("linkedin", 1), figures("glassdoor", 2)
    for better, worse in ((swift, slow), (slow, guarded)):
        assert all(good < bad for good, bad in zip(better, worse, strict=True))


def test_malformed_json_ld_is_named_as_such() -> None:
    numbers = range(1, 400)
    quality = GUARDED.quality
    malformed = next(n for n in numbers if posting(1, "linkedin", n, quality=quality, today=TODAY).malformed)

    async def ask(http: httpx2.AsyncClient) -> str:
        return (await http.get(f"/linkedin/jobs/{malformed}")).text

    with pytest.raises(MalformedPosting):
        read_job(read_page(visit(job_site(1, pace=0.001, postings=400, today=TODAY), ask)), "")


def test_sites_need_names_of_their_own() -> None:
    for names in ((), ("indeed", "indeed")):
        with pytest.raises(ValueError, match="names of their own"):
            job_site(1, names)
