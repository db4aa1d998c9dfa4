"""What can be exported, and reading it piece by piece.

Each piece is a question over some windows, or a page of records: short, by itself, and small. Points are read in the order of time and
then by key, records in the order of time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from records.exports import EXPORTED, RecordExports
from scrapewatch.answers import ask
from scrapewatch.ports import Column, SeriesStore, TimeRange
from scrapewatch.problems import InvalidInput
from scrapewatch.questions import QUESTIONS
from scrapewatch.time import DAY, HOUR, MINUTE, to_datetime

WINDOWS_AT_ONCE = 360
"""Windows that a question is asked for at once, or fewer where it answers no such range: more than 60, so that the tier that fits them is
read (see ``tier_for``)."""

Rows = Sequence[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class ExportTable:
    """What can be exported under ``name``. ``figures``: it is a question, whose columns that are in ``key`` tell its rows apart."""

    name: str
    description: str
    columns: tuple[Column, ...]
    figures: bool
    key: tuple[str, ...] = ()


TABLES: Final = MappingProxyType(
    {
        **{
            question.name: ExportTable(
                question.name, question.description, question.columns, True, question.key
            )
            for question in QUESTIONS.values()
            # Those that need a parameter say nothing without it, and a range that is read in parts has no one total.
            if question.by_window and all(parameter.default is not None for parameter in question.parameters)
        },
        **{
            name: ExportTable(name, exported.description, exported.columns, False)
            for name, exported in EXPORTED.items()
        },
    }
)
"""What can be exported, by name."""

DEFAULT = ("throughput", "success_rate", "errors")

TIMEFRAMES: Final = MappingProxyType(
    {"1h": HOUR, "6h": 6 * HOUR, "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "90d": 90 * DAY}
)


def tables_of(names: str | Sequence[str]) -> list[ExportTable]:
    """The tables of ``names`` (a text has them by commas), each once.

    Raises:
        InvalidInput: there is none of a name, or no name.
    """
    listed = names.split(",") if isinstance(names, str) else names
    wanted = dict.fromkeys(name.strip() for name in listed if name.strip())
    if not wanted or not wanted.keys() <= TABLES.keys():
        raise InvalidInput(f"choose among, by commas: {', '.join(TABLES)}", "query.metrics")
    return [TABLES[name] for name in wanted]


def window_of(length: int) -> int:
    """The windows (ns) of figures in an export of ``length`` ns, where none are asked for."""
    if length <= DAY:
        return MINUTE
    if length <= 7 * DAY:
        return 5 * MINUTE
    return HOUR if length <= 90 * DAY else DAY


@dataclass(frozen=True, slots=True)
class Selection:
    """What an export holds: ``tables`` of ``tenant`` from ``start`` to before ``stop`` (ns), figures in windows of ``every``."""

    tenant: str
    tables: Sequence[ExportTable]
    start: int
    stop: int
    every: int

    @property
    def range(self) -> TimeRange:
        """The windows of figures."""
        return TimeRange.widened(self.start, self.stop, self.every)


class ExportReader:
    """Reads selections from both stores. Blocks."""

    def __init__(self, series: SeriesStore, records: RecordExports) -> None:
        self._series = series
        self._records = records

    def read(self, table: ExportTable, selection: Selection) -> Iterator[Rows]:
        """The rows of ``table``, some at a time; some may be none.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        return self._points(table, selection) if table.figures else self._rows(table, selection)

    def _points(self, table: ExportTable, selection: Selection) -> Iterator[Rows]:
        whole = selection.range
        longest = QUESTIONS[table.name].longest
        windows = WINDOWS_AT_ONCE if longest is None else min(WINDOWS_AT_ONCE, max(longest // whole.every, 1))
        step = windows * whole.every
        for start in range(whole.start, whole.stop, step):
            part = TimeRange(start, min(start + step, whole.stop), whole.every)
            yield ask(self._series, table.name, {}, part, tenant=selection.tenant).rows

    def _rows(self, table: ExportTable, selection: Selection) -> Iterator[Rows]:
        start, stop = to_datetime(selection.start), to_datetime(selection.stop)
        rows, place = self._records.page(table.name, selection.tenant, start, stop, None)
        yield rows
        while place is not None:
            rows, place = self._records.page(table.name, selection.tenant, start, stop, place)
            yield rows
