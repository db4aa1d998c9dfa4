"""The pages in a real browser, as a new user opens them: they show what they should, complain of nothing, and ask nobody else."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator

import pytest

from scrapewatch.examples import EVENTS
from tests.browser import Browser, Page, find_chromium
from tests.stack.running import Up


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if find_chromium() is None:
        pytest.skip("no Chromium here, so not the pages: install it (Debian: chromium)")
    with Browser() as running:
        yield running


@pytest.fixture
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("up")) as running:
        sent = []
        for event in EVENTS.values():
            if "session_id" in event and event["metric"] != "session_finished":
                fresh = {
                    name: value for name, value in event.items() if name not in ("timestamp", "event_id")
                }
                sent.append({**fresh, "session_id": "s1"})
        asked = urllib.request.Request(
            running.url + "/api/v1/monitoring/metrics",
            json.dumps(sent).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert json.load(answer)["rejected"] == []
        running.drain()
        yield running


def must_be_quiet(page: Page, up: Up) -> None:
    own = (up.url, up.url.replace("http:", "ws:"), "data:", "about:blank")
    assert [url for url in page.asked if not url.startswith(own)] == []
    assert page.complaints == []


OPERATION = "#operations-sessions-list_sessions_api_v1_monitoring_sessions_get"


def try_out(page: Page) -> None:
    """Open an operation of the API's page, and execute it."""
    page.click(f"{OPERATION} .opblock-summary-control")
    page.click(f"{OPERATION} .try-out__btn")
    page.click(f"{OPERATION} .execute")


def test_the_pages_of_the_api_are_read_and_tried_out_without_the_internet(browser: Browser, up: Up) -> None:
    with browser.open(f"{up.url}/docs") as page:
        page.wait_until("document.querySelectorAll('.opblock').length > 30")
        try_out(page)
        page.wait_until(
            f"document.querySelector('{OPERATION} .live-responses-table .response .response-col_status')"
        )
        assert page.text(f"{OPERATION} .live-responses-table .response .response-col_status").startswith(
            "200"
        )
        assert '"session_id": "s1"' in page.text(
            f"{OPERATION} .live-responses-table .response .response-col_description"
        )
        must_be_quiet(page, up)


def test_the_live_page_shows_the_session_and_goes_on(browser: Browser, up: Up) -> None:
    with browser.open(up.url) as page:
        page.wait_until("document.body?.innerText.includes('s1')")
        must_be_quiet(page, up)
        assert any(url.startswith("ws://") for url in page.asked)


def test_with_a_key_made_the_pages_ask_for_one_and_take_it(browser: Browser, up: Up) -> None:
    made = up.command("keys", "create", "me", "--role", "viewer")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip().splitlines()[-1]
    up.kill()
    up.start()
    with browser.open(f"{up.url}/docs") as page:
        page.click(".authorize")
        page.type(".auth-container input", key)
        page.click(".auth-btn-wrapper .authorize")
        page.click(".auth-btn-wrapper .btn-done")
        try_out(page)
        assert page.text(f"{OPERATION} .live-responses-table .response .response-col_status").startswith(
            "200"
        )
        must_be_quiet(page, up)
