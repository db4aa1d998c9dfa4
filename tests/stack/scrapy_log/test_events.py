from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapewatch.events import validate
from stack.scrapy_log.events import RESPONSES_WITHOUT_PAGE, exception_type, run_events, session_status
from stack.scrapy_log.parse import Run, parse_runs
from tests.stack.scrapy_log.written import LOGS, NOON, log, only_run, run_log, runs


def events_of(run: Run, shift: timedelta = timedelta(0)) -> list[dict[str, Any]]:
    events = run_events(run, site="apples", session_id="s1", shift=shift)
    for event in events:
        assert validate(json.loads(json.dumps(event, allow_nan=False)))["session_id"] == "s1"
    return events


def values(events: list[dict[str, Any]], metric: str) -> list[dict[str, Any]]:
    return [event["value"] for event in events if event["metric"] == metric]


def counted(events: list[dict[str, Any]], metric: str, key: str) -> Counter[Any]:
    found: Counter[Any] = Counter()
    for value in values(events, metric):
        found[value.get(key)] += value["count"]
    return found


def test_a_run_becomes_events_whose_counts_are_its_dump() -> None:
    events = events_of(only_run(log("scrapy-1.8-two-hours-ahead.log")))
    assert [event["metric"] for event in events[:2]] == ["session_started", "site_started"]
    assert events[0] == {
        "session_id": "s1",
        "metric": "session_started",
        "value": {"source": "scrapy", "sites": ["apples"]},
        "timestamp": "2020-06-01T01:00:00.200000Z",
    }
    assert sum(value["saved"] for value in values(events, "job_scraped")) == 12
    # 40 responses: 2 redirects and 2 retried answers became no page.
    assert counted(events, "page_processed", "status") == {200: 30, 404: 1, 429: 4, 503: 1}
    assert [(c["name"], c["labels"]["status"], c["value"]) for c in values(events, "custom")] == [
        (RESPONSES_WITHOUT_PAGE, "301", 2),
        (RESPONSES_WITHOUT_PAGE, "503", 2),
    ]
    assert counted(events, "error_occurred", "type") == {
        "429": 4,
        "503": 3,
        "timeout": 2,
        "network": 1,
        "proxy": 1,
        "parsing": 3,
    }
    assert values(events, "resources") == [{"memory_mb": 100.0}]
    totals = {"jobs": 12, "pages": 36, "errors": 14, "duration": 80.5}
    assert values(events, "site_finished") == [
        {
            "site": "apples",
            "attempt": 1,
            "success": False,
            "error_message": "Scrapy finished with shutdown",
            **totals,
        }
    ]
    assert values(events, "session_finished") == [{"status": "cancelled", "reason": "shutdown", **totals}]
    assert events[-1]["timestamp"] == "2020-06-01T01:01:20.700000Z"


def test_a_missing_robots_txt_is_no_error() -> None:
    run = only_run(log("scrapy-1.8-two-hours-ahead.log"))
    assert run.stats["robotstxt/response_status_count/404"] == 1
    assert "404" not in counted(events_of(run), "error_occurred", "type")


def test_jobs_and_pages_come_when_logstats_say_and_the_rest_at_the_finish() -> None:
    run = only_run(
        run_log(
            seconds=150,
            crawled=((60, 10, 2), (120, 10, 2), (140, 25, 3)),
            item_scraped_count=7,
            response_received_count=26,
            downloader__response_status_count__200=26,
        )
    )
    events = events_of(run)
    jobs = [(e["timestamp"][14:19], e["value"]["count"]) for e in events if e["metric"] == "job_scraped"]
    pages = [(e["timestamp"][14:19], e["value"]["count"]) for e in events if e["metric"] == "page_processed"]
    assert jobs == [("01:00", 2), ("02:20", 1), ("02:30", 4)]
    assert pages == [("01:00", 10), ("02:20", 15), ("02:30", 1)]


def test_a_dropped_item_was_found_but_not_saved() -> None:
    events = events_of(only_run(log("scrapy-1.0.log")))
    jobs = values(events, "job_scraped")
    assert sum(job["count"] for job in jobs) == 7
    assert sum(job.get("saved", 0) for job in jobs) == 5
    assert sum(job.get("dropped", 0) for job in jobs) == 2
    assert values(events, "session_finished")[0]["jobs"] == 7


def test_the_sum_that_newer_scrapy_adds_to_spider_exceptions_is_not_counted_again() -> None:
    events = events_of(only_run(log("scrapy-2.13.log")))
    assert counted(events, "error_occurred", "type") == {"parsing": 1}


def test_pages_fall_back_to_the_count_of_responses() -> None:
    run = only_run(run_log(downloader__response_count=9, downloader__response_status_count__200=8))
    assert counted(events_of(run), "page_processed", "status") == {200: 8, None: 1}


def test_a_run_that_broke_off_gets_no_end_and_no_totals() -> None:
    text = run_log(seconds=90, crawled=((60, 9, 4),))
    open_end = events_of(only_run(text.split("2025-03-01 12:01:30")[0]))
    assert [event["metric"] for event in open_end] == [
        "session_started",
        "site_started",
        "job_scraped",
        "page_processed",
    ]
    ended = events_of(only_run(text.split("[scrapy.statscollectors]")[0]))
    assert values(ended, "session_finished") == [{"status": "completed", "reason": "finished"}]


def test_a_run_of_which_no_time_is_known_gives_no_events() -> None:
    run = replace(only_run(run_log()), started_at=None, finished_at=None, log_stats=())
    assert run_events(run, site="apples", session_id="s1") == []


def test_a_shift_moves_every_time_and_nothing_else() -> None:
    run = only_run(log("scrapy-1.8-two-hours-ahead.log"))
    moved = events_of(run, timedelta(days=1, microseconds=1))
    assert moved[0]["timestamp"] == "2020-06-02T01:00:00.200001Z"
    without = [{**event, "timestamp": ""} for event in events_of(run)]
    assert [{**event, "timestamp": ""} for event in moved] == without


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("finished", "completed"),
        ("closespider_timeout", "completed"),
        ("shutdown", "cancelled"),
        ("cancelled", "cancelled"),
        ("memusage_exceeded", "failed"),
        ("banned", "failed"),
    ],
)
def test_the_reason_of_the_finish_says_the_status(reason: str, status: str) -> None:
    assert session_status(reason) == status


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("twisted.internet.error.TCPTimedOutError", "timeout"),
        ("twisted.internet.error.TimeoutError", "timeout"),
        ("scrapy.exceptions.DownloadTimeoutError", "timeout"),
        ("playwright._impl._errors.TimeoutError", "timeout"),
        ("scrapy.core.downloader.handlers.http11.TunnelError", "proxy"),
        ("twisted.internet.error.DNSLookupError", "network"),
        ("twisted.internet.error.ConnectionRefusedError", "network"),
        ("twisted.web._newclient.ResponseFailed", "network"),
        ("scrapy.exceptions.DownloadConnectionRefusedError", "network"),
        ("builtins.ConnectionResetError", "network"),
        ("builtins.KeyError", "other"),
    ],
)
def test_a_downloader_exception_has_a_type(name: str, kind: str) -> None:
    assert exception_type(name) == kind


COUNTS = st.integers(0, 5_000)


@given(
    statuses=st.dictionaries(
        st.sampled_from(["200", "204", "301", "302", "403", "404", "429", "503", "999"]), COUNTS, max_size=6
    ),
    unpaged=COUNTS,
    retried=COUNTS,
    items=COUNTS,
    dropped=COUNTS,
    crawled=st.lists(st.tuples(st.integers(0, 900), COUNTS, COUNTS), max_size=8),
)
def test_sums_are_exact_however_the_counts_fall(
    statuses: dict[str, int],
    unpaged: int,
    retried: int,
    items: int,
    dropped: int,
    crawled: list[tuple[int, int, int]],
) -> None:
    responses = sum(statuses.values())
    pages = max(0, responses - unpaged)
    stats = {f"downloader/response_status_count/{status}": n for status, n in statuses.items()}
    run = only_run(
        run_log(
            seconds=700,
            crawled=tuple(crawled),
            item_scraped_count=items,
            item_dropped_count=dropped,
            response_received_count=pages,
            downloader__response_count=responses,
            more=stats | {"retry/reason_count/503 Service Unavailable": retried},
        )
    )
    events = events_of(run)
    assert sum(value["count"] for value in values(events, "page_processed")) == pages
    assert sum(value.get("saved", 0) for value in values(events, "job_scraped")) == items
    assert sum(value.get("dropped", 0) for value in values(events, "job_scraped")) == dropped
    seen: Counter[str] = Counter()
    for value in values(events, "page_processed"):
        seen[str(value["status"])] += value["count"]
    for value in values(events, "custom"):
        seen[value["labels"]["status"]] += value["value"]
    assert seen == Counter({status: n for status, n in statuses.items() if n})
    errors = sum(value["count"] for value in values(events, "error_occurred"))
    assert errors == sum(n for status, n in statuses.items() if status >= "400")
    (end,) = values(events, "session_finished")
    assert (end["jobs"], end["pages"], end["errors"]) == (items + dropped, pages, errors)
    times = [event["timestamp"] for event in events]
    assert times == sorted(times)
    assert times[0] == "2025-03-01T12:00:00.000000Z"
    assert times[-1] == "2025-03-01T12:11:40.000000Z"


@given(st.data())
def test_the_same_run_gives_the_same_events_from_any_cut_that_holds_it(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(path.name for path in LOGS.glob("*.log"))))
    text = log(name)
    around = run_log(NOON, item_scraped_count=1)
    alone = {run.fingerprint: events_of(run) for run in runs(text)}
    among = {run.fingerprint: events_of(run) for run in runs(around + text + around)}
    assert {fingerprint: among[fingerprint] for fingerprint in alone} == alone


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "item_scraped_count",
                "item_dropped_count",
                "response_received_count",
                "downloader/response_count",
                "downloader/response_status_count/200",
                "downloader/response_status_count/banana",
                "downloader/exception_type_count/" + "x" * 600,
                "spider_exceptions/half \ud800",
                "spider_exceptions/count",
                "memusage/max",
                "elapsed_time_seconds",
                "finish_reason",
                "finish_time",
                "start_time",
            ]
        ),
        st.none()
        | st.booleans()
        | st.integers(-(2**62), 2**62)
        | st.floats(allow_nan=False)
        | st.text(st.characters(exclude_characters="\0"), max_size=600)
        | st.datetimes()
        | st.lists(st.integers(), max_size=2),
    )
)
def test_a_dump_of_any_values_gives_events_that_are_taken(stats: dict[str, Any]) -> None:
    head = run_log().split("{")[0]
    printed = repr(stats).encode("utf-8", "backslashreplace").decode()
    text = head + printed + "\n"
    for run in parse_runs(text.split("\n")):
        events_of(run)
