from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.scrapy_log.parse import MAX_DUMP_LINES, MAX_LOG_STATS, MAX_OPEN, LogStat, parse_runs
from tests.stack.scrapy_log.written import LOGS, NOON, log, only_run, run_log, runs

HOUR = timedelta(hours=1)


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


def test_a_log_of_scrapy_0_24_names_the_spider_and_is_in_utc() -> None:
    run = only_run(log("scrapy-0.24.log"))
    assert (run.spider, run.complete, run.line, run.warnings) == ("apples", True, 3, ())
    assert run.started_at == at(2014, 11, 3, 9, 0, 1, 100000)
    assert run.finished_at == at(2014, 11, 3, 9, 1, 30, 250000)
    assert run.stats["item_scraped_count"] == 5
    assert run.log_stats[1] == LogStat(at(2014, 11, 3, 9, 1, 1), 7, 7.0, 3, 3.0)


def test_a_log_of_scrapy_1_0_names_the_spider_by_its_logger() -> None:
    run = only_run(log("scrapy-1.0.log"))
    assert (run.spider, run.complete, run.finish_reason) == ("pears", True, "closespider_itemcount")
    assert run.started_at == at(2016, 1, 5, 12, 30, 0, 123456)
    assert [(s.pages_total, s.items_total) for s in run.log_stats] == [(0, 0), (4, 4)]


def test_log_lines_in_local_time_are_turned_to_utc_and_scrapyd_names_the_spider() -> None:
    run = only_run(log("scrapy-1.8-two-hours-ahead.log"))
    assert (run.spider, run.warnings) == ("plums", ())
    assert [s.time for s in run.log_stats] == [at(2020, 6, 1, 1, 0), at(2020, 6, 1, 1, 1)]
    assert run.stats["robotstxt/exception_count/<class 'twisted.internet.error.TimeoutError'>"] == 1


def test_a_dump_with_values_that_are_no_literals_loses_only_these() -> None:
    run = only_run(log("scrapy-2.13.log"))
    assert (run.spider, run.complete) == ("quinces", True)
    assert "custom/board" not in run.stats
    assert run.stats["custom/note"] == "a string with } and { and 'quotes'"
    assert run.stats["custom/places"] == {"first": [1, 2], "second": {"third": [3, -4]}}
    assert run.stats["items_per_minute"] is None
    assert run.warnings == ("Not readable in its stats dump: custom/board.",)


def test_runs_mixed_in_one_log_keep_their_own_lines() -> None:
    first, second = runs(log("two-at-once.log"))
    assert [s.pages_total for s in first.log_stats] == [0, 20, 45]
    assert [s.items_total for s in second.log_stats] == [0, 30, 31]
    assert (first.order, first.started_at) == (0, at(2025, 5, 10, 8, 0, 0, 900000))
    assert (second.order, second.started_at) == (1, at(2025, 5, 10, 8, 0, 7, 900000))
    assert (first.warnings, second.warnings) == ((), ())


def test_crlf_a_byte_order_mark_and_broken_bytes_change_nothing() -> None:
    text = log("scrapy-2.13.log")
    plain = only_run(text)
    crlf = only_run("\ufeff" + text.replace("\n", "\r\n"))
    assert (crlf.fingerprint, crlf.spider, crlf.log_stats) == (
        plain.fingerprint,
        plain.spider,
        plain.log_stats,
    )
    broken = text.encode().replace(b"title", b"t\xff\xfe\0le").decode("utf-8", "replace")
    assert only_run(broken).fingerprint == plain.fingerprint


def test_a_dump_may_begin_on_the_line_of_its_message() -> None:
    text = run_log(item_scraped_count=3)
    assert only_run(text.replace("stats:\n{", "stats: {")).fingerprint == only_run(text).fingerprint


def test_a_log_line_that_fell_into_a_dump_does_not_break_it() -> None:
    text = run_log(item_scraped_count=3, response_received_count=4)
    stray = "2025-03-01 12:00:09 [urllib3] WARNING: elsewhere\nand {printed\n"
    broken = text.replace(" 'item_scraped_count'", f"{stray} 'item_scraped_count'")
    assert stray in broken
    assert only_run(broken).fingerprint == only_run(text).fingerprint


def test_a_run_that_was_killed_is_incomplete_with_what_is_known() -> None:
    killed = run_log(crawled=((60, 9, 4),), seconds=90).split("2025-03-01 12:01:30")[0]
    after = run_log(NOON + HOUR, item_scraped_count=1)
    whole, cut = runs(killed + after)
    assert (whole.order, whole.complete, whole.stats["item_scraped_count"]) == (1, True, 1)
    assert (cut.order, cut.complete, cut.finished_at, cut.finish_reason) == (0, False, None, None)
    assert cut.started_at == NOON
    assert [(s.pages_total, s.items_total) for s in cut.log_stats] == [(0, 0), (9, 4)]
    assert cut.warnings == ("The log breaks off before its whole stats dump.",)


def test_a_run_cut_off_after_its_closing_line_is_known_to_have_finished() -> None:
    text = run_log(seconds=75, reason="memusage_exceeded")
    run = only_run(text.split("[scrapy.statscollectors]")[0])
    assert (run.complete, run.finish_reason) == (False, "memusage_exceeded")
    assert run.finished_at == NOON + timedelta(seconds=75)


def test_a_spider_that_dumps_no_stats_still_closes() -> None:
    lines = run_log(crawled=((60, 9, 4),), seconds=90).splitlines(keepends=True)
    text = "".join(line for line in lines if line.startswith("2025") and "Dumping" not in line)
    first, second = runs(text + text.replace("2025-03-01", "2025-03-02"))
    assert (first.finish_reason, second.finish_reason) == ("finished", "finished")
    assert first.fingerprint != second.fingerprint


def test_the_closing_line_after_a_broken_dump_ends_that_run() -> None:
    unclosed = "".join(run_log(item_scraped_count=1).splitlines(keepends=True)[:-1])
    lines = run_log(NOON + HOUR, item_scraped_count=2).splitlines(keepends=True)
    broken = "".join(line for line in lines if "start_time" not in line)
    found = runs(unclosed + broken + run_log(NOON + 2 * HOUR, item_scraped_count=3))
    assert [(run.order, run.complete) for run in found] == [(0, True), (1, False), (2, True)]
    assert found[1].stats["item_scraped_count"] == 2


def test_a_dump_cut_at_its_end_gives_the_counts_that_are_whole() -> None:
    text = run_log(item_scraped_count=123, downloader__response_count=456)
    run = only_run(text[: text.index("'item_scraped_count': 12") + len("'item_scraped_count': 12")])
    assert run.complete is False
    assert run.stats["downloader/response_count"] == 456
    assert "item_scraped_count" not in run.stats
    assert run.finished_at == NOON + timedelta(seconds=10, microseconds=500000)


def test_a_log_that_begins_within_a_dump_gives_the_counts_that_follow() -> None:
    text = run_log(item_scraped_count=123, downloader__response_count=456)
    next_run = run_log(NOON + timedelta(minutes=1), item_scraped_count=7)
    cut, whole = runs(text[text.index("ish_reason") :] + next_run)
    assert (cut.complete, cut.started_at) == (False, NOON)
    assert cut.stats["item_scraped_count"] == 123
    assert "finish_reason" not in cut.stats
    assert (whole.complete, whole.stats["item_scraped_count"]) == (True, 7)


def test_a_log_that_begins_within_a_run_gives_it_whole() -> None:
    text = run_log(crawled=((60, 9, 4), (120, 11, 5)), seconds=130, item_scraped_count=5)
    tail = text[text.index("2025-03-01 12:02:00") :]
    run = only_run(tail)
    assert (run.complete, run.started_at) == (True, NOON)
    assert [s.items_total for s in run.log_stats] == [5]
    assert run.fingerprint == only_run(text).fingerprint
    assert only_run(text[text.index("{'finish") :]).fingerprint == run.fingerprint


def test_another_dict_at_the_top_of_a_log_is_no_run() -> None:
    assert runs("{'title': 'a pear',\n 'price': 3}\n" + run_log())[0].line == 3
    assert runs("{'title': 'a pear',\n 'price': 3}\n") == []


def test_a_dump_does_not_take_the_place_of_a_killed_run_before_it() -> None:
    killed = run_log().splitlines(keepends=True)[0]
    late = run_log(NOON + timedelta(hours=2, minutes=15, seconds=20), item_scraped_count=1)
    whole, cut = runs(killed + "".join(late.splitlines(keepends=True)[2:]))
    assert whole.started_at == NOON + timedelta(hours=2, minutes=15, seconds=20)
    assert (cut.complete, cut.started_at) == (False, NOON)


def test_a_clock_turned_back_within_a_run_is_said() -> None:
    opened, rest = run_log(seconds=900).split("\n", 1)
    run = only_run(opened.replace("12:00:00", "13:00:00") + "\n" + rest)
    assert run.complete
    assert any("clock" in warning for warning in run.warnings)


def test_the_latest_known_clock_is_taken_for_a_run_that_broke_off() -> None:
    ahead = timedelta(hours=8)
    later = run_log(NOON + HOUR, ahead=ahead).splitlines(keepends=True)[0]
    _, cut = runs(run_log(ahead=ahead) + later)
    assert cut.started_at == NOON + HOUR
    assert any("8 h ahead" in warning for warning in cut.warnings)


def test_a_dump_that_never_ends_is_given_up_on_and_said() -> None:
    head, tail = run_log().split("{")
    long = head + "{" + " 'a': 1,\n" * (MAX_DUMP_LINES + 5) + tail
    cut, whole = runs(long + run_log(NOON + timedelta(days=1)))
    assert (cut.complete, cut.finish_reason, dict(cut.stats)) == (False, "finished", {})
    assert any("given up on" in warning for warning in cut.warnings)
    assert whole.complete
    wide = head + "{'a': '" + "x" * 2_000_000 + "',\n" + tail
    assert any("given up on" in warning for warning in only_run(wide).warnings)


def test_memory_stays_bounded_however_long_a_run_is_and_however_many_are_killed() -> None:
    def endless() -> Iterator[str]:
        yield f"{NOON:%Y-%m-%d %H:%M:%S} [scrapy.core.engine] INFO: Spider opened\n"
        for k in range(3 * MAX_LOG_STATS):
            moment = f"{NOON + timedelta(minutes=k):%Y-%m-%d %H:%M:%S}"
            yield (
                f"{moment} [scrapy.extensions.logstats] INFO: "
                f"Crawled {k} pages (at 1 pages/min), scraped 0 items (at 0 items/min)\n"
            )

    (run,) = parse_runs(endless())
    assert len(run.log_stats) <= MAX_LOG_STATS
    assert run.log_stats[-1].pages_total == 3 * MAX_LOG_STATS - 1
    opened = [run_log(NOON + timedelta(hours=k)).splitlines(keepends=True)[0] for k in range(MAX_OPEN + 5)]
    beyond = (pytest.fail("read on before the runs taken for dead were handed out") for _ in range(1))
    stream = parse_runs(itertools.chain(opened, beyond))
    assert [next(stream).order for _ in range(5)] == [0, 1, 2, 3, 4]


def test_a_dump_without_times_takes_them_from_the_log() -> None:
    text = "\n".join(
        line for line in run_log(item_scraped_count=2).splitlines() if "_time'" not in line
    ).replace("'item_scraped_count': 2,", "'item_scraped_count': 2}")
    run = only_run(text)
    assert (run.complete, run.started_at, run.finished_at) == (True, NOON, NOON + timedelta(seconds=10))
    other = only_run(text.replace("12:00:10", "12:00:11"))
    assert other.fingerprint != run.fingerprint


@given(st.data())
def test_whole_runs_are_found_with_the_same_fingerprint_wherever_a_log_is_cut(data: st.DataObject) -> None:
    texts = [log(path.name) for path in sorted(LOGS.glob("*.log"))]
    text = "".join(data.draw(st.permutations(texts)))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    cut = text[start:end]
    found = {run.fingerprint for run in runs(cut) if run.complete}
    whole = set()
    for run in runs(text):
        assert run.complete
        # A dump is whole from its brace to its brace; its message may be missing only at the very top.
        first = text.index("{", _offset_of(text, run.started_at))
        last = text.index("}\n", text.index("'start_time'", first)) + 1
        if start <= first and last <= end:
            whole.add(run.fingerprint)
    assert whole == found


def _offset_of(text: str, started_at: datetime | None) -> int:
    """Where the dump that tells of this start begins: the last "Dumping" before its start_time."""
    assert started_at is not None
    told = f"'start_time': datetime.datetime({started_at.year}, {started_at.month}, {started_at.day}, "
    clock = (started_at.hour, started_at.minute, started_at.second, started_at.microsecond)
    told += ", ".join(map(str, clock))
    return text.rindex("Dumping", 0, text.index(told))


@given(st.lists(st.integers(0, 30_000), max_size=6), st.integers(0, 2**32), st.integers(0, 200))
def test_no_mutilated_log_is_too_much(places: list[int], seed: int, flips: int) -> None:
    text = "".join(log(path.name) for path in sorted(LOGS.glob("*.log")))
    chance = random.Random(seed)
    pieces = [text[a % len(text) : b % len(text)] for a, b in itertools.pairwise(places)]
    mutilated = list("".join(pieces) or text)
    for _ in range(min(flips, len(mutilated))):
        mutilated[chance.randrange(len(mutilated))] = chance.choice("{}'\"\n\r\0,:()[]<>\\0x9 \ud800é")
    for run in runs("".join(mutilated)):
        assert len(run.fingerprint) == 64
        for moment in (run.started_at, run.finished_at, *(s.time for s in run.log_stats)):
            assert moment is None or moment.utcoffset() == timedelta(0)


@given(st.lists(st.text(max_size=200), max_size=30))
def test_text_that_is_no_log_holds_no_runs_that_are_complete(lines: list[str]) -> None:
    assert not [run for run in parse_runs(lines) if run.complete]
