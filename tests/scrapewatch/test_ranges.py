from __future__ import annotations

from typing import Any

import pytest

from scrapewatch.problems import InvalidInput
from scrapewatch.ranges import range_of
from scrapewatch.time import DAY, HOUR, MINUTE, SECOND

NOON = 1_767_614_400 * SECOND
"""2026-01-05T12:00:00Z."""


@pytest.mark.parametrize(
    ("asked", "start", "stop", "every"),
    [
        ({}, NOON - DAY, NOON, 15 * MINUTE),
        ({"last": "1h", "every": "10m"}, NOON - HOUR, NOON, 10 * MINUTE),
        ({"start": "2026-01-05T10:00:00Z", "every": "1h"}, NOON - 2 * HOUR, NOON, HOUR),
        ({"start": "2026-01-05T10:00:00+01:00", "stop": "2026-01-05T10:30:00"}, NOON - 3 * HOUR, NOON - 90 * MINUTE, 30 * SECOND),
        ({"start": "2026-01-05", "stop": "2026-01-05T00:00:01", "every": "1d"}, NOON - 12 * HOUR, NOON + 12 * HOUR, DAY),
    ],
)  # fmt: skip
def test_a_range_is_named_by_its_length_or_its_ends(
    asked: dict[str, Any], start: int, stop: int, every: int
) -> None:
    found = range_of(**asked, now=NOON)
    assert (found.start, found.stop, found.every) == (start, stop, every)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"last": "yesterday"}, "last"),
        ({"last": "0h"}, "last"),
        ({"last": "1h", "start": "2026-01-05"}, "last"),
        ({"stop": "2026-01-05"}, "from"),
        ({"start": "then"}, "from"),
        ({"start": "9999-12-31T23:59:59Z"}, "from"),
        ({"start": "0001-01-01T00:00:00+14:00"}, "from"),
        ({"start": "2026-01-05", "stop": "2026-01-04"}, "to"),
        ({"every": "5 minutes"}, "every"),
        ({"last": "365d", "every": "1s"}, "every"),
    ],
)
def test_a_range_that_is_none_is_refused_with_the_part_at_fault(asked: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        range_of(**asked, now=NOON)
    assert refused.value.field == field
