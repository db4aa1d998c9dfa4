"""Lines read a column at a time come out as lines read one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from embedded.incoming import IncomingTable, read
from embedded.layout import TableLayout
from scrapewatch.line_protocol import Value, decode
from scrapewatch.measurements import MEASUREMENTS, Tier, fields_in
from scrapewatch.ports import Batch
from scrapewatch.problems import InvalidInput

LAYOUTS = {
    name: TableLayout.new(name, Tier.FLEET) for name, m in MEASUREMENTS.items() if fields_in(m, Tier.FLEET)
}
OLDEST = 100

heads = st.sampled_from(
    [
        "jobs,site=a",
        "jobs,site=b",
        "jobs",
        "errors,site=a,type=x",
        "errors,type=x,site=a",
        "jobs,site=New\\ York",
    ]
)
pairs = st.sampled_from(
    ["scraped=1i", "scraped=22i", "saved=-3i", "count=5i", "saved=0i", "scraped=9223372036854775807i"]
)
good = st.builds(
    lambda head, body, time: f"{head} {','.join(body)} {time}",
    heads,
    st.lists(pairs, min_size=1, max_size=3),
    st.integers(OLDEST, OLDEST + 3),
)
odd = st.sampled_from(
    [
        "pages,site=a duration_sum=1.5,count=2i 100",
        "pages,site=a duration_sum=1e400 100",
        "pages,site=a duration_sum=nan 100",
        "pages,site=a duration_sum=1_0.5 100",
        "pages,site=a duration_sum=2 100",
        "jobs,site=a scraped=1i=saved,2i 100",
        "jobs,site=a scraped,saved=1i=2i 100",
        "jobs,site=a scraped=1 100",
        "jobs,site=a scraped=9223372036854775808i 100",
        "jobs,site=a scraped=1i 99",
        "jobs,site=a scraped=1i 9223372036854775808",
        "jobs,site=a scraped=\u0661i 100",
        "jobs,site=a scraped=+1i 100",
        "jobs,site=a scraped=1i  100",
        "jobs,site=a scraped=1i",
        "jobs,site=a  scraped=1i 100",
        "jobs,site=a b scraped=1i 100",
        'jobs,site=a note="x scraped=1i 100" 100',
        'jobs,site="a scraped=1i 100',
        "jobs,site=\ud800 scraped=1i 100",
        "jobs,site=a\\ scraped=1i 100",
        "jobs,site=a,colour=red scraped=1i 100",
        "jobs,site=a new=1i 100",
        "jobs,site=a scraped=1i,scraped=2i 100",
        "foreign,a=b x=1i 100",
        "#jobs scraped=1i 100",
        "",
    ]
)


def rows_of(table: IncomingTable) -> dict[tuple[Any, ...], dict[str, Value]]:
    """(time, tags) → fields."""
    layout = table.widened()
    columns = table.columns(layout)
    rows = {}
    for row, time in enumerate(columns["time"].tolist()):
        tags = {tag: columns[column][row] for tag, column in layout.tags.items() if columns[column][row]}
        fields = {
            name: columns[column][row].item()
            if isinstance(columns[column][row], np.generic)
            else columns[column][row]
            for name, column in layout.fields.items()
            if column in columns
            and columns[column][row] is not np.ma.masked
            and columns[column][row] is not None
        }
        rows[time, frozenset(tags.items())] = fields
    assert len(rows) == len(columns["time"])
    return rows


@settings(deadline=None)
@given(st.lists(st.one_of(good, good, good, odd), max_size=12))
@example(["jobs,site=a scraped=1i 100", "jobs,site=a saved=2i 100", "jobs,site=a scraped=3i 100"])
@example(["errors,site=a,type=x count=1i 100", "errors,type=x,site=a count=2i 100"])
def test_lines_read_by_column_are_those_read_one_by_one(lines: list[str]) -> None:
    expected: dict[str, dict[tuple[Any, ...], dict[str, Value]]] = {}
    new: dict[str, dict[str, type]] = {}
    refused = []
    for k, line in enumerate(lines):
        try:
            line.encode()
            point = decode(line)
        except (InvalidInput, UnicodeEncodeError):
            refused.append((line, k))
            continue
        layout = LAYOUTS.get(point.measurement) or TableLayout.new(point.measurement, Tier.FLEET)
        of_table = new.setdefault(point.measurement, {})
        if layout.refusal(point.fields, of_table) or not OLDEST <= point.time < 2**63:
            refused.append((line, k))
            continue
        of_table |= {name: type(value) for name, value in point.fields.items() if name not in layout.fields}
        rows = expected.setdefault(point.measurement, {})
        rows.setdefault((point.time, frozenset(point.tags.items())), {}).update(point.fields)
    tables, rejected = read(Batch("t", Tier.FLEET, lines, range(len(lines))), LAYOUTS, OLDEST)
    assert [(r.line, r.events) for r in rejected] == refused
    assert {name: rows_of(table) for name, table in tables.items()} == expected


def test_a_flush_of_ordinary_lines_is_read_by_column() -> None:
    lines = [f"jobs,site=s{k} scraped={k}i,saved=1i {OLDEST + k}" for k in range(50)]
    lines += [f"pages,site=s{k} count=1i,duration_sum={k / 8} {OLDEST}" for k in range(50)]
    tables, rejected = read(Batch("t", Tier.FLEET, lines, [1] * 100), LAYOUTS, OLDEST)
    assert rejected == []
    assert [len(table.blocks) for table in tables.values()] == [1, 1]
    assert rows_of(tables["pages"])[OLDEST, frozenset({("site", "s3")})] == {
        "count": 1,
        "duration_sum": 0.375,
    }
