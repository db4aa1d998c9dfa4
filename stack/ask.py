"""``scrapewatch ask``: a question to a running stack over HTTP, or straight to InfluxDB where the settings name one."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import urllib3
from rich.table import Table as Shown

from scrapewatch import __version__
from scrapewatch.answers import ask, bind
from scrapewatch.ports import DEFAULT_TENANT, TimeRange
from scrapewatch.problems import ConfigurationError, InvalidInput, StoreUnavailable
from scrapewatch.questions import QUESTIONS, tier_for
from scrapewatch.settings import Settings
from scrapewatch.time import now_ns, to_rfc3339
from stack.stores import open_series
from stack.terminal import plain, printable

FORMATS: Final = ("table", "json", "csv")

_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Asking:
    """A question with its parameters, and the range of time that it is about."""

    question: str
    parameters: Mapping[str, str]
    time_range: TimeRange


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of an answer, with times as RFC 3339, and the names and units of their columns."""

    columns: Sequence[tuple[str, str]]
    rows: Sequence[Mapping[str, Any]]


def parameters_of(given: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` each.

    Raises:
        InvalidInput: one is not of that form.
    """
    found: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals:
            raise InvalidInput(f"{printable(each)!r} is no parameter: write NAME=VALUE, such as site=indeed")
        found[name] = value
    return found


def of_stores(asking: Asking, chosen: Settings) -> Answer:
    """The answer of the InfluxDB that the settings name.

    Raises:
        InvalidInput: there is no such question, or it has other parameters.
        StoreUnavailable: InfluxDB does not answer.
    """
    series = open_series(chosen, writes=False)
    try:
        table = ask(series, asking.question, asking.parameters, asking.time_range, tenant=DEFAULT_TENANT)
    finally:
        series.close()
    rows = list(table.dicts())
    for row in rows:
        row["time"] = to_rfc3339(row["time"])
    return Answer([(column.name, column.unit) for column in table.columns], rows)


def over_http(asking: Asking, url: str, api_key: str | None) -> Answer:
    """The answer of the stack at ``url``.

    Raises:
        InvalidInput: it refuses the question.
        StoreUnavailable: it, or its store, does not answer.
    """
    bind(asking.question, asking.parameters)  # what is wrong is said best where it is known
    headers = {"User-Agent": f"scrapewatch/{__version__}"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    time_range = asking.time_range
    fields = {
        **asking.parameters,
        "from": to_rfc3339(time_range.start),
        "to": to_rfc3339(time_range.stop),
        "every": f"{time_range.every // 1_000_000_000}s",
    }
    address = f"{url.rstrip('/')}/api/v1/monitoring/questions/{quote(asking.question, safe='')}"
    try:
        answer = urllib3.request(
            "GET", address, fields=fields, headers=headers, timeout=_SECONDS, retries=False
        )
        body = answer.json()
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        raise StoreUnavailable(f"no scrapewatch answers at {url}: start one with `scrapewatch up`") from error
    if answer.status != 200:
        detail = str(body.get("detail") or body.get("title")) if isinstance(body, dict) else ""
        kind = StoreUnavailable if answer.status >= 500 or answer.status == 429 else InvalidInput
        raise kind(f"{url} answered {answer.status}: {printable(detail)}")
    return Answer([(column["name"], column["unit"]) for column in body["columns"]], body["items"])


def as_flux(asking: Asking) -> str:
    """The question in Flux, with all that it needs in it.

    Raises:
        InvalidInput: there is no such question, or it has other parameters.
    """
    from influx.pasted import flux_of

    bound = bind(asking.question, asking.parameters)
    tier = tier_for(QUESTIONS[asking.question], asking.time_range, now_ns())
    return flux_of(asking.question, bound, asking.time_range, tier=tier, tenant=DEFAULT_TENANT)


def as_json(answer: Answer) -> str:
    """The rows as a JSON array, a row a line."""
    lines = [json.dumps(row, ensure_ascii=False) for row in answer.rows]
    return "[\n" + ",\n".join(lines) + "\n]" if lines else "[]"


def as_csv(answer: Answer) -> str:
    """The rows as CSV with a header. What a spreadsheet would take for a formula is a text in it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([name for name, _ in answer.columns])
    for row in answer.rows:
        writer.writerow([_cell(row[name]) for name, _ in answer.columns])
    return out.getvalue().rstrip("\n")


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return "" if value is None else value


def as_table(answer: Answer, title: str) -> Shown:
    """The rows for people; columns that are empty in all of them are left out."""
    shown = Shown(title=plain(title), title_justify="left")
    wide = [
        (name, unit)
        for name, unit in answer.columns
        if name == "time" or any(row[name] not in (None, "") for row in answer.rows)
    ]
    for name, unit in wide:
        shown.add_column(f"{name} ({unit})" if unit not in ("", "1", "ns") else name, overflow="fold")
    for row in answer.rows:
        shown.add_row(*(plain(_text(row[name])) for name, _ in wide))
    return shown


def _text(value: Any) -> str:
    if value is None:
        return ""
    return (
        f"{value:,.4g}"
        if isinstance(value, float)
        else printable(f"{value:,}" if isinstance(value, int) else value)
    )


def settle(chosen: Settings, url: str | None) -> str | None:
    """The URL to ask at; None where the settings name an InfluxDB, which is asked straight away."""
    if url is not None:
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError("the URL of a stack begins with http:// or https://")
        return url
    if chosen.influx_url is not None and chosen.influx_token is not None:
        return None
    from stack.parts import url_of

    return url_of(chosen.host, chosen.port)
