"""Names of columns and tables: safe, told apart, and read back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from embedded.layout import TableLayout, identifier, schema_name
from scrapewatch.measurements import MEASUREMENTS, Tier

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
PLAIN_TYPES = {int: "BIGINT", float: "DOUBLE", str: "VARCHAR", bool: "BOOLEAN"}


@given(
    st.sampled_from([*MEASUREMENTS, "weather", "Weather", "table:x"]) | NAMES,
    st.sampled_from(list(Tier)),
    st.sets(NAMES | st.sampled_from(["a", "A", "time", "site", "SITE"]), max_size=5),
    st.dictionaries(
        NAMES | st.sampled_from(["a", "A", "time", "scraped"]), st.sampled_from(list(PLAIN_TYPES)), max_size=5
    ),
)
def test_a_layout_is_read_back_from_its_columns(
    measurement: str, tier: Tier, tags: set[str], fields: dict[str, type]
) -> None:
    layout = TableLayout.new(measurement, tier).with_tags(tags).with_fields(fields)
    columns = {"time": "BIGINT"} | dict.fromkeys(layout.tags.values(), "VARCHAR")
    columns |= {column: PLAIN_TYPES[layout.types[name]] for name, column in layout.fields.items()}
    assert len({name.lower() for name in columns}) == 1 + len(layout.tags) + len(layout.fields)
    assert TableLayout.stored(layout.table, tier, columns) == layout


@given(NAMES, NAMES)
def test_two_measurements_never_share_a_table(one: str, other: str) -> None:
    tables = {TableLayout.new(name, Tier.FLEET).table.lower() for name in (one, other)}
    assert len(tables) == len({one, other})


@given(NAMES)
def test_a_quoted_name_ends_where_it_should(name: str) -> None:
    quoted = identifier(name)
    assert quoted[0] == quoted[-1] == '"'
    assert quoted[1:-1].replace('""', "") == name.replace('"', "")


def test_a_schema_is_named_by_a_number_and_a_tier() -> None:
    assert [schema_name(7, tier) for tier in Tier] == [
        "t7_fleet",
        "t7_fleet_1m",
        "t7_fleet_1h",
        "t7_sessions",
        "t7_external",
    ]
