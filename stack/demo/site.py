"""A job site on loopback to crawl: several "sites" in one, each with a character of its own, all made from a seed.

`/{site}/jobs?q=…&l=…&page=N` lists postings, `/{site}/jobs/{number}` shows one with its schema.org JobPosting as JSON-LD
(https://schema.org/JobPosting). What a page holds depends on the seed alone; whether it comes at once, late or not at all
depends on the seed and on how many requests the site has had, so that a crawl can be repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from stack.demo.loopback import serve
from stack.demo.postings import Draw, Posting, Quality, posting

DEFAULT_SITES = ("indeed", "linkedin", "glassdoor")
POSTINGS_PER_SITE = 1_200
POSTINGS_PER_PAGE = 20


@dataclass(frozen=True)
class Character:
    """How one site behaves. Durations in seconds, at pace 1."""

    quality: Quality
    delay: float
    """Median time to answer; the times are log-normal around it, four seconds at most."""
    spread: float
    """Standard deviation of the logarithm of the time to answer."""
    errors: float = 0.0
    """Share of requests answered with a 500."""
    hangs: float = 0.0
    """Share of requests not answered within any patience."""
    refuses_after: int | None = None
    """Requests answered before it refuses everybody for a while; None for a site that never does."""
    refuses_for: float = 0.0
    refused_terms: tuple[str, ...] = ()
    """Search terms it always answers with a captcha."""
    page_limit: int | None = None
    """Listing pages it shows of one search, however many postings it says there are."""


SWIFT = Character(
    quality=Quality(duplicates=0.01, missing={"salary": 0.15, "skills": 0.03}),
    delay=0.04,
    spread=0.35,
)
GUARDED = Character(
    quality=Quality(
        duplicates=0.12,
        malformed=0.04,
        missing={"company": 0.06, "salary": 0.55, "skills": 0.3, "posted_on": 0.2, "description": 0.12},
    ),
    delay=0.12,
    spread=0.5,
    refuses_after=110,
    refuses_for=11.0,
    refused_terms=("penetration tester",),
    page_limit=2,
)
SLOW = Character(
    quality=Quality(
        duplicates=0.03, malformed=0.01, missing={"salary": 0.35, "skills": 0.15, "posted_on": 0.05}
    ),
    delay=0.4,
    spread=0.9,
    errors=0.025,
    hangs=0.008,
)
CHARACTERS = (SWIFT, GUARDED, SLOW)
"""Given to the sites in turn."""


def job_site(
    seed: int,
    sites: Sequence[str] = DEFAULT_SITES,
    *,
    pace: float = 1.0,
    postings: int = POSTINGS_PER_SITE,
    today: date | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Starlette:
    """The ASGI app.

    Args:
        seed: makes the postings and the whims of the sites.
        sites: their names; the first is fast and clean, the second refuses in phases, the third is slow, and so on in turn.
        pace: multiplies every delay; 0.05 makes the site twenty times as quick.
        postings: how many each site has.
        today: the day the youngest postings are from; by default today in UTC.
        clock: seconds that only grow; what the phases of refusal are measured with.

    Raises:
        ValueError: without a site, or with one named twice.
    """
    if not sites or len(set(sites)) != len(sites):
        raise ValueError("a job site needs sites with names of their own")
    today = today or datetime.now(UTC).date()
    boards = {
        name: _Board(seed, name, character, postings, pace, today, clock)
        for name, character in zip(sites, itertools.cycle(CHARACTERS), strict=False)
    }

    async def index(_request: Request) -> Response:
        links = "".join(f'<li><a href="/{name}/jobs">{html.escape(name)}</a></li>' for name in boards)
        return _page("Job sites", f"<ul>{links}</ul>")

    async def listing(request: Request) -> Response:
        board = boards.get(request.path_params["site"])
        return await board.listing(request) if board else _not_found()

    async def detail(request: Request) -> Response:
        board = boards.get(request.path_params["site"])
        return await board.detail(request) if board else _not_found()

    return Starlette(
        routes=[Route("/", index), Route("/{site}/jobs", listing), Route("/{site}/jobs/{number:int}", detail)]
    )


@dataclass
class _Board:
    """One site: its postings, and its mood."""

    seed: int
    name: str
    character: Character
    size: int
    pace: float
    today: date
    clock: Callable[[], float]
    requests: int = 0
    answered: int = 0
    """Since it last refused everybody."""
    refusals: int = 0
    """Phases of refusal so far."""
    refuses_until: float | None = None
    postings: dict[int, Posting] = field(init=False)

    def __post_init__(self) -> None:
        self.whims = Draw(f"{self.seed}/{self.name}/whims")
        self.postings = {
            number: posting(self.seed, self.name, number, quality=self.character.quality, today=self.today)
            for number in range(1, self.size + 1)
        }

    async def listing(self, request: Request) -> Response:
        params = request.query_params
        query, location = params.get("q", ""), params.get("l", "")
        try:
            page = int(params.get("page", "1"))
        except ValueError:
            return _not_found()
        if trouble := await self._trouble(request, refused=query.lower() in self.character.refused_terms):
            return trouble
        found = [posting for posting in self.postings.values() if posting.matches(query, location)]
        last = max(1, -(-len(found) // POSTINGS_PER_PAGE))
        if self.character.page_limit is not None:
            last = min(last, self.character.page_limit)
        if not 1 <= page <= last:
            return _not_found()
        shown = found[(page - 1) * POSTINGS_PER_PAGE : page * POSTINGS_PER_PAGE]
        items = "".join(
            f'<li><a class="job" href="/{self.name}/jobs/{item.number}">{html.escape(item.title)}</a> '
            f"{html.escape(item.company or '')}</li>"
            for item in shown
        )
        body = f'<p class="total" data-total="{len(found)}">{len(found)} jobs</p><ul>{items}</ul>'
        if page < last:
            target = f"/{self.name}/jobs?" + urlencode({"q": query, "l": location, "page": page + 1})
            body += f'<a rel="next" href="{html.escape(target)}">Next</a>'
        return _page(f"{query or 'All'} jobs, page {page}", body)

    async def detail(self, request: Request) -> Response:
        number = request.path_params["number"]
        if trouble := await self._trouble(request):
            return trouble
        found = self.postings.get(number)
        if found is None:
            return _not_found()
        text = json.dumps(json_ld(found), ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
        if found.malformed:
            text = text[: len(text) * 2 // 3]
        body = (
            f"<p>{html.escape(found.company or '')} · {html.escape(found.place.city)}</p>"
            f"<p>{html.escape(found.description or '')}</p>"
            f'<script type="application/ld+json">{text}</script>'
        )
        return _page(found.title, body)

    async def _trouble(self, request: Request, *, refused: bool = False) -> Response | None:
        """Takes the site's time to answer; what it answers instead of the page, if anything."""
        self.requests += 1
        turn = self.requests
        refusal = _captcha if refused else self._phase()
        if refusal is not None:
            await _wait(request, 0.03 * self.pace)
            return refusal()
        if self.whims.share(f"hang {turn}") < self.character.hangs:
            # Longer than the patience of the orchestrator, which never goes below a second.
            await _wait(request, max(3.0, 30.0 * self.pace))
        # The ends are cut off: a quantile of 0 or 1 has no finite value.
        quantile = self.whims.between(f"delay {turn}", 0.001, 0.999)
        factor = statistics.NormalDist(0.0, self.character.spread).inv_cdf(quantile)
        await _wait(request, min(4.0, self.character.delay * math.exp(factor)) * self.pace)
        if self.whims.share(f"error {turn}") < self.character.errors:
            return _page("Something went wrong", "<p>Please try again later.</p>", status=500)
        return None

    def _phase(self) -> Callable[[], Response] | None:
        """The refusal of the current phase, or None while the site answers.

        A phase begins by count, as limits on a client do, and ends by time: by count alone a client that backs off would
        never come to its end.
        """
        if self.character.refuses_after is None:
            return None
        now = self.clock()
        if self.refuses_until is not None and now >= self.refuses_until:
            self.refuses_until, self.answered = None, 0
            self.refusals += 1
        if self.refuses_until is None:
            limit = self.character.refuses_after * self.whims.between(f"limit {self.refusals}", 0.7, 1.3)
            if self.answered < limit:
                self.answered += 1
                return None
            length = self.character.refuses_for * self.whims.between(f"length {self.refusals}", 0.7, 1.3)
            self.refuses_until = now + length * self.pace
        return (_too_many, _captcha, _forbidden)[self.refusals % 3]


def json_ld(posting: Posting) -> dict[str, Any]:
    """The posting as a schema.org JobPosting; what it leaves out has no key."""
    place = posting.place
    salary: str | dict[str, Any] | None = None
    if posting.salary is not None:
        pay = posting.salary
        value: dict[str, Any] = {"@type": "QuantitativeValue", "unitText": pay.unit}
        value |= (
            {"value": pay.minimum}
            if pay.minimum == pay.maximum
            else {"minValue": pay.minimum, "maxValue": pay.maximum}
        )
        salary = pay.text or {"@type": "MonetaryAmount", "currency": pay.currency, "value": value}
    facts = {
        "@context": "https://schema.org",
        "@type": "JobPosting",
        "identifier": str(posting.number),
        "title": posting.title,
        "hiringOrganization": {"@type": "Organization", "name": posting.company} if posting.company else None,
        "jobLocation": {
            "@type": "Place",
            "address": {
                "@type": "PostalAddress",
                "addressLocality": place.city,
                "addressRegion": place.region,
                "addressCountry": place.country,
            },
        },
        "jobLocationType": "TELECOMMUTE" if posting.remote else None,
        "employmentType": posting.employment_type,
        "baseSalary": salary,
        "skills": ", ".join(posting.skills) or None,
        "datePosted": posting.posted_on.isoformat() if posting.posted_on else None,
        "description": posting.description,
    }
    return {name: value for name, value in facts.items() if value is not None}


async def _wait(request: Request, seconds: float) -> None:
    """Waits, but not for a client that has gone: its connection would hold up the end of the server."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while (await request.receive())["type"] != "http.disconnect":
                pass


def _page(title: str, body: str, *, status: int = 200) -> HTMLResponse:
    title = html.escape(title)
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
        f"<body><h1>{title}</h1>{body}</body></html>",
        status_code=status,
    )


def _not_found() -> Response:
    return _page("Not found", "<p>No such page.</p>", status=404)


def _too_many() -> Response:
    return _page("Too many requests", "<p>Slow down.</p>", status=429)


def _forbidden() -> Response:
    return _page("Access denied", "<p>You do not have permission to see this page.</p>", status=403)


def _captcha() -> Response:
    return _page("One more step", "<p>Please verify you are human.</p>")


def serve_site(
    seed: int,
    sites: Sequence[str] = DEFAULT_SITES,
    *,
    pace: float = 1.0,
    postings: int = POSTINGS_PER_SITE,
    port: int = 0,
) -> AbstractAsyncContextManager[str]:
    """Serves `job_site` on 127.0.0.1 in the running loop for the length of an `async with`, which gives its URL.

    Args:
        seed: as for `job_site`.
        sites: as for `job_site`.
        pace: as for `job_site`.
        postings: as for `job_site`.
        port: 0 takes a free one.

    Raises:
        OSError: the port is taken (on entering).
    """
    return serve(job_site(seed, sites, pace=pace, postings=postings), port=port)
