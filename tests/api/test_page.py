"""The live page: whole, its own, and closed to what it shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import api.page
from tests.api.stacks import BASE, Stack

FOLDER = Path(api.page.__file__).parent


def test_the_page_and_all_that_it_names_are_served(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    named = re.findall(r'(?:src|href)="(/[^"]*)"', page.text)
    assert {"/page.js", "/page.css", "/favicon.svg"} <= set(named)
    for path in named:
        assert client.get(path).status_code == 200, path


def test_the_page_asks_nobody_but_its_own_server() -> None:
    for file in FOLDER.iterdir():
        if file.suffix in (".html", ".js", ".css"):
            found = [
                url for url in re.findall(r"https?://[^\s\"'`)]+", file.read_text()) if "w3.org" not in url
            ]
            assert not [url for url in found if not url.startswith(("http://127.", "https?:"))], file.name


def test_the_page_never_makes_markup_of_data() -> None:
    script = (FOLDER / "page.js").read_text()
    for door in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert door not in script
    markup = (FOLDER / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|style=", markup), (
        "the policy forbids what is inline"
    )


def test_what_did_not_change_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/page.js")
    assert first.headers["cache-control"] == "no-cache"
    again = client.get("/page.js", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304 and again.content == b""


DASHBOARDS = {
    "/dashboard": "scrapewatch-overview",
    "/dashboard/sessions": "scrapewatch-sessions",
    "/dashboard/analytics": "scrapewatch-performance",
    "/dashboard/insights": "scrapewatch-market",
}


@pytest.mark.parametrize("path", DASHBOARDS)
def test_without_grafana_the_dashboards_lead_to_the_page(make: Callable[..., Stack], path: str) -> None:
    client = TestClient(make().app, base_url=BASE, follow_redirects=False)
    assert client.get(path).headers["location"] == "/"


def test_each_path_leads_to_its_dashboard_where_browsers_reach_grafana(make: Callable[..., Stack]) -> None:
    stack = make(grafana_url="http://grafana:3000", grafana_public_url="https://example.com/grafana/")
    client = TestClient(stack.app, base_url=BASE, follow_redirects=False)
    for path, uid in DASHBOARDS.items():
        answer = client.get(path)
        assert (answer.status_code, answer.headers["location"]) == (
            307,
            f"https://example.com/grafana/d/{uid}",
        )


def test_where_no_other_is_named_the_dashboards_are_at_the_url_of_grafana_and_get_what_was_asked_for(
    make: Callable[..., Stack],
) -> None:
    client = TestClient(make(grafana_url="http://127.0.0.1:3000").app, base_url=BASE, follow_redirects=False)
    answer = client.get("/dashboard/sessions?from=now-7d&var-site=a%26b")
    there = "http://127.0.0.1:3000/d/scrapewatch-sessions?from=now-7d&var-site=a%26b"
    assert answer.headers["location"] == there


def test_without_the_setting_there_is_no_page(make: Callable[..., Stack]) -> None:
    client = TestClient(make(dashboard_enabled=False).app, base_url=BASE)
    assert client.get("/").status_code == 404
    assert client.get("/healthz").status_code == 200
