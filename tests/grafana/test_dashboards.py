"""Dashboards keep to what people rely on: ids that stay, words at every panel, order on a phone, a way to every measurement."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest

from grafana.build.__main__ import FOLDER, files
from grafana.build.dashboard import COLUMNS, Dashboard
from grafana.build.dashboards import ALL, clicks, panels_of
from grafana.build.flux import TAGS, TEXTS
from grafana.build.panels import KINDS, Flux, Panel
from grafana.build.units import UNITS
from scrapewatch.measurements import MEASUREMENTS

ROOT = Path(__file__).parents[2]
PANELS = [
    pytest.param(dashboard, panel, id=f"{dashboard.uid}: {panel.title}")
    for dashboard in ALL
    for panel in dashboard.shown()
]

DASHBOARDS = [pytest.param(dashboard, id=dashboard.uid) for dashboard in ALL]

# What Grafana itself knows; all else is a variable of the dashboard's.
_OF_GRAFANA = re.compile(r"__\w+")
_REPLACED = re.compile(
    r"[a-zA-Z]+\.(?:bucket|organization|defaultBucket|windowPeriod|timeRangeStart|timeRangeStop)\b"
)
_VARIABLE = re.compile(r"\$\{(\w+)|\$(__\w+)")


def made(dashboard: Dashboard) -> dict[str, Any]:
    """As it is committed: what Grafana reads."""
    read: dict[str, Any] = json.loads((FOLDER / f"{dashboard.uid}.json").read_text(encoding="utf-8"))
    return read


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from strings(part)


def test_what_is_committed_is_what_would_be_made() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    assert committed == files(), "run `make dashboards`"


def test_the_check_says_which_dashboard_was_edited_by_hand() -> None:
    command = [sys.executable, "-m", "grafana.build", "--check"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_dashboards_have_addresses_and_titles_of_their_own() -> None:
    assert len({dashboard.uid for dashboard in ALL}) == len(ALL)
    assert len({dashboard.title for dashboard in ALL}) == len(ALL)
    for dashboard in ALL:
        assert re.fullmatch(r"scrapewatch-[a-z-]{1,28}", dashboard.uid)
        assert dashboard.description.endswith(".")


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_panels_have_titles_of_their_own_that_fit_a_phone(dashboard: Dashboard) -> None:
    titles = [panel.title for panel in dashboard.shown()]
    assert len(set(titles)) == len(titles)
    assert [title for title in titles if len(title) > 40] == []


@pytest.mark.parametrize(("dashboard", "panel"), PANELS)
def test_a_panel_says_what_it_shows_and_what_to_do_when_there_is_nothing(
    dashboard: Dashboard, panel: Panel
) -> None:
    assert panel.description.endswith(".")
    assert panel.empty or panel.kind == "text"


@pytest.mark.parametrize(("dashboard", "panel"), PANELS)
def test_a_panel_is_of_a_kind_that_is_part_of_grafana_and_has_a_unit_that_is(
    dashboard: Dashboard, panel: Panel
) -> None:
    assert panel.kind in KINDS
    if panel.kind != "text":
        assert panel.json(())["fieldConfig"]["defaults"]["unit"] in {*UNITS.values(), "none"} - {"string"}


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_panels_neither_overlap_nor_leave_holes_and_stand_in_the_order_in_which_a_phone_shows_them(
    dashboard: Dashboard,
) -> None:
    places = [panel["gridPos"] for panel in made(dashboard)["panels"]]
    assert places == sorted(places, key=lambda place: (place["y"], place["x"]))
    lines = [list(line) for _, line in groupby(places, key=lambda place: place["y"])]
    for line in lines:
        assert [place["x"] for place in line] == [sum(p["w"] for p in line[:k]) for k in range(len(line))]
        assert sum(place["w"] for place in line) == COLUMNS
        assert len({place["h"] for place in line}) == 1
    assert all(below[0]["y"] == line[0]["y"] + line[0]["h"] for line, below in pairwise(lines))


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_a_dashboard_uses_no_variable_that_it_does_not_have(dashboard: Dashboard) -> None:
    read = made(dashboard)
    known = {variable["name"] for variable in read["templating"]["list"]}
    assert {"series", "records", "site", "session", "search"} <= known
    used = {name or macro for text in strings(read) for name, macro in _VARIABLE.findall(text)}
    assert {name for name in used if not _OF_GRAFANA.fullmatch(name)} <= known


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_links_lead_to_dashboards_that_there_are(dashboard: Dashboard) -> None:
    led = {uid for text in strings(made(dashboard)) for uid in re.findall(r"/d/([\w-]+)", text)}
    assert led <= {other.uid for other in ALL}


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_a_dashboard_is_one_that_grafana_9_4_reads_and_later_ones_migrate(dashboard: Dashboard) -> None:
    read = made(dashboard)
    assert read["schemaVersion"] <= 37
    assert (read["id"], read["editable"], read["tags"]) == (None, False, ["scrapewatch"])
    assert "palette-classic-by-name" not in json.dumps(read)


@pytest.mark.parametrize(("dashboard", "panel"), PANELS)
def test_grafana_replaces_nothing_within_a_query_but_what_is_meant(
    dashboard: Dashboard, panel: Panel
) -> None:
    for target in panel.targets:
        if isinstance(target, Flux):
            text = target.text(dashboard.all_variables)
            replaced = set(_REPLACED.findall(text))
            assert replaced == {"v.timeRangeStart", "v.timeRangeStop", "v.windowPeriod", "v.defaultBucket"}
            assert "[[" not in text


@pytest.mark.parametrize(("dashboard", "panel"), PANELS)
def test_variables_stand_in_flux_as_patterns_alone(dashboard: Dashboard, panel: Panel) -> None:
    for target in panel.targets:
        if isinstance(target, Flux):
            text = target.text(dashboard.all_variables)
            assert set(re.findall(r"\$\{[^}]*\}", text)) <= {
                f"${{{name}:regex}}" for name in (*TAGS, *TEXTS.values())
            }
            for found in re.finditer(r"\$\{[^}]*\}", text):
                assert re.search(r"/\^\(?$", text[: found.start()])
                assert re.match(r"\)?\$/", text[found.end() :])


@pytest.mark.parametrize("measurement", MEASUREMENTS)
def test_every_measurement_is_less_than_three_clicks_from_the_overview(measurement: str) -> None:
    assert min((clicks(dashboard) for dashboard, _ in panels_of(measurement)), default=3) < 3
