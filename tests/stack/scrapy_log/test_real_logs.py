"""Real logs of ten months: every sum in the events against sums of the dumps that are made here, by regular expressions alone."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from scrapewatch.events import validate
from stack.scrapy_log.events import run_events
from stack.scrapy_log.parse import Run, parse_runs
from stack.scrapy_log.sites import site_names

REPOSITORY = Path(__file__).parents[3]
FOLDER = (
    Path(os.environ.get("SCRAPEWATCH_SHARED_DATA", REPOSITORY.parent / "shared" / "data")) / "scrapy_logs"
)

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the real logs are not on this machine")


@pytest.fixture(scope="module")
def text() -> str:
    return "".join(path.read_text(errors="replace") for path in sorted(FOLDER.glob("*.log")))


@pytest.fixture(scope="module")
def real_runs() -> list[Run]:
    found: list[Run] = []
    for path in sorted(FOLDER.glob("*.log")):
        with path.open(encoding="utf-8", errors="replace") as lines:
            found += parse_runs(lines)
    return found


@pytest.fixture(scope="module")
def events(real_runs: list[Run]) -> list[dict[str, Any]]:
    return [
        event
        for run, site in zip(real_runs, site_names(real_runs), strict=True)
        for event in run_events(run, site=site, session_id=run.fingerprint)
    ]


def dumped(text: str, key: str) -> int:
    return sum(int(n) for n in re.findall(rf"""^[ {{]['"]{key}['"]: (\d+)[,}}]""", text, re.MULTILINE))


def test_every_run_is_found_whole_once_and_without_a_warning(real_runs: list[Run]) -> None:
    assert len(real_runs) == len({run.fingerprint for run in real_runs}) == 1_737
    assert all(run.complete and run.finish_reason == "finished" for run in real_runs)
    assert [run.warnings for run in real_runs if run.warnings] == []


def test_one_log_of_all_months_holds_the_same_runs(text: str, real_runs: list[Run]) -> None:
    together = {run.fingerprint: (run.started_at, run.log_stats) for run in parse_runs(text.splitlines())}
    assert together == {run.fingerprint: (run.started_at, run.log_stats) for run in real_runs}


def test_jobs_and_pages_are_those_of_the_dumps(text: str, events: list[dict[str, Any]]) -> None:
    sums: Counter[str] = Counter()
    for event in events:
        sums[event["metric"]] += event["value"].get("count", 1)
    assert sums["job_scraped"] == dumped(text, "item_scraped_count") == 5_288
    assert sums["page_processed"] == dumped(text, "response_received_count")
    assert sums["session_started"] == sums["session_finished"] == text.count("Dumping Scrapy stats:")


def test_statuses_are_those_of_the_dumps(text: str, events: list[dict[str, Any]]) -> None:
    sums: Counter[str] = Counter()
    for event in events:
        value = event["value"]
        if event["metric"] == "page_processed":
            sums[str(value["status"])] += value["count"]
        elif event["metric"] == "custom":
            sums[value["labels"]["status"]] += value["value"]
    told = set(re.findall(r"'downloader/response_status_count/(\d+)'", text))
    assert sums == {status: dumped(text, f"downloader/response_status_count/{status}") for status in told}


def test_errors_are_those_of_the_dumps(text: str, events: list[dict[str, Any]]) -> None:
    sums: Counter[str] = Counter()
    for event in events:
        if event["metric"] == "error_occurred":
            sums[event["value"]["type"]] += event["value"]["count"]
    statuses = set(re.findall(r"'downloader/response_status_count/([4-9]\d\d)'", text))
    wanted = {status: dumped(text, f"downloader/response_status_count/{status}") for status in statuses}
    # A robots.txt that is not there is no error.
    wanted["404"] -= dumped(text, "robotstxt/response_status_count/404")
    wanted["parsing"] = dumped(text, r"spider_exceptions/(?!count')[^']+")
    timeouts = r"downloader/exception_type_count/[\w.]*(?:TimedOut|Timeout)\w*"
    wanted["timeout"] = dumped(text, timeouts)
    wanted["network"] = (
        dumped(text, "downloader/exception_count")
        - dumped(text, timeouts)
        - dumped(text, r"downloader/exception_type_count/scrapy\.exceptions\.IgnoreRequest")
    )
    assert sums == wanted


def test_totals_of_the_ends_are_the_sums_of_what_came_before(events: list[dict[str, Any]]) -> None:
    for metric, total in (("job_scraped", "jobs"), ("page_processed", "pages"), ("error_occurred", "errors")):
        seen: Counter[str] = Counter()
        for event in events:
            if event["metric"] == metric:
                seen[event["session_id"]] += event["value"]["count"]
        said = Counter(
            {e["session_id"]: e["value"][total] for e in events if e["metric"] == "session_finished"}
        )
        assert +seen == +said


def test_times_lie_within_their_run_although_some_logs_are_eight_hours_ahead(real_runs: list[Run]) -> None:
    for run in real_runs:
        assert run.started_at is not None
        assert run.finished_at is not None
        for stat in run.log_stats:
            assert (stat.time - run.started_at).total_seconds() > -1.5
            assert (run.finished_at - stat.time).total_seconds() > -1.5


def test_the_two_spiders_are_told_apart_by_their_order(real_runs: list[Run]) -> None:
    names = site_names(real_runs, ["first", "second"])
    # The first spider asks for the robots.txt of at least 6 hosts, the second of at most 3.
    for run, name in zip(real_runs, names, strict=True):
        hosts = run.stats["robotstxt/request_count"]
        assert isinstance(hosts, int)
        assert (hosts > 4) == (name == "first")
    assert Counter(names) == {"first": 868, "second": 869}


def test_all_events_are_taken_by_the_registry(events: list[dict[str, Any]]) -> None:
    for event in events:
        validate(event)
