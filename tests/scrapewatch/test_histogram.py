from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapewatch.histogram import BUCKETS, EDGES, FIELDS, bucket_of, quantile

durations = st.lists(st.floats(min_value=1e-6, max_value=EDGES[-1]), min_size=1, max_size=200)


def counted(values: list[float]) -> list[int]:
    counts = [0] * BUCKETS
    for value in values:
        counts[bucket_of(value)] += 1
    return counts


def test_the_edges_are_frozen() -> None:
    assert len(EDGES) == 41
    assert EDGES[0] == 0.001
    assert EDGES[20] == pytest.approx(1.024)
    assert EDGES[40] == pytest.approx(1048.576)
    assert FIELDS[0] == "h00"
    assert FIELDS[-1] == "h41"


def test_edges_are_a_factor_of_the_root_of_two_apart() -> None:
    for low, high in itertools.pairwise(EDGES):
        assert high / low == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize("k", range(len(EDGES)))
def test_an_edge_belongs_to_the_bucket_it_closes(k: int) -> None:
    assert bucket_of(EDGES[k]) == k
    assert bucket_of(math.nextafter(EDGES[k], math.inf)) == k + 1


def test_nothing_is_too_short_or_too_long_to_count() -> None:
    assert bucket_of(0.0) == 0
    assert bucket_of(1e9) == BUCKETS - 1


def test_a_quantile_of_nothing_is_none() -> None:
    assert quantile([0] * BUCKETS, 0.5) is None


@given(durations, st.floats(min_value=0.01, max_value=1.0))
def test_a_quantile_is_off_by_less_than_the_width_of_one_bucket(values: list[float], q: float) -> None:
    exact = sorted(values)[max(math.ceil(q * len(values)) - 1, 0)]
    found = quantile(counted(values), q, maximum=max(values))
    assert found is not None
    k = bucket_of(exact)
    low, high = (EDGES[k - 1] if k else 0.0), EDGES[k]
    assert low <= found <= min(high, max(values)) * (1 + 1e-9)


@given(durations)
def test_quantiles_rise(values: list[float]) -> None:
    counts = counted(values)
    found = [quantile(counts, q) or 0.0 for q in (0.1, 0.5, 0.9, 0.95, 0.99, 1.0)]
    assert found == sorted(found)


@given(durations, durations)
def test_counts_of_two_flushes_add_up(first: list[float], second: list[float]) -> None:
    added = [a + b for a, b in zip(counted(first), counted(second), strict=True)]
    assert added == counted(first + second)


def test_what_is_beyond_the_last_edge_is_bounded_by_the_maximum() -> None:
    counts = counted([2_000.0])
    assert quantile(counts, 0.5, maximum=2_000.0) == pytest.approx((EDGES[-1] + 2_000.0) / 2)
    assert quantile(counts, 0.5) == EDGES[-1]
