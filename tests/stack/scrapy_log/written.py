"""Logs written for the tests: small files beside this one, and runs made to measure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from stack.scrapy_log.parse import Run, parse_runs

LOGS = Path(__file__).parent / "logs"
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


def log(name: str) -> str:
    return (LOGS / name).read_text(encoding="utf-8")


def runs(text: str) -> list[Run]:
    return list(parse_runs(text.splitlines(keepends=True)))


def only_run(text: str) -> Run:
    (run,) = runs(text)
    return run


def run_log(
    start: datetime = NOON,
    seconds: float = 10.5,
    *,
    ahead: timedelta = timedelta(0),
    reason: str = "finished",
    crawled: tuple[tuple[int, int, int], ...] = (),
    more: Mapping[str, object] = MappingProxyType({}),
    **stats: object,
) -> str:
    """The log of one run; `crawled` holds (seconds since the start, pages, items). `__` in a stat's name stands for `/`,
    `more` holds stats whose names are no Python names."""
    finish = start + timedelta(seconds=seconds)

    def said(moment: datetime, logger: str, message: str) -> str:
        return f"{(moment + ahead):%Y-%m-%d %H:%M:%S} [scrapy.{logger}] INFO: {message}\n"

    lines = [said(start, "core.engine", "Spider opened")]
    pages_before = items_before = 0
    for after, pages, items in ((0, 0, 0), *crawled):
        rates = f"(at {pages - pages_before} pages/min), scraped {items} items (at {items - items_before} items/min)"
        lines.append(
            said(start + timedelta(seconds=after), "extensions.logstats", f"Crawled {pages} pages {rates}")
        )
        pages_before, items_before = pages, items
    lines.append(said(finish, "core.engine", f"Closing spider ({reason})"))
    lines.append(said(finish, "statscollectors", "Dumping Scrapy stats:"))
    told = {name.replace("__", "/"): value for name, value in stats.items()}
    told |= {**more, "finish_reason": reason, "finish_time": finish, "start_time": start}
    lines.append("{" + ",\n ".join(f"{name!r}: {told[name]!r}" for name in sorted(told)) + "}\n")
    lines.append(said(finish, "core.engine", f"Spider closed ({reason})"))
    return "".join(lines)
