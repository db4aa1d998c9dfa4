"""Forecasts: what samples carry is said, what they do not carry is not."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapewatch.forecasts import LEAST_SAMPLES, Remaining, remaining, trend, until
from scrapewatch.time import DAY, HOUR, MINUTE, SECOND

GIB = 2**30


def hourly(level: Callable[[int], float], hours: int = 48) -> list[tuple[int, float]]:
    return [(k * HOUR, level(k)) for k in range(hours)]


def test_a_disk_that_fills_steadily_is_full_when_the_rate_says_so() -> None:
    samples = hourly(lambda k: 100 * GIB + k * GIB)
    found = until(samples, 219 * GIB, 47 * HOUR)
    assert found is not None
    assert found.seconds == pytest.approx(72 * 3_600)
    assert found.earliest == pytest.approx(found.seconds) and found.latest == pytest.approx(found.seconds)


def test_wild_samples_do_not_move_a_trend() -> None:
    chance = random.Random(1)
    samples = hourly(lambda k: 100.0 + k)
    for k in chance.sample(range(48), 9):
        samples[k] = (samples[k][0], chance.uniform(-1e6, 1e6))
    chance.shuffle(samples)
    found = trend(samples)
    assert found is not None
    assert found.per_second == pytest.approx(1 / 3_600, rel=0.05)
    assert found.low <= found.per_second <= found.high


@pytest.mark.parametrize("seed", range(5))
def test_noise_without_a_trend_meets_nothing(seed: int) -> None:
    chance = random.Random(seed)
    assert until(hourly(lambda k: 80 + chance.gauss(0, 1)), 100, 47 * HOUR) is None


@pytest.mark.parametrize(
    "level",
    [
        lambda k: 90.0,
        lambda k: 95 - k / 10,
        lambda k: 50 + min(k, 20),  # filled, and stands still
        lambda k: 50 + k % 12,  # filled and cleaned again and again
    ],
    ids=["level", "falling", "stands still", "saw teeth"],
)
def test_what_does_not_rise_for_good_meets_nothing(level: Callable[[int], float]) -> None:
    assert until(hourly(level), 100, 47 * HOUR) is None


def test_too_few_samples_or_a_limit_out_of_reach_carry_no_forecast() -> None:
    assert until(hourly(lambda k: float(k), LEAST_SAMPLES - 1), 100, 0) is None
    assert until(hourly(lambda k: 10 + k / 100), 100, 47 * HOUR) is None, (
        "that is a year ahead, seen from two days"
    )
    assert trend([(5, 1.0)] * 20) is None


def test_what_is_beyond_its_limit_meets_it_now() -> None:
    found = until(hourly(lambda k: 90.0 + k), 100, 47 * HOUR)
    assert found is not None and found.seconds == found.earliest == 0


@given(st.floats(0.01, 10), st.floats(0, 50), st.integers(LEAST_SAMPLES, 400))
def test_a_straight_line_is_found_whatever_its_slope(slope: float, level: float, count: int) -> None:
    found = trend([(k * MINUTE, level + slope * k) for k in range(count)])
    assert found is not None
    for value in (found.low, found.per_second, found.high):
        assert value == pytest.approx(slope / 60, rel=1e-6)


def test_the_rest_takes_as_long_as_the_rate_says() -> None:
    assert remaining(600, [10, 10, 10, 10], 30 * SECOND) == Remaining(1_800, 1_800, 1_800)
    assert remaining(0, [], SECOND) == Remaining(0, 0, 0)


@pytest.mark.parametrize("counts", [[], [5, 5, 5], [0, 0, 0, 0, 0]])
def test_without_a_rate_nothing_is_said_of_the_rest(counts: list[float]) -> None:
    assert remaining(100, counts, SECOND) is None


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Work that comes by chance, watched for a while, then done to its end: the interval held in about 80 of 100 cases."""
    chance = random.Random(3)
    held, runs = 0, 400

    def draw() -> float:
        return float(chance.choice((0, 2, 5, 9, 14)))

    for _ in range(runs):
        found = remaining(600, [draw() for _ in range(30)], DAY)
        assert found is not None
        took, done = 0, 0.0
        while done < 600:
            done += draw()
            took += 1
        held += found.low <= took * DAY / SECOND <= found.high
    assert 0.72 < held / runs < 0.88
