"""Turns a Scrapy log into its runs: one pass, bounded memory, no evaluation of what the log says.

Reads the logs of any Scrapy from 1.0 on, and those of 0.2x that name the spider in brackets:

- `2024-09-01 11:36:27 [scrapy.core.engine] INFO: Spider opened` begins a run;
- `… INFO: Crawled 6 pages (at 6 pages/min), scraped 0 items (at 0 items/min)` (LogStats) says how far it is;
- `… INFO: Dumping Scrapy stats:` and the dict behind it end it.

A log line does not say which run it belongs to, and runs may lie in one file one after the other or mixed. A dump finds its run
by the time it started; a LogStats line by totals that continue its own. The log's clock may be local while the dump's is UTC: the
difference of the two, rounded to a quarter of an hour (the finest step of time zones), is taken off the times of log lines.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from stack.scrapy_log.literals import MAX_TEXT, Plain, nesting, read_dict

MAX_DUMP_LINES = 10_000
MAX_LOG_STATS = 10_000
"""LogStats lines kept of a run (a week of minutes); beyond it every second one is let go, since their totals only grow."""
MAX_OPEN = 16
"""Runs that may be under way at once; beyond it the oldest is taken for dead."""

# A longer line is nothing that Scrapy writes for us to read.
_MAX_LINE = 65_536
_QUARTER = timedelta(minutes=15)
_FARTHEST = timedelta(hours=14)
# "Spider opened" is logged before pipelines open their connections, `start_time` is taken after.
_SLOW_OPENING = timedelta(minutes=5)

_LINE = re.compile(
    r"((?:19|20|21)\d\d-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:[.,]\d{1,9})?(Z|[+-]\d\d:?\d\d)? +"
    r"\[([^\]]{1,200})\] +([A-Z]+): ?(.*)",
    re.DOTALL,
)
_CRAWLED = re.compile(
    r"Crawled (\d{1,15}) pages \(at (\d{1,15}(?:\.\d+)?) pages/min\), "
    r"scraped (\d{1,15}) items \(at (\d{1,15}(?:\.\d+)?) items/min\)"
)
_CLOSING = re.compile(r"Closing spider \(([^)]{1,200})\)")
_CLOSED = re.compile(r"Spider closed \(([^)]{1,200})\)")
_DUMPING = re.compile(r"Dumping (?:Scrapy|spider) stats:?\s*")
# The project template of Scrapy logs this from the spider's own logger.
_OPENED_BY_NAME = re.compile(r"Spider opened: (\S{1,100})$")
# Scrapyd gives each run a log of its own: logs/<project>/<spider>/<job>.log
_LOG_FILE = re.compile(r"'LOG_FILE': '([^']{1,500})'")
_SCRAPYD_JOB = re.compile(r"[0-9a-f]{32}\.log")
_ENTRY_LINE = re.compile(r"""[ \t]*\{?[ \t]*['"].*['"]: """)
# Undotted loggers that are libraries, not spiders.
# fmt: off
_LIBRARIES = frozenset({
    "root", "twisted", "asyncio", "urllib3", "filelock", "selenium", "playwright", "boto",
    "botocore", "boto3", "s3transfer", "requests", "httpx", "aiohttp", "websockets", "pymongo",
    "redis", "kafka", "PIL", "chardet", "charset_normalizer", "numexpr", "sqlalchemy", "scrapyd",
    "stdout", "stderr", "parso", "matplotlib", "peewee", "elasticsearch", "concurrent", "faker",
    "undetected_chromedriver", "hpack", "tensorflow"
})
# fmt: on


class LogStat(NamedTuple):
    """One LogStats line: what a run had reached at `time` (UTC)."""

    time: datetime
    pages_total: int
    pages_per_min: float
    items_total: int
    items_per_min: float


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one spider, as its log tells it. Times are aware and in UTC; what the log does not tell is None."""

    spider: str | None
    order: int
    """Place among the runs of the log by their beginning, from 0."""
    line: int
    """Number of the line that it starts with, from 1."""
    started_at: datetime | None
    finished_at: datetime | None
    finish_reason: str | None
    complete: bool
    """Whether its whole stats dump was found. If not, its figures are what was known when the log broke off."""
    stats: Mapping[str, Plain]
    log_stats: tuple[LogStat, ...]
    fingerprint: str
    """SHA-256 (hex) of the stats dump, so the same in every file that holds it, however that file was cut. Of an incomplete run:
    of the moment it was opened; it differs from the fingerprint of the same run with its dump."""
    warnings: tuple[str, ...] = ()
    """What was odd, in sentences for people."""


def parse_runs(lines: Iterable[str]) -> Iterator[Run]:
    """The runs in a log, each as soon as its stats dump ends; those without a whole dump come last.

    A run that continues in the next file is whole only when both are read as one log: chain their lines.

    Args:
        lines: of one log, with or without line ends; open files with `errors="replace"`.

    """
    log = _Log()
    for line in lines:
        yield from log.feed(line)
    yield from log.end()


@dataclass(slots=True, eq=False)
class _Open:
    """A run under way. `clock` times are as the log's clock shows them, without a zone."""

    order: int
    line: int
    opened: datetime | None
    zoned: bool
    spider: str | None = None
    loggers: set[str] = field(default_factory=set)
    crawled: list[LogStat] = field(default_factory=list)
    closing: tuple[datetime, str] | None = None
    warnings: list[str] = field(default_factory=list)
    first_words: str = ""
    # Of a dump that broke off.
    stats: dict[str, Plain] = field(default_factory=dict)
    twin: int = 0

    @property
    def reached(self) -> tuple[int, int]:
        return (self.crawled[-1].pages_total, self.crawled[-1].items_total) if self.crawled else (0, 0)


@dataclass(slots=True)
class _Dump:
    """A stats dump being read."""

    line: int
    logged: datetime | None
    named: str | None
    headless: bool = False
    depth: int = 0
    size: int = 0
    lines: list[str] = field(default_factory=list)


class _Log:
    """What is known at one line of a log."""

    def __init__(self) -> None:
        self._line = 0
        self._orders = 0
        self._open: list[_Open] = []
        self._opened_at: Counter[datetime] = Counter()
        self._dump: _Dump | None = None
        self._offset: timedelta | None = None
        self._spider: str | None = None
        self._modern = False
        self._in_log = False
        self._unclosed = 0

    # -- lines ---------------------------------------------------------------------------------------------------------

    def feed(self, line: str) -> Iterator[Run]:
        self._line += 1
        if self._line == 1:
            line = line.lstrip("\ufeff")
        line = line.rstrip("\r\n").replace("\0", "\ufffd")
        match = _LINE.match(line) if len(line) <= _MAX_LINE else None
        if match is not None:
            try:
                logged, zoned = _clock(match[1], match[2], match[3])
            except (ValueError, OverflowError):
                return
            self._in_log = True
            if self._dump is not None and not self._dump.lines:
                self._dump = None  # Its dict would have been part of the same message.
            yield from self._message(logged, zoned, match[4], match[6])
        elif self._dump is not None:
            yield from self._dump_line(self._dump, line)
        elif not self._in_log and _ENTRY_LINE.match(line[:1_000]):
            self._dump = _Dump(self._line, None, None, headless=True)
            yield from self._dump_line(self._dump, line)
        else:
            self._settings(line)

    def end(self) -> Iterator[Run]:
        if self._dump is not None:
            yield from self._break_off()
        while self._open:
            yield self._incomplete(self._open.pop(0))

    def _message(self, logged: datetime, zoned: bool, logger: str, text: str) -> Iterator[Run]:
        scrapy = logger == "scrapy" or logger.startswith("scrapy.")
        named = None if scrapy else _name_of(logger)
        if text.startswith("Crawled ") and (match := _CRAWLED.match(text)):
            stat = LogStat(logged, int(match[1]), float(match[2]), int(match[3]), float(match[4]))
            self._crawled(stat, zoned, named)
        elif text.startswith("Spider opened"):
            if text == "Spider opened" and (scrapy or not self._modern):
                self._modern = scrapy
                yield from self._begin(logged, zoned, named)
            elif match := _OPENED_BY_NAME.match(text):
                self._name(match[1])
            elif named is not None:
                self._name(named)
        elif match := _DUMPING.match(text):
            if self._dump is not None:
                yield from self._break_off()
            self._dump = _Dump(self._line, logged, named)
            if rest := text[match.end() :]:
                yield from self._dump_line(self._dump, rest)
        elif match := _CLOSING.match(text):
            if run := self._one(named):
                run.closing = (logged, match[1])
        elif match := _CLOSED.match(text):
            yield from self._closed(logged, match[1], named)
        elif scrapy:
            if text.startswith("Scrapy ") and " started (bot: " in text:
                self._spider = None
            elif text.startswith("Overridden settings:"):
                self._spider = None
                self._settings(text)
        elif named is not None and "." not in named and named not in _LIBRARIES and len(self._open) == 1:
            loggers = self._open[0].loggers
            if len(loggers) < 5:
                loggers.add(named)

    def _settings(self, line: str) -> None:
        if "'LOG_FILE'" in line and (match := _LOG_FILE.search(line)):
            folders = match[1].replace("\\", "/").split("/")
            if len(folders) > 2 and _SCRAPYD_JOB.fullmatch(folders[-1]):
                self._spider = _name_of(folders[-2])

    # -- runs under way ------------------------------------------------------------------------------------------------

    def _begin(self, opened: datetime | None, zoned: bool, spider: str | None) -> Iterator[Run]:
        if self._dump is not None:
            yield from self._break_off()
        run = self._new(opened, zoned)
        run.spider = spider or self._spider
        if len(self._open) > MAX_OPEN:
            yield self._incomplete(self._open.pop(0))

    def _new(self, opened: datetime | None, zoned: bool, first_words: str = "") -> _Open:
        run = _Open(self._orders, self._line, opened, zoned, first_words=first_words)
        self._orders += 1
        if opened is not None:
            # Only the runs of the latest second matter: a log's clock runs on.
            if opened not in self._opened_at:
                self._opened_at.clear()
            run.twin = self._opened_at[opened]
            self._opened_at[opened] += 1
        self._open.append(run)
        return run

    def _one(self, spider: str | None) -> _Open | None:
        """The run under way that a line without more to go by belongs to: the latest, or the latest of that spider."""
        for run in reversed(self._open):
            if spider is None or run.spider == spider:
                return run
        return self._open[-1] if self._open else None

    def _name(self, spider: str) -> None:
        if self._open and self._open[-1].spider is None:
            self._open[-1].spider = spider

    def _crawled(self, stat: LogStat, zoned: bool, spider: str | None) -> None:
        if not self._open:
            run = self._new(None, zoned, f"{stat.time.isoformat()} {stat[1:]}")
            run.warnings.append("The log begins in the middle of this run.")
        candidates = [
            run for run in self._open if spider is None or run.spider in (None, spider)
        ] or self._open
        growing = [
            run
            for run in candidates
            if run.reached[0] <= stat.pages_total and run.reached[1] <= stat.items_total
        ]
        if not growing:
            _warn(candidates[-1], "LogStats totals fell: another run's lines may be mixed in.")
            return
        # Of equals the latest: the others may be dead.
        stats = max(growing, key=lambda run: (_likeness(run, stat), run.order)).crawled
        stats.append(stat)
        if len(stats) > MAX_LOG_STATS:
            del stats[-2::-2]

    def _closed(self, logged: datetime, reason: str, spider: str | None) -> Iterator[Run]:
        broken_off = self._dump is not None
        if broken_off:
            # "Spider closed" follows the dump: what was read of it is all there is.
            yield from self._break_off()
        if self._unclosed and not broken_off:
            self._unclosed -= 1
        elif run := self._one(spider):
            run.closing = (logged, reason)
            _warn(run, "It closed without a whole stats dump.")
            self._open.remove(run)
            yield self._incomplete(run)

    # -- dumps ---------------------------------------------------------------------------------------------------------

    def _dump_line(self, dump: _Dump, line: str) -> Iterator[Run]:
        if not dump.lines:
            stripped = line.lstrip()
            if not stripped:
                return
            if not stripped.startswith("{"):
                if not dump.headless:
                    self._dump = None
                    return
                line = "{" + line
            else:
                dump.headless, line = False, stripped
        elif line[:1] not in (" ", "\t", "}", ")", "]"):
            # Something else was printed in between.
            return
        dump.size += len(line) + 1
        if dump.size > MAX_TEXT or len(line) > _MAX_LINE or len(dump.lines) >= MAX_DUMP_LINES:
            self._dump = None
            run = self._one(dump.named) or self._new(None, False, f"dump {dump.logged}")
            run.warnings.append(
                f"The stats dump at line {dump.line} is larger than {MAX_TEXT:,} characters or {MAX_DUMP_LINES:,} lines, "
                "and was given up on."
            )
            return
        dump.lines.append(line)
        depth = nesting(line, dump.depth)
        if depth is not None:
            dump.depth = depth
            return
        self._dump = None
        stats, skipped = read_dict("\n".join(dump.lines))
        if dump.headless:
            yield from self._salvage(dump, stats)
        elif dump.logged is None and not {"start_time", "finish_reason"} <= stats.keys():
            return  # Some other dict at the top of the log: settings, an item.
        else:
            yield self._complete(dump, stats, skipped)

    def _break_off(self) -> Iterator[Run]:
        """Ends a dump whose end is missing."""
        dump, self._dump = self._dump, None
        if dump is not None and dump.lines:
            stats, _ = read_dict("\n".join(dump.lines))
            yield from self._salvage(dump, stats)

    def _salvage(self, dump: _Dump, stats: dict[str, Plain]) -> Iterator[Run]:
        """Keeps what is known of a dump without its head or its end: the counts it holds are true, the others unknown."""
        start = _moment(stats, "start_time")
        if dump.logged is None:
            if start is None:
                return  # Nothing says when, or that it is a stats dump at all.
            run = self._new(None, True, start.isoformat())
            run.line = dump.line
        else:
            run = self._one(dump.named) or self._new(None, False, f"dump {dump.logged}")
        run.stats = stats
        _warn(run, "Its stats dump is cut off.")
        if dump.logged is None:
            self._unclosed += 1
            self._open.remove(run)
            yield self._incomplete(run)

    def _complete(self, dump: _Dump, stats: dict[str, Plain], skipped: tuple[str, ...]) -> Run:
        self._unclosed += 1
        start, finish = _moment(stats, "start_time"), _moment(stats, "finish_time")
        told = _offset(dump.logged, finish)
        run, offset = self._match(dump, start, told)
        if run is None:
            run = self._new(None, False)
            run.line = dump.line
            _warn(run, "The log does not show its beginning.")
        self._open.remove(run)
        offset = offset if offset is not None else timedelta(0)
        if dump.logged is not None:
            self._offset = offset
        if told is not None and told != offset:
            _warn(
                run,
                "The log's clock and the dump's times differ more at one end of the run than at the other.",
            )
        if skipped:
            _warn(run, f"Not readable in its stats dump: {', '.join(skipped[:5])}.")
        if start is None and run.opened is not None:
            start = _utc(run.opened, offset)
            _warn(run, "Its dump has no start_time; the log line's time was taken.")
        if finish is None:
            logged = dump.logged or (run.closing[0] if run.closing else None)
            finish = _utc(logged, offset) if logged is not None else None
            _warn(run, "Its dump has no finish_time; the log line's time was taken.")
        if start is not None and finish is not None and finish < start:
            _warn(run, "It finished before it started.")
            finish = start
        reason = stats.get("finish_reason")
        closing = run.closing[1] if run.closing else None
        return Run(
            spider=_spider(run),
            order=run.order,
            line=run.line,
            started_at=start,
            finished_at=finish,
            finish_reason=reason if isinstance(reason, str) else closing,
            complete=True,
            stats=MappingProxyType(stats),
            log_stats=tuple(s._replace(time=_utc(s.time, offset)) for s in run.crawled),
            fingerprint=_fingerprint(stats, dump.logged),
            warnings=tuple(run.warnings),
        )

    def _match(
        self, dump: _Dump, start: datetime | None, told: timedelta | None
    ) -> tuple[_Open | None, timedelta | None]:
        """The run under way that a dump belongs to, and by how much the log's clock is ahead of UTC."""
        if start is None:
            run = self._one(dump.named)
            return run, told if told is not None else self._offset
        found: list[tuple[bool, bool, timedelta, int, _Open, timedelta]] = []
        for run in self._open:
            if dump.named is not None and run.spider not in (None, dump.named):
                continue
            ahead = _offset(run.opened, start)
            if run.opened is None:
                # Its beginning lies before the log's: nothing speaks against it.
                found.append((True, True, _FARTHEST, -run.order, run, told or timedelta(0)))
                continue
            if ahead is None:
                continue
            away = abs(run.opened - start.replace(tzinfo=None) - ahead)
            # A slow upload may part the dump from finish_time, a change to summer time both ends by an hour.
            near = {told, self._offset, timedelta(0)}
            if told is None or ahead in near or abs(ahead - told) == timedelta(hours=1):
                found.append((ahead != told, ahead != self._offset, away, -run.order, run, ahead))
        if not found:
            return None, told
        _, _, away, _, run, ahead = min(found, key=lambda candidate: candidate[:4])
        if run.opened is not None and away > _SLOW_OPENING:
            _warn(run, "It was opened minutes before or after it says it started.")
        return run, ahead

    def _incomplete(self, run: _Open) -> Run:
        start, finish = _moment(run.stats, "start_time"), _moment(run.stats, "finish_time")
        offset = _offset(run.opened, start)
        if offset is None and run.closing is not None:
            offset = _offset(run.closing[0], finish)
        if offset is None:
            offset = timedelta(0)
            if not run.zoned and self._offset:
                offset = self._offset
                _warn(
                    run,
                    f"Its log lines were taken to be {_hours(offset)} ahead of UTC, as those of the run before.",
                )
        if start is None and run.opened is not None:
            start = _utc(run.opened, offset)
        if finish is None and run.closing is not None:
            finish = _utc(run.closing[0], offset)
        if start is not None and finish is not None and finish < start:
            finish = start
        reason = run.stats.get("finish_reason")
        if not isinstance(reason, str):
            reason = run.closing[1] if run.closing is not None else None
        words = f"opened {run.opened.isoformat()} {run.twin}" if run.opened is not None else run.first_words
        _warn(run, "The log breaks off before its whole stats dump.")
        return Run(
            spider=_spider(run),
            order=run.order,
            line=run.line,
            started_at=start,
            finished_at=finish,
            finish_reason=reason,
            complete=False,
            stats=MappingProxyType(run.stats),
            log_stats=tuple(s._replace(time=_utc(s.time, offset)) for s in run.crawled),
            fingerprint=hashlib.sha256(f"scrapy run {words}".encode()).hexdigest(),
            warnings=tuple(run.warnings),
        )


def _likeness(run: _Open, stat: LogStat) -> int:
    """How much a LogStats line looks like the next one of that run, whose totals it does not undercut."""
    if not run.crawled:
        return int(stat.pages_total == stat.pages_per_min)
    since = round((stat.time - run.crawled[-1].time).total_seconds())
    if since == 0:
        return -1  # A run does not log twice in a second: what begins or ticks together with it is another.
    # At Scrapy's default interval of a minute a rate is what was gained since the line before.
    gained = (stat.pages_total - run.reached[0], stat.items_total - run.reached[1])
    return int(gained == (stat.pages_per_min, stat.items_per_min)) + int(since % 60 in (59, 0, 1))


def _clock(day: str, time: str, zone: str | None) -> tuple[datetime, bool]:
    """A log line's time without a zone; one with a zone is turned to UTC, and known to be so."""
    moment = datetime.fromisoformat(f"{day}T{time}{zone or ''}")
    if zone is None:
        return moment, False
    return moment.astimezone(UTC).replace(tzinfo=None), True


def _moment(stats: Mapping[str, Plain], key: str) -> datetime | None:
    value = stats.get(key)
    return value if isinstance(value, datetime) and 1970 <= value.year < 2200 else None


def _offset(logged: datetime | None, moment: datetime | None) -> timedelta | None:
    """By how much the log's clock is ahead of UTC, in quarters of an hour; None if that cannot be a time zone."""
    if logged is None or moment is None:
        return None
    offset = round((logged - moment.replace(tzinfo=None)) / _QUARTER) * _QUARTER
    return offset if abs(offset) <= _FARTHEST else None


def _utc(logged: datetime, offset: timedelta) -> datetime:
    return (logged - offset).replace(tzinfo=UTC)


def _hours(offset: timedelta) -> str:
    return f"{offset / timedelta(hours=1):g} h"


def _name_of(text: str) -> str | None:
    """The text as the name of a site may be: something, of at most 100 characters."""
    return text.strip()[:100].strip() or None


def _spider(run: _Open) -> str | None:
    if run.spider is None and len(run.loggers) == 1:
        return next(iter(run.loggers))
    return run.spider


def _warn(run: _Open, sentence: str) -> None:
    if sentence not in run.warnings and len(run.warnings) < 20:
        run.warnings.append(sentence)


def _fingerprint(stats: Mapping[str, Plain], logged: datetime | None) -> str:
    text = json.dumps(stats, sort_keys=True, default=str)
    if "start_time" not in stats and "finish_time" not in stats:
        # Without its times a dump may well be that of another run too.
        text += f" {logged}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
