"""Brings a running Grafana to what the files say, over its HTTP API: folder, data sources, dashboards, and what of ours has vanished.

It is planned first, as a list of steps, and then done. What others made is never touched: a dashboard is ours by its folder and the
beginning of its uid, a data source by its uid and a mark.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote

from grafana.differences import between, of_keys, own
from grafana.server import Server
from grafana.wanted import FOLDER, HOME, UIDS, Source, Wanted
from scrapewatch.problems import ConfigurationError, ScrapewatchError

REMEMBERED: Final = 5.0
"""Seconds for which Grafana goes on to use a data source as it was before a change."""

_SOURCES: Final = "/api/datasources"
_MARK: Final = "madeBy"
_OURS: Final = "scrapewatch grafana sync"
_PAGE: Final = 1_000

# Newer versions call it by the second name and take both.
_SAME_TYPES: Final = frozenset({"postgres", "grafana-postgresql-datasource"})


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: what comes (+), changes (~) or goes (-), with its details, and the request that does it."""

    sign: Literal["+", "~", "-"]
    what: str
    details: Sequence[str]
    method: str
    path: str
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps in their order, and what is to be known besides: what is left alone, and why."""

    steps: Sequence[Step]
    notes: Sequence[str]


def plan(server: Server, wanted: Wanted, *, secrets: bool = False, home: bool = False) -> Plan:
    """What makes the Grafana what is ``wanted``; no steps where it is.

    Args:
        server: the Grafana, in the organisation of its token.
        wanted: what the files say.
        secrets: set the secrets of data sources, too, although nothing else of them differs: they cannot be compared.
        home: make the overview the home page of the organisation.

    Raises:
        ConfigurationError: Grafana does not allow it, or has these things from files of its own.
        StoreUnavailable: it does not answer.

    """
    notes: list[str] = []
    steps = [*_folder(server), *_sources(server, wanted.sources, secrets, notes)]
    for uid, dashboard in wanted.dashboards.items():
        steps += _dashboard(server, uid, dashboard)
    steps += _vanished(server, wanted.dashboards)
    if home:
        steps += _home(server)
    return Plan(steps, notes)


def carry_out(server: Server, steps: Sequence[Step]) -> Iterator[Step]:
    """Do the steps in their order; yields each once it is done. Ends when Grafana works with what was changed.

    Raises:
        ConfigurationError, NotFound, StoreUnavailable: one could not be done; those before it are.

    """
    for step in steps:
        server.send(step.method, step.path, step.body)
        yield step
    if any(step.method == "PUT" and step.path.startswith(_SOURCES) for step in steps):
        time.sleep(REMEMBERED)


def unreached(server: Server, sources: Sequence[Source]) -> Iterator[str]:
    """Of the data sources that are set up, those whose store Grafana does not reach, each with its own words on why."""
    for source in sources:
        if not source.missing:
            try:
                server.send("GET", f"{_SOURCES}/uid/{source.uid}/health")
            except ScrapewatchError as error:
                yield f"data source {source.name} does not reach its store: {error}"


def _folder(server: Server) -> list[Step]:
    there = server.get(f"/api/folders/{FOLDER}")
    if there is None:
        return [Step("+", f"folder {FOLDER}", (), "POST", "/api/folders", {"uid": FOLDER, "title": FOLDER})]
    if there["title"] == FOLDER:
        return []
    body = {"title": FOLDER, "version": there["version"]}
    renamed = f"title {json.dumps(there['title'], ensure_ascii=False)} → {json.dumps(FOLDER)}"
    return [Step("~", f"folder {FOLDER}", (renamed,), "PUT", f"/api/folders/{FOLDER}", body)]


def _sources(server: Server, sources: Sequence[Source], secrets: bool, notes: list[str]) -> list[Step]:
    steps: list[Step] = []
    notes.extend(
        f"data source {source.name} is left alone: {', '.join(source.missing)} not set"
        for source in sources
        if source.missing
    )
    if all(source.missing for source in sources):
        # Not everybody may look at them, nor need they.
        return steps
    for source in sources:
        if not source.missing:
            steps += _source(server, source, secrets, notes)
    kept = {source.uid for source in sources}
    for there in server.get(_SOURCES) or ():
        if there["uid"] not in kept and there.get("jsonData", {}).get(_MARK) == _OURS:
            path = f"{_SOURCES}/uid/{quote(there['uid'])}"
            steps.append(Step("-", f"data source {there['name']} ({there['uid']})", (), "DELETE", path))
    return steps


def _source(server: Server, source: Source, secrets: bool, notes: list[str]) -> list[Step]:
    what = f"data source {source.name} ({source.uid})"
    there = server.get(f"{_SOURCES}/uid/{source.uid}")
    names = [f"secret {name}" for name in source.secrets]
    if there is None:
        body = {
            **source.fields,
            "uid": source.uid,
            "jsonData": {**source.json_data, _MARK: _OURS},
            "secureJsonData": source.secrets,
        }
        return [Step("+", what, names, "POST", _SOURCES, body)]
    if there.get("readOnly"):
        notes.append(f"{what} is left alone: the server has it from a file of its own")
        return []
    before = {**there, **(there.get("jsonData") or {})}
    if {before.get("type"), source.fields["type"]} <= _SAME_TYPES:
        before["type"] = source.fields["type"]
    details = of_keys(before, {**source.fields, **source.json_data})
    unset = [name for name in source.secrets if not (there.get("secureJsonFields") or {}).get(name)]
    if not details and not unset and not secrets:
        return []
    body = {
        **there,
        **source.fields,
        "jsonData": {_MARK: _OURS, **(there.get("jsonData") or {}), **source.json_data},
        "secureJsonData": source.secrets,
    }
    return [Step("~", what, [*details, *names], "PUT", f"{_SOURCES}/uid/{source.uid}", body)]


def _dashboard(server: Server, uid: str, wanted: Mapping[str, Any]) -> list[Step]:
    what = f"dashboard {wanted['title']} ({uid})"
    body = {"dashboard": {**own(wanted), "id": None}, "folderUid": FOLDER, "message": _message(wanted)}
    found = server.get(f"/api/dashboards/uid/{uid}")
    if found is None:
        return [Step("+", what, (), "POST", "/api/dashboards/db", body)]
    there, about = found["dashboard"], found["meta"]
    if about.get("provisioned"):
        raise ConfigurationError(
            f"{what} comes from files of the Grafana server at {server.name}: it follows those, so there is nothing to sync"
        )
    moved = about.get("folderUid") != FOLDER
    details = [] if _is_as_saved(server, uid, there, wanted) else between(there, wanted)
    if moved:
        details.insert(0, f"~ folder {about.get('folderTitle') or 'General'} → {FOLDER}")
    if not details:
        return []
    # With the version that was looked at: what somebody saves meanwhile is not written over unseen.
    body["dashboard"] = {**own(wanted), "id": there["id"], "version": there["version"]}
    return [Step("~", what, details, "POST", "/api/dashboards/db", body)]


def _is_as_saved(server: Server, uid: str, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether the dashboard is what was last saved of ``wanted``, although Grafana may have brought it to a form of its own."""
    if own(there) == own(wanted):
        return True
    found = server.get(f"/api/dashboards/uid/{uid}/versions", limit=1)
    # Newer versions wrap the list.
    versions = (found.get("versions") if isinstance(found, dict) else found) or ()
    return [version.get("message") for version in versions[:1]] == [_message(wanted)]


def _message(wanted: Mapping[str, Any]) -> str:
    """What stands in the history of a dashboard at a version of ours: it tells which content was saved."""
    text = json.dumps(own(wanted), sort_keys=True, separators=(",", ":"))
    return f"{_OURS} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _vanished(server: Server, kept: Mapping[str, Any]) -> list[Step]:
    steps = []
    page = 1
    while found := server.get("/api/search", type="dash-db", limit=_PAGE, page=page):
        for there in found:
            uid = there["uid"]
            if there.get("folderUid") == FOLDER and uid.startswith(UIDS) and uid not in kept:
                path = f"/api/dashboards/uid/{quote(uid)}"
                steps.append(Step("-", f"dashboard {there['title']} ({uid})", (), "DELETE", path))
        if len(found) < _PAGE:
            break
        page += 1
    return steps


def _home(server: Server) -> list[Step]:
    there = server.get("/api/org/preferences") or {}
    if there.get("homeDashboardUID") == HOME:
        return []
    return [Step("~", f"home page: {HOME}", (), "PATCH", "/api/org/preferences", {"homeDashboardUID": HOME})]
