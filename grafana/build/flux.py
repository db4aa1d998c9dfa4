"""A question as the text of a panel's query: what Grafana knows stands in front, the question's own file follows, steps come last.

Grafana puts text in the place of ``v.timeRangeStart``, ``v.timeRangeStop``, ``v.windowPeriod`` and ``v.defaultBucket``, and of variables
such as ``${site:regex}``. The function ``reading``, the same in each query, makes of them what the questions read: which tier, in which
windows, as :func:`scrapewatch.questions.tier_for` does for the API.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from influx.panels import STEPS, source, step_text
from influx.pasted import IN_PARAMS
from scrapewatch import histogram
from scrapewatch.measurements import KEEPING, Tier
from scrapewatch.ports import Column
from scrapewatch.questions import Question
from scrapewatch.time import SECOND

TAGS: Final = ("site", "host", "collector", "provider", "service")
"""Tags that a dashboard may have a variable for, of the same name."""

TEXTS: Final = {"session_id": "session", "currency": "currency", "competitor_price": "competitor_price"}
"""Parameters that are bound to the one value of a variable: the variable's name by theirs."""

ANY: Final = "''"
"""What stands for all values of a variable: in SQL the empty text, which ``panels.among`` takes for any, in Flux the same by this text."""

_YIELD: Final = re.compile(r'\s*\|> yield\(name: "(\w+)"\)')
_IMPORT: Final = re.compile(r'^import "[\w/]+"$', re.MULTILINE)
# Names of fields that a statement asks for: `_field == "count"`, or a pattern of names in brackets.
_PATTERN: Final = re.compile(r"/\^([^/\s]+)\$/")

# Grafana quotes what stands in a pattern such that nothing gets out of it; taken out of the pattern again it is text.
_AS_TEXT: Final = (
    'regexp.replaceAllString(r: /\\\\(.)/, v: regexp.getString(r: /^${{{name}:regex}}$/), t: "$1")'
)


def text_of(
    name: str,
    columns: Sequence[str],
    *,
    steps: Sequence[str] = (),
    variables: Iterable[str] = (),
    back: str = "",
    early: str = "",
    against: str = "",
    compared: Sequence[str] = (),
    named_by: str = "",
    whole_windows: bool = False,
) -> str:
    """The query for ``columns`` of the question or source ``name``, put through ``steps``.

    Args:
        name: a question, or a source of :data:`influx.panels.SOURCES`.
        columns: the columns that are asked for.
        steps: of :data:`influx.panels.STEPS`, in their order.
        variables: tags that are narrowed by the dashboard's variable of the same name.
        back: a length of Flux, such as ``7d``: what was that long ago, drawn as if it were now.
        early: such a length: how long before the range reading begins, for what holds until it changes.
        against: such a length: two series, ``now`` and ``before``, which is what was that long ago, drawn as if it were now.
        compared: steps for those two.
        named_by: a tag whose value becomes the name of each series.
        whole_windows: leave out the window that is not over yet, whose rate would look like a slump.

    """
    question, text = source(name)
    # Each once, those before it that it uses.
    written = dict.fromkeys(each for step in (*steps, *compared) for each in (*STEPS[step].uses, step))
    imports = sorted(
        {
            *_IMPORT.findall(text),
            *(i for step in written for i in _IMPORT.findall(step_text(step))),
            'import "strings"',
        }
    )
    texts = {p.name: p for p in question.parameters}
    if not TEXTS.keys().isdisjoint(texts):
        imports = sorted({*imports, 'import "regexp"'})
    parts = [
        "\n".join(imports),
        reading(question, whole_windows=whole_windows, early=early),
        _asking(question, _without_imports(text), columns, steps),
        *(_without_imports(step_text(step)) for step in written),
        _answer(
            "\n".join(
                [
                    "ask(params: params)",
                    *_narrowed(tag for tag in TAGS if tag in variables and tag in question.key),
                    *(f"    |> {step}(params: params)" for step in steps),
                ]
            ),
            back,
            against,
            compared,
            named_by,
        ),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _without_imports(text: str) -> str:
    return re.sub(r"\n{3,}", "\n", _IMPORT.sub("", text)).strip()


def columns_of(name: str, columns: Sequence[str], steps: Iterable[str]) -> tuple[Column, ...]:
    """The columns that come of it, without time and tags."""
    question, _ = source(name)
    known = {column.name: column for column in question.columns if column.name not in question.key}
    found: tuple[Column, ...] = tuple(known[column] for column in columns)
    for step in steps:
        found = STEPS[step].gives(found)
    return found


def reading(question: Question, *, whole_windows: bool = False, early: str = "") -> str:
    """The function that says what is read; ``back`` is how long before Grafana's range."""
    parameters = [f"        {p.name}: {_parameter(p.name)}," for p in question.parameters]
    begins = f"(start - int(v: {early})) / every * every" if early else "start / every * every"
    ends = "stop / every * every" if whole_windows else "(stop + every - 1) / every * every"
    return "\n".join(
        [
            "// Where to read and in which windows, of what Grafana asks for.",
            "reading = (back) => {",
            "    start = int(v: v.timeRangeStart) - int(v: back)",
            "    stop = int(v: v.timeRangeStop) - int(v: back)",
            "    asked = int(v: v.windowPeriod)",
            *_tier(question.tiers),
            "    every = (asked + width - 1) / width * width",
            "",
            "    return {",
            '        tier: strings.trimSuffix(v: v.defaultBucket, suffix: "fleet") + tier,',
            f"        start: time(v: {begins}),",
            f"        stop: time(v: {ends}),",
            "        every: duration(v: every),",
            *parameters,
            "    }",
            "}",
        ]
    )


def _tier(tiers: Sequence[Tier]) -> list[str]:
    """Statements that choose ``tier`` and the ``width`` of its windows: the coarsest that fits a long range, of those that keep its age."""
    if len(tiers) == 1:
        return [f'    tier = "{tiers[0]}"', f"    width = {max(KEEPING[tiers[0]].window, SECOND)}"]
    chosen = [
        "    age = int(v: now()) - start",
        "    fits = (width) => asked % width == 0 and stop - start >= 60 * width",
        "    tier =",
    ]
    widths = ["    width ="]
    for finer, tier in reversed(list(pairwise(tiers))):
        window = KEEPING[tier].window
        chosen.append(
            f'        if age > {KEEPING[finer].retention} or fits(width: {window}) then "{tier}" else'
        )
        widths.append(f'        if tier == "{tier}" then {window} else')
    chosen[-1] += f' "{tiers[0]}"'
    widths[-1] += f" {SECOND}"
    return [*chosen, *widths]


def _parameter(name: str) -> str:
    """What a parameter is bound to: the one value of its variable; those of several values narrow rows afterwards."""
    if name not in TEXTS:
        return '""'
    whole = _AS_TEXT.format(name=TEXTS[name])
    return f'strings.trimSuffix(v: strings.trimPrefix(v: {whole}, prefix: "^"), suffix: "$")'


def _asking(question: Question, text: str, columns: Sequence[str], steps: Sequence[str]) -> str:
    """The question's own text as a function of ``params``, whose results are put together."""
    for name, bound in IN_PARAMS.items():
        text = text.replace(name, bound)
    asked = {*columns, *(need for step in steps for need in STEPS[step].needs)}
    statements = _statements(text)
    kept: list[str] = []
    results: list[str] = []
    for statement in statements:
        found = _YIELD.search(statement)
        if found is None:
            kept.append(statement)
            continue
        rows = _rows(question, found[1], statement[: found.start()], asked)
        if rows is not None:
            narrowed, calls = rows
            body = narrowed.split("\n")
            # Comments stay above the statement that they are about.
            at = next(k for k, line in enumerate(body) if not line.startswith("//"))
            body[at] = f"{found[1]}_ = {body[at]}"
            kept.append("\n".join([*body, *(f"    |> {call}" for call in calls)]))
            results.append(f"{found[1]}_")
            if steps:
                kept[-1] += "\n    |> toFloat()"
    answer = results[0] if len(results) == 1 else f"union(tables: [{', '.join(results)}])"
    lines = "\n\n".join([*kept, f"return {answer}"]).split("\n")
    return "\n".join(["ask = (params) => {", *(f"    {line}" if line else "" for line in lines), "}"])


def _statements(text: str) -> list[str]:
    """The statements of a file, each with the comments above it."""
    statements: list[list[str]] = []
    for line in text.strip().split("\n"):
        begins = bool(line) and not re.match(r"\s|[})]|else\b", line)
        above = statements[-1] if statements else []
        commented = bool(above) and all(said.startswith("//") for said in above)
        if begins and not commented:
            statements.append([line])
        elif line:
            above.append(line)
    return ["\n".join(lines) for lines in statements]


def _rows(
    question: Question, result: str, statement: str, asked: Iterable[str]
) -> tuple[str, list[str]] | None:
    """The statement and the calls that give its result the form of all (``_time``, tags, ``_field``, ``_value``).

    A statement that names its fields is narrowed to those that are asked for. None where none of them is.
    """
    values = {column.name for column in question.columns if column.name not in question.key}
    by_field = _group([*(tag for tag in question.key if tag != "time"), "_field"])
    calls: list[str] = []
    named = _PATTERN.search(statement)
    wanted = [name for name in asked if named is not None and re.fullmatch(named[1], name)]
    if result in values:
        # Its field `count` fills the column that it is named after, as the store reads it; other fields have their own.
        others = [name for name in wanted if name not in (result, "count")]
        counted = result in asked
        if not counted and not others:
            return None
        if named is not None and re.fullmatch(named[1], "count"):
            statement = statement.replace(named[0], _pattern([*others, *(["count"] if counted else [])]))
        if counted:
            name = f'if r._field == "count" then "{result}" else r._field'
            calls.append(
                f"map(fn: (r) => ({{r with _field: {name}}}))"
                if others
                else f'set(key: "_field", value: "{result}")'
            )
            calls.append(by_field)
    elif named is not None:
        if not wanted:
            return None
        statement = statement.replace(named[0], _pattern(wanted))
    else:
        # The rollups keep the maximum of a gauge under <name>_max.
        calls += [
            'map(fn: (r) => ({r with _field: strings.trimSuffix(v: r._field, suffix: "_max")}))',
            f"filter(fn: (r) => r._field =~ {_pattern(asked)})",
            by_field,
        ]
    if not question.by_window:
        calls.append("map(fn: (r) => ({r with _time: time(v: r._time)}))")
    return statement, calls


def _pattern(names: Iterable[str]) -> str:
    wanted = {*names}
    shown = sorted(wanted - {*histogram.FIELDS})
    buckets = sorted(wanted & {*histogram.FIELDS})
    shown += ["h[0-9][0-9]"] if len(buckets) == len(histogram.FIELDS) else buckets
    return f"/^({'|'.join(shown)})$/"


def _group(columns: Sequence[str]) -> str:
    return "group(columns: [" + ", ".join(f'"{column}"' for column in columns) + "])"


def _narrowed(tags: Iterable[str]) -> Iterator[str]:
    for tag in tags:
        chosen = f"/^(${{{tag}:regex}})$/"
        yield f'    |> filter(fn: (r) => "{ANY}" =~ {chosen} or r.{tag} =~ {chosen})'


def _answer(rows: str, back: str, against: str, compared: Sequence[str], named_by: str) -> str:
    lines = [f"params = reading(back: {back or '0s'})", ""]
    if not against:
        lines.append(rows)
        if back:
            lines.append(f"    |> timeShift(duration: {back})")
    else:
        lines += [
            f"rows = (params) => {rows}",
            "",
            "union(",
            "    tables: [",
            '        rows(params: params) |> set(key: "_field", value: "now"),',
            f"        rows(params: reading(back: {against}))",
            f"            |> timeShift(duration: {against})",
            '            |> set(key: "_field", value: "before"),',
            "    ],",
            ")",
            '    |> group(columns: ["_field"])',
            *(f"    |> {step}(params: params)" for step in compared),
        ]
    if named_by:
        lines += ['    |> drop(columns: ["_field"])', f'    |> rename(columns: {{{named_by}: "_field"}})']
    return "\n".join(lines)
