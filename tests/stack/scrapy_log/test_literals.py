from __future__ import annotations

import pprint
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.scrapy_log.literals import MAX_TEXT, Plain, nesting, read_dict

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=100)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | st.datetimes(timezones=st.just(UTC))
    | st.dates()
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(TEXT, VALUES, max_size=8))
def test_what_pprint_prints_is_read_back(values: dict[str, Plain]) -> None:
    assert read_dict(pprint.pformat(values)) == (values, ())


@given(st.dictionaries(TEXT, VALUES, max_size=8))
def test_the_end_of_a_printed_dict_is_found_at_its_last_line(values: dict[str, Plain]) -> None:
    depth: int | None = 0
    lines = pprint.pformat(values).split("\n")
    for number, line in enumerate(lines, 1):
        assert depth is not None
        depth = nesting(line, depth)
        assert (depth is None) == (number == len(lines))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("datetime.datetime(2016, 1, 1, 2, 3, 4, 5)", datetime(2016, 1, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("datetime.datetime(2016, 1, 1, tzinfo=datetime.timezone.utc)", datetime(2016, 1, 1, tzinfo=UTC)),
        (
            "datetime.datetime(2016, 1, 1, 8, tzinfo=datetime.timezone(datetime.timedelta(seconds=28800)))",
            datetime(2016, 1, 1, 8, tzinfo=timezone(timedelta(hours=8))),
        ),
        ("datetime.datetime(2016, 1, 1, tzinfo=None, fold=1)", datetime(2016, 1, 1, fold=1, tzinfo=UTC)),
        ("datetime.timedelta(days=-1, seconds=5)", timedelta(days=-1, seconds=5)),
        ("datetime.date(2016, 2, 29)", date(2016, 2, 29)),
        ("-0.5", -0.5),
        ("(1, [2], {3})", [1, [2], [3]]),
        ("'one' 'two'", "onetwo"),
        ("'half \\ud800 and \\x00'", "half ? and \ufffd"),
    ],
)
def test_a_value_is_read(text: str, value: Plain) -> None:
    assert read_dict("{'a': " + text + "}") == ({"a": value}, ())


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('echo evaluated')",
        "open(MARK, 'w')",
        "[open(MARK, 'w') for _ in (1,)]",
        "(lambda: open(MARK, 'w'))()",
        "f'{open(MARK)}'",
        "datetime.datetime.now()",
        "datetime.datetime.fromtimestamp(0)",
        "datetime.datetime(2016, 1, 1, tzinfo=__import__('os'))",
        "datetime.datetime(2016, 13, 1)",
        "datetime.datetime(2016, '1', 1)",
        "datetime.datetime(*[2016, 1, 1])",
        "datetime.datetime(2016, 1, 1, **{'hour': 1})",
        "datetime.datetime(1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(seconds=28800)))",
        "datetime.timedelta(days=10**12)",
        "datetime.timedelta(days=999999999999)",
        "datetime.sys.exit()",
        "9**9**9",
        "1 + 1",
        "1e999",
        "-1e999",
        "9223372036854775808",
        "9" * 5_000,
        "nan",
        "b'bytes'",
        "1j",
        "...",
        "not True",
        "-True",
        "a if b else c",
        "<Spider 'apples' at 0x7f>",
        "<a, 'quote', (bracket, {brace>",
        "[" * 500,
        "(" * 90_000,
        "-" * 90_000 + "1",
    ],
)
def test_what_is_no_literal_is_skipped_and_never_evaluated(text: str, tmp_path: Path) -> None:
    mark = tmp_path / "evaluated"
    body = text.replace("MARK", repr(str(mark)))
    values, _ = read_dict("{'before': 1,\n 'odd': " + body + ",\n 'after': 2}")
    assert "odd" not in values
    assert values["before"] == 1
    assert not mark.exists()


@given(st.text(alphabet="{}[]()'\"\\,:<>-.019 \nabdeimtx#\0é", max_size=300))
def test_no_text_is_too_odd(text: str) -> None:
    values, skipped = read_dict("{'a': " + text)
    assert not set(values) & set(skipped)


@pytest.mark.parametrize("unit", ["\\'", "'", "<", '"\\', "','", "'a':", "{", "[", "a."])
def test_a_million_hostile_characters_are_read_to_their_end(unit: str) -> None:
    text = "{" + unit * (MAX_TEXT // len(unit))
    nesting(text + "}", 0)
    assert read_dict(text) == ({}, ())
