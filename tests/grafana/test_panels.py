"""Every panel, variable and annotation answers, on stores with two months of history and on empty ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from scrapewatch.line_protocol import tag_value
from scrapewatch.time import DAY, HOUR, MINUTE
from tests.grafana.asking import (
    Asker,
    Query,
    choices_in,
    panels_of,
    queries_of_annotations,
    queries_of_panel,
    queries_of_variables,
)
from tests.grafana.conftest import Stores
from tests.grafana.expansion import Variable
from tests.grafana.flux_source import FluxSource, QueryError
from tests.grafana.frames import Frame, rows
from tests.grafana.history import DONE, EARLIER, HOSTILE, OURS, PLAIN, SITES
from tests.grafana.showing import fields_needed, labels_needed, transformed

FOLDER: Final = Path(__file__).parents[2] / "grafana" / "dashboards"
DASHBOARDS: Final = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))
}
PANELS: Final = {
    f"{name}: {panel['title']}": (dashboard, panel)
    for name, dashboard in DASHBOARDS.items()
    for panel in panels_of(dashboard)
    if queries_of_panel(dashboard, panel)
}

# What a person would write into text boxes.
WRITTEN: Final = {"company": OURS, "competitor_price": "3", "monthly_return": "900", "investment": "4000"}
# What is chosen, and how long a range: each tier is read by one of them.
CHOICES: Final[Mapping[str, tuple[Mapping[str, str | Sequence[str]], int]]] = {
    "one site, six hours": ({"site": SITES[0], "session": DONE}, 6 * HOUR),
    "two sites, a quarter of an hour": ({"site": SITES[:2], "session": DONE}, 15 * MINUTE),
    "all sites, seven days": ({"session": EARLIER}, 7 * DAY),
    "all sites, thirty days": ({"session": EARLIER}, 30 * DAY),
}

COMPLETE: Final = "all sites, seven days"
"""The choice for which every field comes that a panel knows."""


@pytest.fixture(scope="session")
def asker(stores: Stores) -> Iterator[Asker]:
    yield from _asker(stores)


@pytest.fixture(scope="session")
def empty_asker(empty_stores: Stores) -> Iterator[Asker]:
    yield from _asker(empty_stores)


def _asker(stores: Stores) -> Iterator[Asker]:
    flux = FluxSource(stores.influx_url, stores.org, stores.token)
    with psycopg.connect(stores.reader_url, autocommit=True) as records:
        yield Asker(flux, records)
    flux.close()


@pytest.fixture(scope="session")
def chosen(asker: Asker, stores: Stores) -> dict[tuple[str, str], dict[str, Variable]]:
    """The variables of each dashboard for each of the choices: asked for once."""
    return {
        (name, choice): asker.variables(dashboard, {**WRITTEN, **choices}, stores.now - length, stores.now)
        for name, dashboard in DASHBOARDS.items()
        for choice, (choices, length) in CHOICES.items()
    }


def test_there_are_dashboards() -> None:
    assert DASHBOARDS


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("title", PANELS)
def test_a_panel_has_rows(
    title: str, choice: str, asker: Asker, stores: Stores, chosen: Mapping[tuple[str, str], Any]
) -> None:
    dashboard, panel = PANELS[title]
    variables = chosen[dashboard["uid"], choice]
    found: list[Frame] = []
    for query in queries_of_panel(dashboard, panel):
        frames = asker.ask(query, variables, stores.now - CHOICES[choice][1], stores.now)
        # In the first hours of a day there may be nothing since midnight.
        assert rows(frames) or (query.since == "now/d" and stores.now % DAY < 3 * HOUR), query
        found += frames
    if choice == COMPLETE:
        shown = {name for frame in transformed(found, panel.get("transformations", ())) for name in frame}
        assert fields_needed(panel) <= shown
        assert labels_needed(panel) <= {
            label for frame in found for each in frame.fields for label in each.labels
        }


@pytest.mark.parametrize("name", DASHBOARDS)
def test_variables_offer_something_and_annotations_mark_something(
    name: str, asker: Asker, stores: Stores, chosen: Mapping[tuple[str, str], Any]
) -> None:
    dashboard = DASHBOARDS[name]
    variables = chosen[name, "all sites, seven days"]
    start = stores.now - 7 * DAY
    for query in queries_of_variables(dashboard).values():
        frames = asker.ask(query, variables, start, stores.now)
        assert choices_in(frames), query
        assert len(frames) == 1, f"{query}: Grafana offers the first table alone"
    for query in queries_of_annotations(dashboard):
        frames = asker.ask(query, variables, start, stores.now)
        assert rows(frames), query
        names = {field.name.lower() for frame in frames for field in frame.fields}
        assert {"time", "text", "tags"} <= {known.removeprefix("_") for known in names}, query


@pytest.mark.parametrize("name", DASHBOARDS)
def test_nothing_is_an_error_on_empty_stores(name: str, empty_asker: Asker, empty_stores: Stores) -> None:
    dashboard, now = DASHBOARDS[name], empty_stores.now
    queries = [query for panel in panels_of(dashboard) for query in queries_of_panel(dashboard, panel)]
    for length in (15 * MINUTE, 30 * DAY):
        variables = empty_asker.variables(dashboard, {}, now - length, now)
        for query in (*queries, *queries_of_annotations(dashboard)):
            empty_asker.ask(query, variables, now - length, now)


def _kinds_of_use() -> dict[str, Query]:
    """A query for each way in which the variable of sites is used: the lines that it stands in tell them apart."""
    found: dict[str, Query] = {}
    for dashboard, panel in PANELS.values():
        for query in queries_of_panel(dashboard, panel):
            used = [line.strip() for line in query.text.splitlines() if "site" in line and "${site" in line]
            if used:
                found.setdefault("\n".join(used), query)
    return found


USES: Final = {str(query): query for query in _kinds_of_use().values()}


@pytest.mark.parametrize("use", USES)
def test_a_site_of_any_name_is_matched_literally_or_not_at_all(
    use: str, asker: Asker, stores: Stores, chosen: Mapping[tuple[str, str], Any]
) -> None:
    query = USES[use]
    variables = chosen[query.dashboard, "two sites, a quarter of an hour"]

    def shown(name: str) -> list[Any]:
        one = {**variables, "site": Variable([name], SITES, multi=True, include_all=True)}
        frames = asker.ask(query, one, stores.now - 2 * HOUR, stores.now)
        return _without(frames, name)

    plain, nothing = shown(PLAIN), shown("no-such-site")
    for name in (*HOSTILE, tag_value("back\\slash\\")):
        assert shown(name) in (plain, nothing), name


@pytest.mark.parametrize("name", ("$__interval", "$__timeFilter(x)", "$__timeGroup(x,'1h')", "${__from}"))
@pytest.mark.parametrize("use", USES)
def test_a_macro_as_the_name_of_a_site_brings_nothing(
    use: str, name: str, asker: Asker, stores: Stores, chosen: Mapping[tuple[str, str], Any]
) -> None:
    query = USES[use]
    variables = chosen[query.dashboard, "two sites, a quarter of an hour"]
    start = stores.now - 2 * HOUR

    def shown(site: str) -> list[Any]:
        one = {**variables, "site": Variable([site], SITES, multi=True, include_all=True)}
        return _without(asker.ask(query, one, start, stores.now), site)

    try:
        found = shown(name)
    except QueryError:
        return
    assert found == shown("no-such-site")


def _without(frames: list[Frame], name: str) -> list[Any]:
    """All that is in frames, in an order of its own, with the name of the site put out of it, and all names out of what says several."""
    others = sorted({PLAIN, name, *HOSTILE, *map(tag_value, HOSTILE)}, key=len, reverse=True)

    def neutral(value: Any) -> str:
        text = str(value)
        if text in (name, tag_value(name)):
            return "<site>"
        if text not in others:
            for other in others:
                text = text.replace(other, "<a site>")
        return text

    return sorted(
        [
            neutral(field.name),
            sorted((label, neutral(value)) for label, value in field.labels.items()),
            sorted(map(neutral, field.values)),
        ]
        for frame in frames
        for field in frame.fields
    )
