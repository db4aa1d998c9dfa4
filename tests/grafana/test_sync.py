"""``scrapewatch grafana``, from the command line to what is in Grafana afterwards."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

import stack.cli
from tests.grafana.grafana_api import EDITOR, PASSWORD, REVOKED, TOKEN, GrafanaApi

INFLUX_TOKEN = "the-token-of-the-reader"
DATABASE_PASSWORD = "the-password-of-the-reader"
SOURCES = {
    "SCRAPEWATCH_GRAFANA_INFLUX_URL": "http://influxdb:8086",
    "SCRAPEWATCH_GRAFANA_INFLUX_TOKEN": INFLUX_TOKEN,
    "SCRAPEWATCH_GRAFANA_DATABASE_HOST": "postgres:5432",
    "SCRAPEWATCH_GRAFANA_DATABASE_PASSWORD": DATABASE_PASSWORD,
}


def dashboard(name: str, *panels: str, **more: Any) -> dict[str, Any]:
    return {
        "uid": f"scrapewatch-{name}",
        "title": name.title(),
        "panels": [{"id": n, "type": "stat", "title": title} for n, title in enumerate(panels, 1)],
        **more,
    }


@pytest.fixture
def grafana(httpserver: HTTPServer) -> GrafanaApi:
    """A Grafana of the test's own, as far as the product speaks to it."""
    return GrafanaApi(httpserver)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two dashboards."""
    write(tmp_path, dashboard("overview", "Jobs", "Errors"))
    write(tmp_path, dashboard("sessions", "Sessions"))
    return tmp_path


def write(folder: Path, found: Mapping[str, Any]) -> Path:
    file = folder / f"{found['uid']}.json"
    file.write_text(json.dumps(found), encoding="utf-8")
    return file


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(
    grafana: GrafanaApi, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run ``scrapewatch grafana …``; its exit status and all that it said. Settings are named as the environment has them."""

    def run(*arguments: str, **environment: str) -> tuple[int, str]:
        given = {
            "GRAFANA_URL": grafana.url,
            "GRAFANA_TOKEN": TOKEN,
            "SCRAPEWATCH_GRAFANA_DASHBOARDS": str(folder),
        }
        with monkeypatch.context() as patch:
            patch.chdir(folder)
            patch.setattr("grafana.sync.REMEMBERED", 0.0)
            for name, value in (given | environment).items():
                patch.setenv(name, value)
            status = stack.cli.main(["grafana", *arguments])
        said = capsys.readouterr()
        return status, said.out + said.err

    return run


def test_an_empty_grafana_gets_all_and_a_second_run_finds_nothing_to_do(
    grafana: GrafanaApi, run: Run
) -> None:
    status, said = run("sync", "--yes", **SOURCES)
    assert status == 0
    for line in (
        "+ folder scrapewatch",
        "+ data source scrapewatch points (scrapewatch-series)",
        "+ data source scrapewatch records (scrapewatch-records)",
        "+ dashboard Overview (scrapewatch-overview)",
        "+ dashboard Sessions (scrapewatch-sessions)",
    ):
        assert line in said
    assert grafana.folders["scrapewatch"]["title"] == "scrapewatch"
    assert set(grafana.dashboards) == {"scrapewatch-overview", "scrapewatch-sessions"}
    assert set(grafana.folder_of.values()) == {"scrapewatch"}
    series, records = grafana.sources["scrapewatch-series"], grafana.sources["scrapewatch-records"]
    assert (series["url"], series["type"], series["access"]) == ("http://influxdb:8086", "influxdb", "proxy")
    assert series["jsonData"]["organization"] == "scrapewatch"
    assert series["jsonData"]["defaultBucket"] == "fleet"
    assert (records["url"], records["user"], records["database"]) == (
        "postgres:5432",
        "grafana",
        "scrapewatch",
    )
    assert records["jsonData"]["sslmode"] == "require"
    assert grafana.secrets == {
        "scrapewatch-series": {"token": INFLUX_TOKEN},
        "scrapewatch-records": {"password": DATABASE_PASSWORD},
    }
    grafana.requests.clear()
    assert run("sync", "--yes", **SOURCES)[0] == 0
    assert "nothing to do" in run("sync", "--check", **SOURCES)[1]
    assert grafana.requests == []


@pytest.mark.parametrize("flag", ["--check", "--dry-run"])
def test_a_dry_run_shows_what_differs_changes_nothing_and_fails(
    grafana: GrafanaApi, run: Run, flag: str
) -> None:
    status, said = run("sync", flag, **SOURCES)
    assert status == 1
    assert "+ dashboard Overview" in said
    assert grafana.requests == []


@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("n\n", 1), ("", 1)])
def test_it_asks_before_it_changes_anything(
    grafana: GrafanaApi, run: Run, monkeypatch: pytest.MonkeyPatch, answer: str, status: int
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    ended, said = run("sync")
    assert ended == status
    assert f"Do this at {grafana.url}?" in said
    assert bool(grafana.requests) == (status == 0)


def test_what_was_changed_by_hand_is_shown_by_panel_and_key_and_put_right(
    grafana: GrafanaApi, run: Run
) -> None:
    run("sync", "--yes")
    jobs, errors = grafana.dashboards["scrapewatch-overview"]["panels"]
    mine = {"id": 9, "type": "text", "title": "Mine"}
    grafana.save_by_hand("scrapewatch-overview", panels=[{**jobs, "type": "gauge"}, errors, mine])
    status, said = run("sync", "--yes")
    assert status == 0
    assert "~ dashboard Overview (scrapewatch-overview)" in said
    assert '~ panel "Jobs": type "gauge" → "stat"' in said
    assert '- panel "Mine"' in said
    assert "Sessions" not in said
    assert grafana.dashboards["scrapewatch-overview"]["panels"] == [jobs, errors]
    assert run("sync", "--check")[0] == 0


def test_a_dashboard_whose_file_changed_changes_and_one_that_was_moved_comes_back(
    grafana: GrafanaApi, run: Run, folder: Path
) -> None:
    run("sync", "--yes")
    write(folder, dashboard("sessions", "Sessions", refresh="5s"))
    grafana.folder_of["scrapewatch-overview"] = ""
    status, said = run("sync", "--yes")
    assert status == 0
    assert '~ refresh is new: "5s"' in said
    assert "~ folder General → scrapewatch" in said
    assert grafana.dashboards["scrapewatch-sessions"]["refresh"] == "5s"
    assert grafana.folder_of["scrapewatch-overview"] == "scrapewatch"


def test_what_vanished_from_the_files_goes_and_what_others_made_stays(
    grafana: GrafanaApi, run: Run, folder: Path
) -> None:
    run("sync", "--yes")
    others = {"abc": "scrapewatch", "scrapewatch-elsewhere": "", "def": ""}
    for uid, where in others.items():
        grafana.folder_of[uid] = where
        grafana._save(uid, {"uid": uid, "title": uid}, "")
    (folder / "scrapewatch-sessions.json").unlink()
    status, said = run("sync", "--yes")
    assert status == 0
    assert "- dashboard Sessions (scrapewatch-sessions)" in said
    assert set(grafana.dashboards) == {"scrapewatch-overview", *others}
    assert run("sync", "--check")[0] == 0


def test_all_pages_of_a_search_are_read(
    grafana: GrafanaApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grafana.sync._PAGE", 2)
    run("sync", "--yes")
    for n in range(5):
        grafana.folder_of[f"scrapewatch-{n}"] = "scrapewatch"
        grafana._save(f"scrapewatch-{n}", {"title": str(n)}, "")
    run("sync", "--yes")
    assert set(grafana.dashboards) == {"scrapewatch-overview", "scrapewatch-sessions"}


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_form_that_grafana_gives_what_was_saved_is_no_difference_but_a_change_by_hand_is(
    grafana: GrafanaApi, run: Run, folder: Path, wrapped: bool
) -> None:
    grafana.wrapped = wrapped
    grafana.stored = lambda saved: {**saved, "schemaVersion": 99, "panels": list(reversed(saved["panels"]))}
    run("sync", "--yes")
    assert run("sync", "--check")[0] == 0
    write(folder, dashboard("sessions", "Sessions", refresh="5s"))
    assert "scrapewatch-sessions" in run("sync", "--yes")[1]
    assert run("sync", "--check")[0] == 0
    grafana.save_by_hand("scrapewatch-overview", refresh="1s")
    status, said = run("sync", "--check")
    assert status == 1
    assert "scrapewatch-overview" in said
    assert "scrapewatch-sessions" not in said


def test_a_dashboard_of_somebody_else_with_the_same_title_is_not_written_over(
    grafana: GrafanaApi, run: Run
) -> None:
    grafana.folders["scrapewatch"] = {"id": 1, "uid": "scrapewatch", "title": "scrapewatch", "version": 1}
    grafana.folder_of["mine"] = "scrapewatch"
    grafana._save("mine", {"uid": "mine", "title": "Overview", "panels": ["mine"]}, "")
    status, said = run("sync", "--yes")
    assert status == 1
    assert "same name" in said
    assert grafana.dashboards["mine"]["panels"] == ["mine"]


def test_a_folder_that_was_renamed_gets_its_name_back(grafana: GrafanaApi, run: Run) -> None:
    run("sync", "--yes")
    grafana.folders["scrapewatch"]["title"] = "Scrapers"
    assert 'title "Scrapers" → "scrapewatch"' in run("sync", "--yes")[1]
    assert grafana.folders["scrapewatch"]["title"] == "scrapewatch"


def test_dashboards_of_the_servers_own_files_are_left_to_it(grafana: GrafanaApi, run: Run) -> None:
    run("sync", "--yes")
    grafana.provisioned.add("scrapewatch-overview")
    status, said = run("sync", "--yes")
    assert status == 1
    assert "comes from files of the Grafana server" in said


# --- data sources


def test_without_their_settings_data_sources_are_left_alone_and_an_editor_is_enough(
    grafana: GrafanaApi, run: Run
) -> None:
    status, said = run("sync", "--yes", GRAFANA_TOKEN=EDITOR)
    assert status == 0
    assert (
        "points is left alone: SCRAPEWATCH_GRAFANA_INFLUX_URL, SCRAPEWATCH_GRAFANA_INFLUX_TOKEN not set"
        in said
    )
    assert "SCRAPEWATCH_GRAFANA_DATABASE_HOST" in said
    assert grafana.sources == {}
    assert len(grafana.dashboards) == 2


def test_a_data_source_is_put_right_and_keeps_what_is_not_ours(grafana: GrafanaApi, run: Run) -> None:
    run("sync", "--yes", **SOURCES)
    series = grafana.sources["scrapewatch-series"]
    series["isDefault"] = True
    series["jsonData"] |= {"maxSeries": 5000, "timeInterval": "1m"}
    assert run("sync", "--check", **SOURCES)[0] == 1
    status, said = run("sync", "--yes", **{**SOURCES, "INFLUX_URL": "http://other", "INFLUX_ORG": "acme"})
    assert status == 0
    assert "~ data source scrapewatch points (scrapewatch-series)" in said
    assert 'timeInterval "1m" → "5s"' in said
    assert 'organization "scrapewatch" → "acme"' in said
    series = grafana.sources["scrapewatch-series"]
    assert series["isDefault"] is True
    assert series["jsonData"]["maxSeries"] == 5000
    assert series["jsonData"]["timeInterval"] == "5s"
    assert series["url"] == "http://influxdb:8086"


def test_where_grafana_reaches_influxdb_as_we_do_it_need_not_be_said(grafana: GrafanaApi, run: Run) -> None:
    given = {"INFLUX_URL": "http://127.0.0.1:8086", "SCRAPEWATCH_GRAFANA_INFLUX_TOKEN": INFLUX_TOKEN}
    assert run("sync", "--yes", **given)[0] == 0
    assert grafana.sources["scrapewatch-series"]["url"] == "http://127.0.0.1:8086"
    assert set(grafana.sources) == {"scrapewatch-series"}


def test_another_tenant_has_its_own_bucket_and_role(grafana: GrafanaApi, run: Run) -> None:
    given = {
        "SCRAPEWATCH_GRAFANA_INFLUX_BUCKET": "acme.fleet",
        "SCRAPEWATCH_GRAFANA_DATABASE_USER": "grafana_acme",
    }
    run("sync", "--yes", **SOURCES, **given)
    assert grafana.sources["scrapewatch-series"]["jsonData"]["defaultBucket"] == "acme.fleet"
    assert grafana.sources["scrapewatch-records"]["user"] == "grafana_acme"


def test_a_secret_is_set_anew_where_it_is_asked_for_or_missing(grafana: GrafanaApi, run: Run) -> None:
    run("sync", "--yes", **SOURCES)
    newer = {**SOURCES, "SCRAPEWATCH_GRAFANA_INFLUX_TOKEN": "another"}
    assert run("sync", "--yes", **newer)[0] == 0
    assert grafana.secrets["scrapewatch-series"] == {"token": INFLUX_TOKEN}
    assert "secret token" in run("sync", "--yes", "--secrets", **newer)[1]
    assert grafana.secrets["scrapewatch-series"] == {"token": "another"}
    grafana.secrets.clear()
    run("sync", "--yes", **newer)
    assert grafana.secrets["scrapewatch-series"] == {"token": "another"}


def test_a_store_that_grafana_does_not_reach_is_named_with_its_words(grafana: GrafanaApi, run: Run) -> None:
    grafana.silent["scrapewatch-series"] = "error reading InfluxDB"
    for _ in range(2):
        status, said = run("sync", "--yes", **SOURCES)
        assert status == 0
        assert "data source scrapewatch points does not reach its store: " in said
        assert "error reading InfluxDB" in said
        assert "records does not reach" not in said


def test_a_newer_grafanas_name_of_the_type_is_no_difference(grafana: GrafanaApi, run: Run) -> None:
    run("sync", "--yes", **SOURCES)
    grafana.sources["scrapewatch-records"]["type"] = "grafana-postgresql-datasource"
    assert run("sync", "--check", **SOURCES)[0] == 0


def test_data_sources_that_it_made_go_when_they_vanish_and_others_stay(grafana: GrafanaApi, run: Run) -> None:
    run("sync", "--yes", **SOURCES)
    made = grafana.sources["scrapewatch-series"]
    grafana.sources["scrapewatch-old"] = {**made, "uid": "scrapewatch-old", "name": "old"}
    grafana.sources["scrapewatch-mine"] = {**made, "uid": "scrapewatch-mine", "name": "mine", "jsonData": {}}
    assert "- data source old (scrapewatch-old)" in run("sync", "--yes", **SOURCES)[1]
    assert set(grafana.sources) == {"scrapewatch-series", "scrapewatch-records", "scrapewatch-mine"}


def test_a_data_source_of_the_servers_own_files_is_left_alone(grafana: GrafanaApi, run: Run) -> None:
    run("sync", "--yes", **SOURCES)
    grafana.sources["scrapewatch-series"] |= {"readOnly": True, "url": "http://elsewhere"}
    status, said = run("sync", "--yes", **SOURCES)
    assert status == 0
    assert "from a file of its own" in said
    assert grafana.sources["scrapewatch-series"]["url"] == "http://elsewhere"


def test_the_overview_becomes_the_home_page_where_that_is_asked_for(grafana: GrafanaApi, run: Run) -> None:
    run("sync", "--yes")
    assert "homeDashboardUID" not in grafana.preferences
    assert run("sync", "--yes", "--home")[0] == 0
    assert grafana.preferences == {"theme": "dark", "homeDashboardUID": "scrapewatch-overview"}
    assert run("sync", "--check", "--home")[0] == 0


# --- what can go wrong


def test_no_secret_is_shown_whatever_happens(grafana: GrafanaApi, run: Run, tmp_path: Path) -> None:
    said = run("sync", "--yes", **SOURCES)[1]
    said += run("sync", "--yes", "--secrets", **SOURCES)[1]
    said += run("sync", GRAFANA_TOKEN="glsa_wrong", **SOURCES)[1]
    grafana.sources["scrapewatch-series"]["url"] = f"http://me:{PASSWORD.replace(' ', '')}@x"
    said += run("sync", "--check", **SOURCES)[1]
    said += run("sync", GRAFANA_URL=grafana.url.replace("//", "//me:hush@"), GRAFANA_TOKEN="glsa_wrong")[1]
    for secret in (TOKEN, "glsa_wrong", INFLUX_TOKEN, DATABASE_PASSWORD, PASSWORD.replace(" ", ""), "hush"):
        assert secret not in said


def test_the_token_may_be_in_a_file(grafana: GrafanaApi, run: Run, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    status, said = run("sync", "--yes", GRAFANA_TOKEN="", GRAFANA_TOKEN_FILE=str(tmp_path / "token"))
    assert (status, "is not set" in said) == (1, True), "a name that is there, and empty, counts"
    status, _ = run("sync", "--yes", SCRAPEWATCH_GRAFANA_TOKEN_FILE=str(tmp_path / "token"))
    assert status == 0


def test_who_may_not_make_data_sources_is_told_which_role_may(grafana: GrafanaApi, run: Run) -> None:
    status, said = run("sync", "--yes", GRAFANA_TOKEN=EDITOR, **SOURCES)
    assert status == 1
    assert "Permissions needed: datasources:create" in said
    assert "data sources and the home page Admin" in said
    assert grafana.sources == {}


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"GRAFANA_TOKEN": "glsa_wrong"}, "does not know GRAFANA_TOKEN: make one in Grafana"),
        ({"GRAFANA_TOKEN": REVOKED}, "does not know GRAFANA_TOKEN: make one in Grafana"),
        ({"GRAFANA_TOKEN": "no token"}, "GRAFANA_TOKEN is empty or no token"),
        ({"GRAFANA_URL": "grafana:3000"}, "GRAFANA_URL is no HTTP URL"),
        ({"GRAFANA_URL": ""}, "GRAFANA_URL is not set"),
        ({"GRAFANA_TOKEN": ""}, "GRAFANA_TOKEN is not set"),
        ({"SCRAPEWATCH_GRAFANA_DASHBOARDS": "/nowhere"}, "there are no dashboards in /nowhere"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(
    grafana: GrafanaApi, run: Run, environment: dict[str, str], says: str
) -> None:
    status, said = run("sync", "--yes", **environment)
    assert status == 1
    assert says in said
    assert "Traceback" not in said
    assert grafana.requests == []


def test_a_grafana_that_is_too_old_is_refused_and_one_that_hides_its_version_is_not(
    grafana: GrafanaApi, run: Run
) -> None:
    grafana.health["version"] = "9.3.16"
    status, said = run("sync", "--yes")
    assert status == 1
    assert "is version 9.3.16: the dashboards need 9.4 or newer" in said
    for version in ("9.4.0-pre", "10.0.0", "13.1.2+security-01"):
        grafana.health["version"] = version
        assert run("sync", "--check")[0] == 1
        assert grafana.requests == []
    del grafana.health["version"]
    assert run("sync", "--yes")[0] == 0


def test_what_is_no_grafana_or_not_there_is_named(run: Run, httpserver: HTTPServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert "does not take connections" in run("sync", GRAFANA_URL=f"http://127.0.0.1:{port}")[1]
    httpserver.clear()
    httpserver.expect_request("/api/health").respond_with_data("<html>", content_type="text/html")
    assert "is no Grafana" in run("sync")[1]
    httpserver.clear()
    httpserver.expect_request("/api/health").respond_with_json({"status": "pass"})
    assert "is no Grafana" in run("sync")[1]
    httpserver.clear()
    httpserver.expect_request("/api/health").respond_with_data(
        "", 301, headers={"Location": "https://grafana.example.com/"}
    )
    assert "leads elsewhere, to https://grafana.example.com/" in run("sync")[1]
    httpserver.clear()
    httpserver.expect_request("/api/health").respond_with_json({"message": "starting\x1b[31m"}, 503)
    said = run("sync")[1]
    assert "cannot do GET /api/health now (HTTP 503): starting" in said
    assert "\x1b[31m" not in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read as JSON"),
        ('{"uid": "mine", "title": "Mine"}', "its uid does not begin with scrapewatch-"),
        ('{"uid": "scrapewatch-with spaces", "title": "Mine"}', "is no dashboard of ours"),
        ('{"uid": "scrapewatch-x"}', "has no title"),
        ('{"uid": "scrapewatch-overview", "title": "Again"}', "which another dashboard has, too"),
        ("[]", "is no dashboard of ours"),
    ],
)
def test_a_file_that_is_no_dashboard_of_ours_ends_it_before_anything_is_changed(
    grafana: GrafanaApi, run: Run, folder: Path, text: str, says: str
) -> None:
    (folder / "zz.json").write_text(text)
    status, said = run("sync", "--yes")
    assert status == 1
    assert says in said
    assert grafana.requests == []


# --- the token for Grafana Live


def test_the_live_token_may_only_look_and_a_new_one_ends_the_old(grafana: GrafanaApi, run: Run) -> None:
    first = run("token")[1].splitlines()[0]
    assert [(account["name"], account["role"]) for account in grafana.accounts.values()] == [
        ("scrapewatch live", "Viewer")
    ]
    second = run("token")[1].splitlines()[0]
    assert first != second
    assert len(grafana.accounts) == 1
    assert [f"glsa_{number}" for number in grafana.tokens] == [second]


@pytest.mark.parametrize(("password", "status"), [(PASSWORD, 0), ("wrong", 1)])
def test_an_administrator_makes_it_with_the_password_on_standard_input(
    grafana: GrafanaApi, run: Run, monkeypatch: pytest.MonkeyPatch, password: str, status: int
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(password))
    ended, said = run("token", "--user", "admin", GRAFANA_TOKEN="")
    assert ended == status
    assert bool(grafana.tokens) == (status == 0)
    if status:
        assert "does not take the password of admin" in said
        assert "wrong" not in said
