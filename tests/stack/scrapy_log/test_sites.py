from __future__ import annotations

from datetime import timedelta

import pytest

from stack.scrapy_log.parse import Run
from stack.scrapy_log.sites import GROUP_GAP, site_names
from tests.stack.scrapy_log.written import NOON, log, only_run, run_log, runs

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def wide(start: timedelta) -> Run:
    """A run of a spider that visits many hosts."""
    return only_run(run_log(NOON + start, robotstxt__request_count=9, downloader__request_count=40))


def narrow(start: timedelta) -> Run:
    """A run of a spider that visits few."""
    return only_run(run_log(NOON + start, robotstxt__request_count=2, downloader__request_count=10))


PAIRS = [run for k in range(5) for run in (wide(k * 8 * HOUR), narrow(k * 8 * HOUR + MINUTE))]


def test_spiders_are_told_apart_by_their_place_in_a_group() -> None:
    assert site_names(PAIRS) == ["spider-1", "spider-2"] * 5
    assert site_names(PAIRS, ["indeed", "glassdoor"]) == ["indeed", "glassdoor"] * 5


def test_names_keep_the_order_of_the_runs_given() -> None:
    assert site_names(PAIRS[::-1]) == ["spider-2", "spider-1"] * 5


def test_a_run_alone_is_named_by_what_it_asked_for() -> None:
    alone = [narrow(100 * HOUR), wide(200 * HOUR), narrow(300 * HOUR)]
    assert site_names(PAIRS + alone)[-3:] == ["spider-2", "spider-1", "spider-2"]
    assert site_names(alone + PAIRS, ["a", "b"])[:3] == ["b", "a", "b"]


def test_a_run_alone_with_none_to_compare_is_the_first() -> None:
    assert site_names([narrow(HOUR)]) == ["spider-1"]
    assert site_names([narrow(HOUR)], ["a", "b"]) == ["a"]


def test_groups_that_follow_at_once_are_parted_by_their_usual_size() -> None:
    crowded = [wide(100 * HOUR), narrow(100 * HOUR + MINUTE), wide(100 * HOUR + 2 * MINUTE)]
    assert site_names(PAIRS + crowded)[-3:] == ["spider-1", "spider-2", "spider-1"]
    assert site_names(crowded, ["only"]) == ["only"] * 3


@pytest.mark.parametrize(("rest", "names"), [(0, ["spider-1", "spider-2"]), (1, ["spider-1", "spider-1"])])
def test_a_longer_rest_begins_a_new_group(rest: int, names: list[str]) -> None:
    finished = timedelta(seconds=10.5)
    second = finished + GROUP_GAP + timedelta(seconds=rest)
    pair = [only_run(run_log(NOON + after)) for after in (timedelta(0), second)]
    assert site_names(pair) == names


def test_the_spiders_own_name_goes_before_its_place() -> None:
    named = [only_run(log("scrapy-2.13.log")), only_run(log("scrapy-1.0.log"))]
    assert site_names([*named, *PAIRS])[:3] == ["quinces", "pears", "spider-1"]
    assert site_names(named, ["pears", "quinces"]) == ["quinces", "pears"]


def test_a_run_that_broke_off_keeps_the_place_of_those_after_it() -> None:
    killed = run_log(NOON + 100 * HOUR).splitlines(keepends=True)[0]
    after = run_log(NOON + 100 * HOUR + MINUTE, robotstxt__request_count=2, downloader__request_count=10)
    whole, cut = runs(killed + after)
    assert site_names([*PAIRS, whole, cut])[-2:] == ["spider-2", "spider-1"]


def test_no_runs_need_no_names() -> None:
    assert site_names([]) == []
    assert site_names([], ["a"]) == []
