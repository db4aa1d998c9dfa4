"""What a Grafana should have, read from the files that Grafana itself would read: ``dashboards/*.json`` and ``provisioning/``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import SecretStr

from scrapewatch.problems import ConfigurationError
from scrapewatch.settings import BARE, PREFIX, Settings

FOLDER: Final = "scrapewatch"
"""Title and uid of the folder of the dashboards."""

UIDS: Final = "scrapewatch-"
"""What the uid of each dashboard and data source of ours begins with."""

HOME: Final = "scrapewatch-overview"
"""The uid of the dashboard to begin with."""

DASHBOARDS: Final = Path(__file__).parent / "dashboards"
SOURCES: Final = Path(__file__).parent / "provisioning" / "datasources" / "scrapewatch.yaml"

_UID: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")
_VARIABLE: Final = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Source:
    """A data source, with its ``secrets`` by themselves: Grafana takes them and never shows them.

    ``missing`` are the settings that it lacks; with any it is left as it is.
    """

    uid: str
    name: str
    fields: Mapping[str, Any]
    json_data: Mapping[str, Any]
    secrets: Mapping[str, str]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """The data sources, and the dashboards by their uids."""

    sources: tuple[Source, ...]
    dashboards: Mapping[str, Mapping[str, Any]]


def wanted(settings: Settings) -> Wanted:
    """All of it, as ``settings`` have it.

    Raises:
        ConfigurationError: a file is missing, or is not what it should be.

    """
    return Wanted(sources_in(SOURCES, settings), dashboards_in(settings.grafana_dashboards or DASHBOARDS))


def dashboards_in(folder: Path) -> dict[str, dict[str, Any]]:
    """The dashboards of ``folder`` by their uids.

    Raises:
        ConfigurationError: there are none, or a file is no dashboard of ours.

    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise ConfigurationError(
            f"there are no dashboards in {folder}: run this in a checkout of scrapewatch or in its image, or name the folder of its "
            "grafana/dashboards in SCRAPEWATCH_GRAFANA_DASHBOARDS"
        )
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        try:
            dashboard = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{file} cannot be read as JSON: {error}") from error
        uid = dashboard.get("uid") if isinstance(dashboard, dict) else None
        if not isinstance(uid, str) or not uid.startswith(UIDS) or not _UID.fullmatch(uid):
            raise ConfigurationError(f"{file} is no dashboard of ours: its uid does not begin with {UIDS}")
        if not dashboard.get("title"):
            raise ConfigurationError(f"{file} is no dashboard: it has no title")
        if uid in found:
            raise ConfigurationError(f"{file} has the uid {uid}, which another dashboard has, too")
        found[uid] = dashboard
    return found


def sources_in(file: Path, settings: Settings) -> tuple[Source, ...]:
    """The data sources of a provisioning ``file``, whose variables are settings.

    Raises:
        ConfigurationError: the file cannot be read.

    """
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))["datasources"]
    except OSError as error:
        raise ConfigurationError(
            f"{file} is missing: run this in a checkout of scrapewatch or in its image"
        ) from error
    values = values_of(settings)
    return tuple(_source(entry, values) for entry in entries)


def values_of(settings: Settings) -> dict[str, str]:
    """The values of all settings, by the names that the environment has for them; those that are not set are left out."""
    found: dict[str, str] = {}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if name == "grafana_influx_url" and value is None:
            value = settings.influx_url
        if value is not None and not isinstance(value, tuple):
            text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            upper = name.upper()
            found[upper if upper in BARE else PREFIX + upper] = text
    return found


def _source(entry: Mapping[str, Any], values: Mapping[str, str]) -> Source:
    missing: dict[str, None] = {}

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(each) for key, each in value.items()}
        if not isinstance(value, str):
            return value
        missing.update((name, None) for name in _VARIABLE.findall(value) if name not in values)
        return _VARIABLE.sub(lambda found: values.get(found[1], ""), value)

    made = filled(entry)
    json_data, secrets = made.pop("jsonData", {}), made.pop("secureJsonData", {})
    # What is made over HTTP can be edited there, and is nobody's default: there may be others.
    fields = {key: value for key, value in made.items() if key not in ("editable", "isDefault", "uid")}
    return Source(made["uid"], made["name"], fields, json_data, secrets, tuple(missing))
