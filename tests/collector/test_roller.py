from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.roller import Roller
from embedded.store import EmbeddedStore
from records.store import SqlRecords
from scrapewatch.measurements import Tier
from scrapewatch.ports import RecordChanges
from scrapewatch.time import HOUR, MINUTE, now_ns, window_start
from tests.new_records import records_in


@pytest.fixture
def series(tmp_path: Path) -> Iterator[EmbeddedStore]:
    store = EmbeddedStore(tmp_path / "series.duckdb")
    yield store
    store.close()


@pytest.fixture
def records(tmp_path: Path) -> Iterator[SqlRecords]:
    store = records_in(tmp_path)
    yield store
    store.close()


def test_windows_that_are_over_are_rolled_up_at_once_and_the_open_ones_now_and_then(
    series: EmbeddedStore, records: SqlRecords
) -> None:
    # A minute that lies ahead is open for as long as this takes.
    over, ahead = (window_start(now_ns(), MINUTE) + n * MINUTE for n in (-2, 3))
    hour = window_start(over, HOUR)

    def mark() -> None:
        windows = {Tier.FLEET_1M: [over, ahead], Tier.FLEET_1H: [hour]}
        records.mark_windows([RecordChanges("default", None, (), windows)])

    def dirty() -> set[tuple[Tier, int]]:
        return {(window.tier, window.start) for window in records.dirty_windows(10, settled_before={})}

    roller = Roller(series, records, holder="test")
    mark()
    assert roller.roll() == 3
    mark()
    assert roller.roll() == 1
    assert dirty() == {(Tier.FLEET_1M, ahead), (Tier.FLEET_1H, hour)}
    assert roller.roll(hours=True) == 2
    assert dirty() == set()
