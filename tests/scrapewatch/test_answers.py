"""What is computed from rows, once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.store import EmbeddedStore
from scrapewatch.answers import ask, change_percent, mean, share
from scrapewatch.line_protocol import Point
from scrapewatch.measurements import Tier
from scrapewatch.ports import TimeRange
from scrapewatch.problems import InvalidInput
from scrapewatch.time import DAY, HOUR, now_ns, window_start
from tests.contract.plain import flush_of


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    """A store whose tiers hold different figures for the same hour."""
    found = EmbeddedStore(tmp_path / "points.duckdb")
    at = window_start(now_ns(), HOUR) - HOUR
    tags = {"provider": "acme", "proxy": "p1"}
    points = [
        (tier, Point("proxies", tags, {"requests": requests}, at))
        for tier, requests in ((Tier.FLEET_1M, 1), (Tier.FLEET_1H, 2))
    ]
    assert found.write(flush_of(points, tenant="t")).accepted == 2
    yield found
    found.close()


def day() -> TimeRange:
    now = now_ns()
    return TimeRange.widened(now - DAY, now, HOUR)


def test_who_knows_better_chooses_the_tier(store: EmbeddedStore) -> None:
    def requests(tier: Tier | None) -> list[int]:
        return [row["requests"] for row in ask(store, "proxies", {}, day(), tenant="t", tier=tier).dicts()]

    assert (requests(None), requests(Tier.FLEET_1H)) == ([1], [2])


@pytest.mark.parametrize(
    ("question", "parameters", "tier"),
    [
        ("odd", {}, None),
        ("session_metrics", {}, None),
        ("proxies", {"site": "x"}, None),
        ("proxies", {}, Tier.SESSIONS),
    ],
)
def test_what_cannot_be_asked_is_refused(
    store: EmbeddedStore, question: str, parameters: dict[str, str], tier: Tier | None
) -> None:
    with pytest.raises(InvalidInput):
        ask(store, question, parameters, day(), tenant="t", tier=tier)


def test_a_change_is_in_percent_of_what_was() -> None:
    assert change_percent(150.0, 100.0) == 50.0
    assert change_percent(0.0, 100.0) == -100.0
    assert change_percent(5.0, 0.0) is change_percent(None, 1.0) is change_percent(1.0, None) is None


def test_of_nothing_there_is_neither_a_share_nor_a_mean() -> None:
    assert share(1, 0) is mean(0.0, 0) is None
    assert (share(1, 4), mean(6.0, 3)) == (0.25, 2.0)
    assert share(9, 4) == 1.0, "parts that others counted may be too many"
