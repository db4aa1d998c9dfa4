from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grafana.differences import between, of_keys

PANEL = {
    "id": 1,
    "type": "timeseries",
    "title": "Jobs per minute",
    "fieldConfig": {"defaults": {"unit": "short"}},
    "targets": [{"refId": "A", "query": "x" * 60}],
}
OTHER = {"id": 2, "type": "stat", "title": "Errors", "options": {}}
ROW = {
    "id": 3,
    "type": "row",
    "title": "More",
    "panels": [{"id": 4, "type": "stat", "title": "Inner", "max": 1}],
}
DASHBOARD: dict[str, Any] = {
    "uid": "scrapewatch-x",
    "title": "X",
    "refresh": "5s",
    "panels": [PANEL, OTHER, ROW],
    "templating": {"list": [{"name": "site", "multi": True}]},
}


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    found = copy.deepcopy(DASHBOARD)
    change(found)
    return found


def test_what_grafana_writes_itself_is_no_difference() -> None:
    assert between({**DASHBOARD, "id": 7, "version": 12}, DASHBOARD) == []
    assert between({**DASHBOARD, "version": 1}, {**DASHBOARD, "id": None, "version": 0}) == []


@pytest.mark.parametrize(
    ("there", "lines"),
    [
        (changed(lambda d: d.update(refresh="1m")), ['~ refresh "1m" → "5s"']),
        (changed(lambda d: d.update(mine=1)), ["~ mine goes"]),
        (changed(lambda d: d.pop("refresh")), ['~ refresh is new: "5s"']),
        (
            changed(lambda d: d["panels"][0]["fieldConfig"]["defaults"].update(unit="s")),
            ['~ panel "Jobs per minute": fieldConfig.defaults.unit "s" → "short"'],
        ),
        # What is long is only named.
        (
            changed(lambda d: d["panels"][0]["targets"][0].update(query="y" * 60)),
            ['~ panel "Jobs per minute": targets[0].query'],
        ),
        (
            changed(lambda d: d["panels"][0].update(title="Mine", type="stat")),
            ['~ panel "Jobs per minute": title "Mine" → "Jobs per minute", type "stat" → "timeseries"'],
        ),
        (changed(lambda d: d["panels"].pop(1)), ['+ panel "Errors"']),
        (changed(lambda d: d["panels"].append({"id": 9, "title": "Mine"})), ['- panel "Mine"']),
        (
            changed(lambda d: d["panels"].append({"id": 9, "type": "text"})),
            ['- panel "without a title (text)"'],
        ),
        (changed(lambda d: d["panels"][2]["panels"][0].update(max=2)), ['~ panel "Inner": max 2 → 1']),
        (
            changed(lambda d: d["templating"]["list"][0].update(multi=1)),
            ["~ templating.list[site].multi 1 → true"],
        ),
        (changed(lambda d: d["panels"].reverse()), ["~ the order of panels"]),
    ],
)
def test_a_difference_is_named_by_panel_and_key(there: dict[str, Any], lines: list[str]) -> None:
    assert between(there, DASHBOARD) == lines


def test_of_many_keys_some_are_named_and_the_rest_counted() -> None:
    there = {**DASHBOARD, **{f"key{n}": n for n in range(20)}}
    lines = between(there, DASHBOARD)
    assert len(lines) == 9
    assert lines[-1] == "~ and 12 more"


def test_a_password_in_a_url_is_not_shown() -> None:
    assert of_keys({"url": "http://me:hush@old"}, {"url": "http://new"}) == [
        'url "http://[hidden]@old" → "http://new"'
    ]


def test_what_something_has_besides_the_wanted_keys_does_not_count() -> None:
    assert of_keys({"a": 1, "b": 2}, {"a": 1.0}) == []
    assert of_keys({"b": 2}, {"a": 1}) == ["a is new: 1"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
DASHBOARDS = st.fixed_dictionaries(
    {
        "title": JSON,
        "panels": st.lists(
            st.fixed_dictionaries({"id": st.integers(1, 9), "title": st.text(max_size=3), "options": JSON}),
            max_size=4,
            unique_by=lambda panel: panel["id"],
        ),
    }
)


def same(one: Any, other: Any) -> bool:
    """The same JSON: true is not 1, but 1 is 1.0."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@settings(max_examples=50)
@given(DASHBOARDS, DASHBOARDS)
def test_there_are_lines_exactly_where_there_is_a_difference(there: Any, wanted: Any) -> None:
    assert (between(there, wanted) == []) == same(there, wanted)
    assert between(there, copy.deepcopy(there)) == []
