"""What panels ask beyond the questions: more to read (:data:`SOURCES`), and what is computed of the rows that come (:data:`STEPS`).

A source is a file ``influx/panels/<name>.flux`` of the same form as those of the questions: it reads ``params`` and ``v`` and yields
columns. A step is a file ``influx/panels/steps/<name>.flux`` with one function of that name, which takes the rows (``_time``, the tags,
``_field``, ``_value`` as a float) and ``params`` and answers rows of the same form; panels put steps in a row. What a step computes is what
:mod:`scrapewatch.answers` computes, and tests hold them together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from scrapewatch import histogram
from scrapewatch.measurements import MEASUREMENTS
from scrapewatch.ports import Column
from scrapewatch.questions import QUESTIONS, Parameter, Question

FOLDER = Path(__file__).parent

_BY_SITE = QUESTIONS["throughput"].parameters
_BY_HOST = QUESTIONS["resources"].parameters
_BY_SESSION = QUESTIONS["session_metrics"].parameters
_TIME, _SITE = QUESTIONS["throughput"].columns[:2]
_HOST = QUESTIONS["resources"].columns[1]
_FLEET = QUESTIONS["throughput"].tiers
_SESSIONS = QUESTIONS["session_metrics"].tiers


def _fields(measurement: str, *names: str) -> tuple[Column, ...]:
    """The fields of a measurement as columns: floats, since they are means or come of rollups."""
    fields = (MEASUREMENTS[measurement].field(name) for name in names)
    return tuple(Column(f.name, "float", f.unit, f.description) for f in fields)


def _tag(measurement: str, name: str) -> Column:
    [tag] = [tag for tag in MEASUREMENTS[measurement].tags if tag.name == name]
    return Column(tag.name, "string", "", tag.description)


_SOURCES = (
    Question(
        "breaker_openings",
        "When circuit breakers opened.",
        _BY_SITE,
        (_TIME, _SITE, *_fields("breakers", "opened")),
        ("time", "site"),
        _FLEET,
    ),
    Question(
        "site_runs",
        "Attempts at sites.",
        _BY_SITE,
        (
            _TIME,
            _SITE,
            *_fields("site_runs", "started", "succeeded", "failed", "duration_sum", "duration_max"),
        ),
        ("time", "site"),
        _FLEET,
    ),
    Question(
        "session_changes",
        "Changes of the state of sessions.",
        (),
        (_TIME, _tag("session_states", "state"), *_fields("session_states", "count")),
        ("time", "state"),
        _FLEET,
    ),
    Question(
        "session_response_times",
        "How long the pages of a session took, as a histogram.",
        _BY_SESSION,
        (_TIME, _SITE, *_fields("pages", "duration_count", "duration_sum", *histogram.FIELDS)),
        ("time", "site"),
        _SESSIONS,
    ),
    Question(
        "session_resources",
        "Resources of a session's own process.",
        _BY_SESSION,
        (_TIME, *_fields("resources", "memory_mb", "cpu_percent", "threads", "open_files")),
        ("time",),
        _SESSIONS,
    ),
    Question(
        "session_queue",
        "A session's queue and its scrapers at work.",
        _BY_SESSION,
        (_TIME, _SITE, *_fields("queue", "depth", "pending", "active_scrapers")),
        ("time", "site"),
        _SESSIONS,
    ),
    Question(
        "session_steps",
        "How far a session is at each site.",
        _BY_SESSION,
        (_TIME, _SITE, *_fields("progress", "done", "total")),
        ("time", "site"),
        _SESSIONS,
    ),
    Question(
        "custom",
        "Figures of the users' own.",
        (),
        (_TIME, *(_tag("custom", name) for name in ("name", "unit", "labels")), *_fields("custom", "value")),
        ("time", "name", "unit", "labels"),
        _FLEET,
    ),
    Question(
        "cores",
        "Use of each core of the machines.",
        _BY_HOST,
        (_TIME, _HOST, _tag("host_cores", "core"), *_fields("host_cores", "cpu_percent")),
        ("time", "host", "core"),
        _FLEET,
    ),
    Question(
        "machines",
        "Memory, load and disks of the machines, and what of it is scrapewatch's own.",
        _BY_HOST,
        (
            _TIME,
            _HOST,
            *_fields("host", "memory_total", "memory_available", "swap_total", "load_1", "load_5", "load_15"),
            *_fields(
                "host", "process_memory", "process_cpu_percent", "disk_read_bytes", "disk_written_bytes"
            ),
        ),
        ("time", "host"),
        _FLEET,
    ),
    Question(
        "network",
        "Bytes through each network interface of the machines.",
        _BY_HOST,
        (
            _TIME,
            _HOST,
            _tag("host_network", "interface"),
            *_fields("host_network", "sent_bytes", "received_bytes"),
        ),
        ("time", "host", "interface"),
        _FLEET,
    ),
)

_IN_CURRENCY = (
    *_BY_SITE,
    Parameter("currency", None, "the user's own currency: no other is counted"),
    Parameter("competitor_price", "", "what a competitor takes for 1,000 results"),
)
_ECONOMICS = (
    Question(
        "economics",
        "What each site cost in one currency in the whole range, and what came of it.",
        _IN_CURRENCY,
        (
            _TIME,
            _SITE,
            Column("own", "float", "currency", "what was reported for the site"),
            Column(
                "shared", "float", "currency", "its part of what was reported for none, by its share of pages"
            ),
            Column("results", "float", "1", "postings stored: neither duplicate nor dropped nor invalid"),
        ),
        ("time", "site"),
        _FLEET,
        by_window=False,
    ),
    Question(
        "spending",
        "What scraping cost in one currency, and the valid results.",
        _IN_CURRENCY[:-1],
        (
            _TIME,
            _SITE,
            Column("amount", "float", "currency", "spent"),
            Column("saved", "float", "1", "postings stored"),
        ),
        ("time", "site"),
        _FLEET,
    ),
)

SOURCES = MappingProxyType({source.name: source for source in (*_SOURCES, *_ECONOMICS)})
"""What only panels read, by name."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a step makes: ``gives`` says its columns of those that come.

    ``needs`` are fields that must come, ``uses`` are other steps whose functions it calls. ``file`` names that of its text: all that sum
    by a ``tag`` have one, and so have all that make a ``share`` of the two fields that they need, the whole and its part.
    """

    name: str
    description: str
    gives: Callable[[Sequence[Column]], tuple[Column, ...]]
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    tag: str = ""
    share: bool = False

    @property
    def file(self) -> str:
        """The name of the file with its text, without the suffix."""
        return "by_tag" if self.tag else "share" if self.share else self.name


def _as_they_come(columns: Sequence[Column]) -> tuple[Column, ...]:
    return tuple(columns)


def _per_second(columns: Sequence[Column]) -> tuple[Column, ...]:
    return tuple(
        replace(c, type="float", unit=f"{c.unit}/s", description=f"{c.description}, a second")
        for c in columns
    )


def _per_minute(columns: Sequence[Column]) -> tuple[Column, ...]:
    return tuple(
        replace(c, type="float", unit="1/min", description=f"{c.description}, a minute") for c in columns
    )


def _one(name: str, unit: str, description: str) -> Callable[[Sequence[Column]], tuple[Column, ...]]:
    return lambda columns: (Column(name, "float", unit, description),)


def _quality(columns: Sequence[Column]) -> tuple[Column, ...]:
    return (
        Column("items", "float", "1", "items that were looked at"),
        Column("valid_share", "float", "share", "share of them that were valid"),
        Column("duplicate_share", "float", "share", "share of them that were seen before"),
    )


def _means(columns: Sequence[Column]) -> tuple[Column, ...]:
    return tuple(
        Column(c.name.removesuffix("_sum"), "float", c.unit, f"mean of what was added up: {c.description}")
        for c in columns
        if c.name.endswith("_sum")
    )


_QUANTILES = tuple(
    Column(f"p{round(100 * q)}", "float", "s", f"{100 * q:g} % took no longer") for q in (0.5, 0.95, 0.99)
)

_STEPS = (
    Step("together", "All tags together: the sum of each field.", _as_they_come),
    Step("per_second", "Sums as rates a second.", _per_second),
    Step("running", "Sums as they grow from the beginning of the range.", _as_they_come),
    Step(
        "change",
        "By how much now is more than before.",
        _one("change", "percent", "by how much it is more than before"),
    ),
    Step("gaps", "Nothing in each window in which nothing came.", _as_they_come),
    Step("titled", "Figures of the users' own by what they are called.", lambda columns: ()),
    Step("by_process", "The machines together, by the name of processes.", _as_they_come, tag="process"),
    Step("busiest", "The 15 sessions whose sum is greatest.", _as_they_come),
    Step(
        "open_breakers",
        "How many breakers are open by the latest row of each site.",
        _one("open", "1", "circuit breakers that are open"),
        needs=("state",),
    ),
    Step(
        "uptime",
        "Share of checks that found a service up.",
        _one("uptime", "share", "share of checks that found it up"),
        needs=("checks", "up"),
        share=True,
    ),
    Step(
        "mean_time",
        "Mean time of a page.",
        _one("mean_time", "s", "mean time of a page"),
        needs=("duration_count", "duration_sum"),
    ),
    Step(
        "heatmap",
        "A histogram as a heatmap reads it: a column for each bucket, named by its upper edge in seconds.",
        lambda columns: (),
        needs=histogram.FIELDS,
    ),
    Step(
        "used_memory",
        "Memory that is in use.",
        _one("used_memory", "By", "memory that is in use"),
        needs=("memory_total", "memory_available"),
    ),
    Step(
        "cost_by_site",
        "A row for each site: its cost, its valid results, and the cost of 1,000 of these.",
        lambda columns: (
            Column("cost", "float", "currency", "all it cost"),
            Column("own", "float", "currency", "what was reported for the site"),
            Column("shared", "float", "currency", "its part of what was reported for none"),
            Column("results", "float", "1", "postings stored"),
            Column("cost_per_1000", "float", "currency", "cost of 1,000 valid results"),
        ),
        needs=("own", "shared", "results"),
    ),
    Step(
        "economics",
        "All sites together, against what a competitor would take.",
        lambda columns: (
            Column("spent", "float", "currency", "spent"),
            Column("results", "float", "1", "postings stored"),
            Column("cost_per_1000", "float", "currency", "cost of 1,000 of these"),
            Column("competitor", "float", "currency", "what a competitor would take for as many"),
            Column("saved", "float", "currency", "that price less what they cost"),
            Column("saved_share", "float", "share", "share of that price that is saved"),
        ),
    ),
    Step("priced", "Only where a competitor's price is given.", _as_they_come),
    Step(
        "cost_per_1000",
        "What 1,000 valid results cost.",
        _one("cost_per_1000", "currency", "cost of 1,000 valid results"),
        needs=("amount", "saved"),
    ),
    Step(
        "counted_once",
        "Costs without what proxies say that they cost, where costs of the kind `proxy` were reported.",
        _as_they_come,
    ),
    Step("by_kind", "The sites together, by what the money went for.", _as_they_come, tag="kind"),
    Step("by_field", "The sites together, by field of a posting.", _as_they_come, tag="field"),
    Step(
        "valid_share",
        "Share of items that were valid.",
        _one("valid_share", "share", "share of items that were valid"),
        needs=("items", "valid"),
        share=True,
    ),
    Step(
        "duplicate_share",
        "Share of items that were seen before.",
        _one("duplicate_share", "share", "share of items that were seen before"),
        needs=("items", "duplicates"),
        share=True,
    ),
    Step(
        "coverage",
        "Share of items that have a field filled.",
        _one("coverage", "share", "share of items that have the field filled"),
        needs=("items", "covered"),
        share=True,
    ),
    Step(
        "quality",
        "Items of the whole range, and the shares that were valid and seen before.",
        _quality,
        needs=("items", "valid", "duplicates"),
    ),
    Step(
        "quality_table",
        "The same, a row for each site.",
        _quality,
        needs=("items", "valid", "duplicates"),
    ),
    Step(
        "coverage_rows",
        "A row for each field of a posting.",
        _one("coverage", "share", "share of items that have the field filled"),
        needs=("items", "covered"),
    ),
    Step(
        "coverage_table",
        "A row for each site, and a column for each field of a posting.",
        lambda columns: (),
        needs=("items", "covered"),
    ),
    Step("as_marks", "Rows as marks over time.", _one("text", "", "what happened")),
    Step("by_type", "The sites together, by type of error.", _as_they_come, tag="type"),
    Step("by_site", "Each site by itself, whatever else tells its rows apart.", _as_they_come, tag="site"),
    Step("by_core", "Cores as rows of a heatmap: a column for each.", lambda columns: ()),
    Step("dense", "Zero in each window in which nothing came.", _as_they_come),
    Step("per_minute", "Counts as rates a minute.", _per_minute),
    Step(
        "success_rate",
        "Share of attempts that brought a good page.",
        _one("success_rate", "share", "share of attempts that brought a good page"),
        needs=("pages", "ok", "errors"),
    ),
    Step("total", "The sum of each series over the whole range.", _as_they_come),
    Step("worst", "The highest of all series of a field.", _as_they_come),
    Step(
        "now_and_change",
        "A figure of the range, and by how much it is more than before.",
        lambda columns: (
            replace(columns[0], name="now"),
            Column("than_before", "float", "percent", "by how much it is more than before"),
        ),
    ),
    Step("means", "Of each pair <name>_sum and <name>_count the mean, as <name>.", _means),
    Step(
        "quantiles",
        "The times that half, 95 % and 99 % did not exceed, of a histogram.",
        lambda columns: _QUANTILES,
        needs=histogram.FIELDS,
    ),
    Step("p95", "Of the quantiles the one that 95 % did not exceed.", lambda columns: _QUANTILES[1:2]),
    Step(
        "block_share",
        "Share of pages that were blocked.",
        _one("block_share", "share", "share of pages that were a block, captcha or consent wall"),
        needs=("pages", "blocked"),
        share=True,
    ),
    Step(
        "failed_share",
        "Share of attempts that ended badly.",
        _one("failed_share", "share", "share of the attempts that ended badly, of those that ended"),
        needs=("succeeded", "failed"),
    ),
    Step(
        "good_share",
        "Share of requests that did not fail.",
        _one("good_share", "share", "share of requests that did not fail"),
        needs=("requests", "failures"),
    ),
    Step(
        "ban_share",
        "Share of requests after which the proxy was banned.",
        _one("ban_share", "share", "share of requests after which the proxy was banned"),
        needs=("requests", "bans"),
        share=True,
    ),
    Step(
        "cost_of_thousand",
        "What 1,000 requests that did not fail cost.",
        _one("cost_of_thousand", "currency", "cost of 1,000 requests that did not fail"),
        needs=("requests", "failures", "cost"),
    ),
    Step("by_provider", "The proxies of each provider together.", _as_they_come, tag="provider"),
    Step(
        "site_table",
        "A row for each site.",
        lambda columns: (
            Column("scraped", "float", "1", "postings found"),
            Column("pages", "float", "1", "pages processed"),
            Column("success_rate", "float", "share", "share of attempts that brought a good page"),
            Column("block_share", "float", "share", "share of pages that were blocked"),
            Column("mean_time", "float", "s", "mean time of a page"),
            Column("p95", "float", "s", "95 % of pages took no longer"),
            Column("duration_max", "float", "s", "the slowest page"),
            Column("errors", "float", "1", "errors reported"),
        ),
        needs=tuple(column.name for column in QUESTIONS["site_totals"].columns[2:]),
        uses=("quantiles",),
    ),
    Step(
        "proxy_table",
        "A row for each proxy.",
        lambda columns: (
            Column("requests", "float", "1", "requests"),
            Column("good_share", "float", "share", "share of requests that did not fail"),
            Column("ban_share", "float", "share", "share of requests after which it was banned"),
            Column("latency", "float", "s", "mean latency"),
            Column("latency_max", "float", "s", "highest latency"),
            Column("bytes", "float", "By", "bytes carried"),
            Column("cost", "float", "currency", "cost"),
            Column("cost_of_thousand", "float", "currency", "cost of 1,000 requests that did not fail"),
        ),
        needs=tuple(column.name for column in QUESTIONS["proxies"].columns[3:]),
    ),
    Step("error_table", "A row for each site, a column for each type of error.", lambda columns: ()),
    Step(
        "distribution",
        "A row for each bucket of a histogram.",
        _one("pages", "1", "pages that took as long"),
        needs=histogram.FIELDS,
    ),
    Step("week", "The hours of many days as those of one week.", _as_they_come),
    Step(
        "week_table", "A week as a table: a row for each hour, a column for each weekday.", lambda columns: ()
    ),
)

STEPS = MappingProxyType({step.name: step for step in _STEPS})
"""What is computed of rows, by name."""


def source(name: str) -> tuple[Question, str]:
    """The question or source of that name, and its text in Flux.

    Raises:
        KeyError: there is none.

    """
    known = SOURCES.get(name)
    if known is not None:
        return known, (FOLDER / f"{name}.flux").read_text(encoding="utf-8")
    return QUESTIONS[name], (FOLDER.parent / "flux" / f"{name}.flux").read_text(encoding="utf-8")


def step_text(name: str) -> str:
    """The text of a step in Flux."""
    step = STEPS[name]
    text = (FOLDER / "steps" / f"{step.file}.flux").read_text(encoding="utf-8")
    if step.tag:
        return text.replace("by_tag", name).replace('"tag"', f'"{step.tag}"')
    if step.share:
        whole, part = step.needs
        meant = {"share": name, "whole": whole, "part": part}
        return re.sub(r"\b(share|whole|part)\b", lambda word: meant[word[0]], text)
    return text
