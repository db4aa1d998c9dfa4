"""The files that Grafana reads when it starts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from grafana.wanted import DASHBOARDS, HOME, dashboards_in
from scrapewatch.settings import BARE, PREFIX, Settings
from tests.grafana import schemas

ROOT = Path(__file__).parents[2]
PROVISIONING = ROOT / "grafana" / "provisioning"
SCHEMAS = {"datasources": schemas.DATA_SOURCES, "dashboards": schemas.DASHBOARDS}
FILES = [file for kind in SCHEMAS for file in sorted((PROVISIONING / kind).iterdir())]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
OF_COMPOSE: dict[str, str] = COMPOSE["services"]["grafana"]["environment"]
OF_ITS_OWN = dict(
    line.split("=", 1)
    for line in (ROOT / "grafana" / "provisioning.env").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
)

VARIABLE = re.compile(r"\$\{(\w+)\}")


def variables(file: Path) -> set[str]:
    text = re.sub(r"^\s*#.*$", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = set(VARIABLE.findall(text))
    assert text.count("$") == len(VARIABLE.findall(text)), "Grafana would put something else in"
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_a_file_is_what_grafana_reads(file: Path) -> None:
    schema = SCHEMAS[file.parent.name]
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(file.read_text(encoding="utf-8")), schema)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("datasources", {"isdefault": True}),
        ("datasources", {"uid": "with spaces"}),
        ("datasources", {"jsonData": {"version": "InfluxQL", "organization": "o", "defaultBucket": "b"}}),
        ("dashboards", {"folderUID": "scrapewatch"}),
        ("dashboards", {"options": {}}),
    ],
)
def test_what_grafana_would_pass_over_or_refuse_is_no_file_of_ours(
    kind: str, changes: dict[str, Any]
) -> None:
    file = yaml.safe_load((PROVISIONING / kind / "scrapewatch.yaml").read_text(encoding="utf-8"))
    entries = file.get("datasources") or file["providers"]
    entries[0] |= changes
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(file, SCHEMAS[kind])


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_every_variable_is_a_setting_that_each_environment_of_a_grafana_sets(file: Path) -> None:
    known = {name.upper() for name in Settings.model_fields}
    for name in variables(file):
        assert name in BARE or name.removeprefix(PREFIX) in known
        assert OF_COMPOSE[name]
        assert OF_ITS_OWN[name]


def test_no_environment_of_a_grafana_sets_what_nothing_reads() -> None:
    read = {name for file in FILES for name in variables(file)}
    for environment in (OF_COMPOSE, OF_ITS_OWN):
        assert {name for name in environment if not name.startswith("GF_")} == read


def test_secrets_are_read_from_files_by_grafana_itself() -> None:
    for environment in (OF_COMPOSE, OF_ITS_OWN):
        for name, value in environment.items():
            if re.search("_TOKEN$|_PASSWORD$", name):
                # In the file of compose a dollar is written twice.
                assert re.fullmatch(r"\$\$?__file\{/[\w./]+\}", value), name


def test_grafana_begins_with_the_overview() -> None:
    for environment in (OF_COMPOSE, OF_ITS_OWN):
        home = Path(environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
        assert str(home.parent) == environment["SCRAPEWATCH_GRAFANA_DASHBOARDS"]
        if any(DASHBOARDS.glob("*.json")):
            dashboard = dashboards_in(DASHBOARDS)[HOME]
            assert dashboard["uid"] == HOME
            assert (DASHBOARDS / home.name).is_file()


def test_the_sources_are_marked_as_nobodys_default_and_read_only() -> None:
    for source in yaml.safe_load((PROVISIONING / "datasources" / "scrapewatch.yaml").read_text("utf-8"))[
        "datasources"
    ]:
        assert source["isDefault"] is False
        assert source["editable"] is False
