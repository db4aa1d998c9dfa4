"""How often forwarding cuts a flush."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.forward import Pace


@given(st.lists(st.floats(0.0, 3.0), max_size=200))
def test_flushes_cut_before_their_time_are_no_more_than_one_an_interval_and_three_at_once(
    waits: list[float],
) -> None:
    interval = 2.0
    pace = Pace(interval)
    began = now = 1_000.0
    early = 0
    for wait in waits:
        now += wait
        if pace.has_saved(now):
            pace.spend(now)
            early += 1
        assert early <= 3 + (now - began) / interval + 1e-6


def test_after_flushes_that_came_in_time_the_last_one_may_be_cut_early() -> None:
    pace = Pace(1.0)
    for second in range(1, 60):
        pace.spend(1_000.0 + second)
    assert pace.has_saved(1_059.2)
