"""What the proof of the panels itself would notice."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.grafana.asking import choices_in, series_of
from tests.grafana.flux_source import QueryError
from tests.grafana.frames import Field, Frame
from tests.grafana.showing import NoSuchField, fields_needed, labels_needed, names_of, transformed

AT, LATER = datetime(2026, 1, 5, 10, tzinfo=UTC), datetime(2026, 1, 5, 11, tzinfo=UTC)


def series(name: str, **labels: str) -> Frame:
    return Frame([Field("Time", "time", {}, [AT]), Field(name, "number", labels, [1.0])])


def test_series_are_called_by_what_tells_them_apart() -> None:
    assert names_of([series("pages")]) == [["Time", "pages"]]
    assert names_of([series("pages", site="a"), series("pages", site="b")]) == [
        ["Time", "pages a"],
        ["Time", "pages b"],
    ]
    assert names_of([series("Value", site="a", type="403")]) == [["Time", '{site="a", type="403"}']]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("organize", {"renameByName": {"nothing": "x"}}),
        ("organize", {"excludeByName": {"nothing": True}}),
        ("filterFieldsByName", {"include": {"names": ["nothing"]}}),
        ("joinByField", {"byField": "nothing"}),
        ("sortBy", {"sort": [{"field": "nothing"}]}),
        ("calculateField", {"mode": "binary", "binary": {"left": "pages", "right": "nothing"}, "alias": "x"}),
        ("groupBy", {"fields": {"nothing": {"operation": "groupby"}}}),
    ],
)
def test_a_transformation_of_a_field_that_does_not_come_is_told(kind: str, options: dict[str, Any]) -> None:
    with pytest.raises(NoSuchField):
        transformed([series("pages")], [{"id": kind, "options": options}])


def test_what_a_transformation_hides_or_renames_is_gone_for_what_comes_after_it() -> None:
    steps = [{"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": {"pages": "n"}}}]
    assert transformed([series("pages")], steps) == [["n"]]


def test_a_panel_needs_the_fields_and_labels_that_it_names() -> None:
    link = {"url": "/d/x?var-session=${__data.fields.session_id:percentencode}"}
    panel = {
        "options": {"xField": "took"},
        "fieldConfig": {
            "defaults": {"displayName": "${__field.labels.host}", "links": [link]},
            "overrides": [
                {"matcher": {"id": "byName", "options": "pages"}, "properties": [{"id": "unit"}]},
                {"matcher": {"id": "byName", "options": "indeed"}, "properties": [{"id": "color"}]},
            ],
        },
    }
    assert fields_needed(panel) == {"took", "pages", "session_id"}
    assert labels_needed(panel) == {"host"}


def test_rows_of_sql_become_series_that_are_called_by_their_text_alone() -> None:
    rows = Frame(
        [
            Field("time", "time", {}, [AT, AT, LATER]),
            Field("metric", "string", {}, ["a", "b", "a"]),
            Field("n", "number", {}, [1, 2, 3]),
        ]
    )
    time, *others = series_of(rows).fields
    assert time.values == [AT, LATER]
    assert {field.name: list(field.values) for field in others} == {"a": [1, 3], "b": [2, None]}


def test_rows_of_sql_that_are_not_in_the_order_of_time_are_no_series() -> None:
    rows = Frame([Field("time", "time", {}, [LATER, AT]), Field("n", "number", {}, [1, 2])])
    with pytest.raises(QueryError, match="order"):
        series_of(rows)


def test_a_variable_takes_the_first_frame_alone() -> None:
    text = Frame([Field("_value", "string", {}, ["a", "b"])])
    assert choices_in([text, Frame([Field("_value", "string", {}, ["c"])])]) == ["a", "b"]
