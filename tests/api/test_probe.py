"""Polite probes of sites, against a site on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from api.health.findings import Status
from api.health.probe import USER_AGENT, SiteProbes, judge_answer
from scrapewatch.problems import ConfigurationError
from scrapewatch.settings import load, probes_of
from scrapewatch.time import now_ns
from tests.api.sites import Site
from tests.api.stacks import Stack, event
from tests.loopback import free_port


def probed(url: str) -> tuple[SiteProbes, Any]:
    probes = SiteProbes({"indeed": url}, 900)
    asyncio.run(probes.probe())
    return probes, probes.findings["indeed"]


def test_a_site_that_answers_is_up_and_only_its_head_is_asked_for(site: Site) -> None:
    site.answers["HEAD", "/jobs"] = 200, b""
    _, found = probed(f"{site.url}/jobs")
    assert found.status is Status.UP and found.response_time > 0
    assert [(method, path) for method, path, _ in site.asked] == [("GET", "/robots.txt"), ("HEAD", "/jobs")]
    assert {agent for _, _, agent in site.asked} == {USER_AGENT}


def test_a_site_that_knows_no_head_is_asked_for_the_page(site: Site) -> None:
    site.answers["HEAD", "/"] = 405, b""
    site.answers["GET", "/"] = 200, b"x" * 100_000
    _, found = probed(f"{site.url}/")
    assert found.status is Status.UP


@pytest.mark.parametrize(
    ("status", "found"),
    [(200, "up"), (302, "up"), (404, "up"), (403, "degraded"), (429, "degraded"), (503, "down")],
)
def test_an_answer_is_judged_by_its_status(status: int, found: str) -> None:
    assert judge_answer(status, 0.1).status == found


def test_a_redirect_is_an_answer_and_not_followed(site: Site) -> None:
    site.answers["HEAD", "/"] = 302, b""
    _, found = probed(f"{site.url}/")
    assert found.status is Status.UP
    assert len(site.asked) == 2


@pytest.mark.parametrize(
    ("robots", "status"),
    [
        ((200, b"User-agent: *\nDisallow: /jobs\n"), "unknown"),
        ((200, b"User-agent: scrapewatch\nDisallow: /\n\nUser-agent: *\nAllow: /\n"), "unknown"),
        ((200, b"User-agent: evil\nDisallow: /\n"), "up"),
        ((200, b"\xff\xfe\x00" * 200_000), "up"),
        ((404, b""), "up"),
        ((500, b""), "unknown"),
    ],
)
def test_what_robots_txt_does_not_want_is_not_asked(
    site: Site, robots: tuple[int, bytes], status: str
) -> None:
    site.answers["GET", "/robots.txt"] = robots
    site.answers["HEAD", "/jobs"] = 200, b""
    _, found = probed(f"{site.url}/jobs")
    assert found.status == status
    assert any(path == "/jobs" for _, path, _ in site.asked) is (status == "up")


def test_robots_txt_is_read_once_a_day(site: Site) -> None:
    site.answers["HEAD", "/"] = 200, b""
    probes, _ = probed(f"{site.url}/")
    asyncio.run(probes.probe())
    assert [path for _, path, _ in site.asked] == ["/robots.txt", "/", "/"]


def test_a_site_that_does_not_answer_is_down() -> None:
    _, found = probed(f"http://127.0.0.1:{free_port()}/")
    assert found.status is Status.DOWN and found.message == "it did not answer: ConnectError"


def test_traffic_knows_better_than_a_probe(make: Callable[..., Stack], site: Site) -> None:
    stack = make(site_probes=(f"indeed={site.url}/", f"quiet={site.url}/"))
    site.answers["HEAD", "/"] = 503, b""
    asyncio.run(stack.services.probes.probe())
    at = now_ns()
    stack.hear([event("page_processed", {"site": "indeed", "status": 200}, time=at) for _ in range(9)])
    asyncio.run(stack.services.checker.check())
    states = stack.services.checker.states
    assert states["site:indeed"].finding.status is Status.UP
    assert states["site:quiet"].finding.status is Status.DOWN
    assert states["site:quiet"].uptime_24h == 0.0


def test_a_finding_that_is_old_tells_nothing(site: Site) -> None:
    probes, _ = probed(f"{site.url}/")
    probes._interval = 0.0
    assert probes.findings == {}


def test_without_a_url_nobody_is_asked() -> None:
    probes = SiteProbes({}, 900)

    async def briefly() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await probes.run()

    asyncio.run(briefly())
    assert probes.findings == {}


def test_probes_are_made_again_and_again(site: Site) -> None:
    site.answers["HEAD", "/"] = 200, b""
    probes = SiteProbes({"indeed": f"{site.url}/"}, 0.01)

    async def briefly() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await probes.run()

    asyncio.run(briefly())
    assert len(site.asked) > 3


@pytest.mark.parametrize(
    "text", ["indeed", "=http://x", "indeed=", "indeed=ftp://x", "indeed=file:///etc/passwd"]
)
def test_a_probe_that_is_none_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(ValueError, match="site=URL"):
        probes_of([text])
    with pytest.raises(ConfigurationError, match="SITE_PROBES"):
        load({"SCRAPEWATCH_SITE_PROBES": text})


def test_probes_are_set_by_commas() -> None:
    given = load({"SCRAPEWATCH_SITE_PROBES": "indeed=https://a.example/?q=1, linkedin=http://b.example/"})
    assert probes_of(given.site_probes) == {
        "indeed": "https://a.example/?q=1",
        "linkedin": "http://b.example/",
    }
