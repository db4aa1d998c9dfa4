from __future__ import annotations

import ast
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import psycopg
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from typer.testing import CliRunner

from influx.__main__ import ADMIN_TOKEN
from records.engine import make_engine
from records.migrate import upgrade
from scrapewatch.settings import BARE, PREFIX, Settings, load
from tests.influxd import Influxd
from tests.postgres import Postgres

ROOT = Path(__file__).parents[1]
STACK: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")

# At its end the others begin: it is done, not healthy.
ONE_SHOT = {"influx-bootstrap"}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The secrets as a first `make stack` makes them, in a checkout of their own."""
    root = tmp_path_factory.mktemp("checkout")
    (root / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "stack.sh", root / "tools")
    make_secrets(root)
    return root / "secrets"


def make_secrets(root: Path) -> None:
    subprocess.run(
        ["bash", root / "tools" / "stack.sh", "--secrets-only"], check=True, env={"PATH": os.defpath}
    )


def environment(service: str) -> dict[str, str]:
    """What the service is started with where nothing is set outside."""
    given: dict[str, str] = SERVICES[service].get("environment", {})
    return {name: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value) for name, value in given.items()}


def test_the_file_is_what_compose_reads() -> None:
    schema = get_builtin_schema("vendor.compose-spec")
    jsonschema.validate(STACK, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(
            {**STACK, "services": {"api": {"image": "scrapewatch", "port": ["8000:8000"]}}}, schema
        )


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_is_pinned_to_a_patch_version(service: str) -> None:
    tag = SERVICES[service]["image"].rpartition(":")[2]
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?", tag)
    # PostgreSQL's versions have two parts, all others' three.
    assert tag.count(".") == (1 if service == "postgres" else 2)


def test_the_image_of_our_own_is_built_from_a_pinned_one_and_hashed_requirements() -> None:
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"python:3.11.15-slim"}
    assert "--require-hashes" in DOCKERFILE
    assert re.search(r"^USER (?!root|0)", DOCKERFILE, re.MULTILINE)


def test_the_image_is_made_of_every_room_and_the_engine_gets_them() -> None:
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "bench"}
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[1] == "*"
    for room in rooms:
        assert f"COPY {room} {room}\n" in DOCKERFILE
        assert f"!{room}" in ignored
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        assert all(f"!{name}" in ignored for name in source.split())


def test_influxdb_is_the_version_that_the_tests_run_on() -> None:
    pinned = re.search(
        r"github\.com/influxdata/influxdb/v2 v(\S+)", (ROOT / "tools" / "influxd" / "go.mod").read_text()
    )
    assert pinned is not None
    assert SERVICES["influxdb"]["image"] == f"influxdb:{pinned[1]}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_a_health_check_unless_it_ends(service: str) -> None:
    check: Any = SERVICES[service].get("healthcheck")
    if service in ONE_SHOT:
        assert check == {"disable": True}
    elif service in OURS:
        assert check is None
        assert "/healthz" in DOCKERFILE.partition("HEALTHCHECK")[2]
    else:
        assert check["test"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_waits_until_what_it_leans_on_is_healthy_or_done(service: str) -> None:
    for needed, how in SERVICES[service].get("depends_on", {}).items():
        done = "service_completed_successfully" if needed in ONE_SHOT else "service_healthy"
        assert how == {"condition": done}


def test_nothing_but_api_collector_and_grafana_is_published_and_on_loopback_alone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "api": ["127.0.0.1:8000:8000"],
        "collector": ["127.0.0.1:8001:8000"],
        "grafana": ["127.0.0.1:3000:3000"],
    }
    assert not any("network_mode" in service for service in SERVICES.values())


def test_the_stores_are_in_a_network_that_nothing_outside_reaches() -> None:
    assert STACK["networks"]["stores"] == {"internal": True}
    for store in ("influxdb", "postgres", "redis"):
        assert SERVICES[store]["networks"] == ["stores"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_cannot_write_its_root_nor_gain_privileges(service: str) -> None:
    assert SERVICES[service]["read_only"] is True
    assert "no-new-privileges:true" in SERVICES[service]["security_opt"]
    assert not SERVICES[service].get("privileged")


def test_every_secret_is_made_and_handed_to_a_service(secrets: Path) -> None:
    handed = {name for service in SERVICES.values() for name in service.get("secrets", [])}
    assert handed == set(STACK["secrets"])
    for name, secret in STACK["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
        # The one that Grafana makes is there before it, empty.
        assert bool((secrets / name).stat().st_size) == (name != "grafana_token")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_reads_only_secrets_that_it_was_handed(service: str) -> None:
    text = yaml.safe_dump(SERVICES[service])
    read = set(re.findall(r"/run/secrets/(\w+)", text))
    if service == "postgres":
        sql = (ROOT / "tools/postgres/roles.sql").read_text(encoding="utf-8")
        read |= set(re.findall(r"/run/secrets\}/(\w+)", sql))
    assert read == set(SERVICES[service].get("secrets", []))


def test_no_secret_stands_in_what_is_committed() -> None:
    for service in SERVICES:
        for name, value in environment(service).items():
            if re.search("PASSWORD|TOKEN|SECRET|DATABASE_URL|REDIS_URL", name):
                # Its path: by a name of its own, or as Grafana is told to read a file.
                named = value.startswith("/run/") and re.search("_(FILE|DIR)$", name)
                assert named or re.fullmatch(r"\$\$__file\{/run/[\w./]+\}", value), name
    assert "/secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_secrets_keep_others_of_the_machine_out_and_let_the_containers_in(secrets: Path) -> None:
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    for path in secrets.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o444


def test_secrets_are_made_once_and_differ(secrets: Path) -> None:
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    make_secrets(secrets.parent)
    assert {path.name: path.read_text() for path in secrets.iterdir()} == before
    assert len(set(before.values())) == len(before)
    alone = [text for name, text in before.items() if name.endswith(("_password", "_token"))]
    alone.remove(before["grafana_token"])
    assert all(re.fullmatch("[0-9a-f]{64}", text) for text in alone)


DOCKER = """#!/usr/bin/env bash
echo "$*" >>"$CALLS"
[[ "$1 $2" == "compose run" ]] || exit 0
[[ $(</dev/stdin) == "$(<secrets/grafana_admin_password)" ]] || exit 1
$RUN
"""
"""Stands for docker, which is not to be had here: writes down what it is asked, and answers as ``scrapewatch grafana token`` does."""


@pytest.mark.parametrize("says", ["echo glsa_made", "exit 1"])
def test_the_token_for_live_panels_is_made_before_the_collector_starts_and_once(
    tmp_path: Path, says: str
) -> None:
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "stack.sh", tmp_path / "tools")
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER.replace("$RUN", says))
    docker.chmod(0o755)
    calls, token = tmp_path / "calls", tmp_path / "secrets" / "grafana_token"

    def run() -> list[str]:
        calls.unlink(missing_ok=True)
        environment = {"PATH": f"{docker.parent}:{os.defpath}", "CALLS": str(calls)}
        subprocess.run(["bash", tmp_path / "tools" / "stack.sh"], check=True, env=environment)
        return [
            line for line in calls.read_text().splitlines() if line.startswith(("compose up", "compose run"))
        ]

    grafana, making, everything = run()
    assert grafana.endswith("--wait grafana")
    assert making.endswith("api grafana token --user admin")
    assert everything == "compose up --build --detach --wait"
    made = says.startswith("echo")
    assert token.read_text() == ("glsa_made" if made else "")
    assert stat.S_IMODE(token.stat().st_mode) == 0o444
    assert len(run()) == (1 if made else 3)


@pytest.mark.parametrize("service", OURS)
def test_what_our_services_are_given_are_settings(service: str, secrets: Path, tmp_path: Path) -> None:
    names = {name.upper() for name in Settings.model_fields}
    given = environment(service)
    for name in given:
        plain = name.removesuffix("_FILE")
        if plain != ADMIN_TOKEN:
            assert plain in BARE or plain.removeprefix(PREFIX) in names, name
    (tmp_path / "token").write_text("made by the bootstrap")
    for name, value in given.items():
        path = value.replace("/run/secrets", str(secrets))
        given[name] = re.sub(r"^/run/(tokens|readers)/\w+\.token$", str(tmp_path / "token"), path)
    settings = load(given)
    assert settings.influx_url == "http://influxdb:8086"
    assert settings.port == 8000
    if service not in ONE_SHOT:
        assert settings.influx_token is not None
        assert settings.database_url is not None
        assert settings.redis_url is not None
        assert service in settings.allowed_hosts


@pytest.mark.parametrize("service", sorted(set(OURS) - ONE_SHOT))
def test_the_command_line_knows_the_commands_of_our_services(service: str) -> None:
    from stack.cli import commands

    ran = CliRunner().invoke(commands, [*SERVICES[service]["command"], "--help"])
    assert ran.exit_code == 0, ran.output


def test_the_bootstrap_knows_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    from influx.__main__ import main

    line = SERVICES["influx-bootstrap"]["entrypoint"][2].splitlines()[0].split()
    assert line[:3] == ["python", "-m", "influx"]
    with pytest.raises(SystemExit) as left:
        main([*line[3:-1], "--help"])
    assert left.value.code == 0
    assert "--secrets-dir" in capsys.readouterr().out


def test_the_bootstrap_hands_the_api_the_readers_tokens_of_every_tenant_and_grafana_one(
    influxd: Influxd, tmp_path: Path
) -> None:
    shell, flags, script, *name = SERVICES["influx-bootstrap"]["entrypoint"]
    for folder in ("tokens", "reader", "readers"):
        (tmp_path / folder).mkdir()
    script = (
        script.replace("/var/lib/scrapewatch", str(tmp_path))
        .replace("python ", f"{sys.executable} ")
        .replace("$$", "$")
    )
    env = {
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT),
        "INFLUX_URL": influxd.url,
        "INFLUX_ORG": "compose",
        ADMIN_TOKEN: influxd.token,
    }

    def run(*arguments: str) -> None:
        subprocess.run([shell, flags, script, *name, *arguments], check=True, env=env, cwd=tmp_path)

    def made(folder: str) -> list[str]:
        return sorted(path.name for path in (tmp_path / folder).iterdir())

    try:
        run()
        run("--tenant", "acme")
        assert made("readers") == ["acme.reader.token", "reader.token"]
        assert made("reader") == ["reader.token"]
        before = {path.name: path.read_text() for path in (tmp_path / "readers").iterdir()}
        (tmp_path / "tokens" / "acme.reader.token").unlink()  # as if a release wanted another
        run()
        after = {path.name: path.read_text() for path in (tmp_path / "readers").iterdir()}
        assert after["reader.token"] == before["reader.token"]
        assert after["acme.reader.token"] != before["acme.reader.token"]
    finally:
        influxd.delete_org("compose")


def test_collector_and_api_find_the_tokens_of_other_tenants() -> None:
    for service, folder in (("collector", "/run/tokens"), ("api", "/run/readers")):
        given = environment(service)
        assert given["SCRAPEWATCH_INFLUX_TOKENS_DIR"] == folder
        assert given["INFLUX_TOKEN_FILE"].startswith(f"{folder}/")
        assert any(volume.endswith(f":{folder}:ro") for volume in SERVICES[service]["volumes"])
    assert not any("influx-tokens" in volume for volume in SERVICES["api"]["volumes"])
    assert not any("influx-readers" in volume for volume in SERVICES["grafana"]["volumes"])


def test_folders_that_volumes_are_mounted_at_belong_to_our_user_in_the_image() -> None:
    made = DOCKERFILE.partition("install -d")[2]
    for service in OURS.values():
        for volume in service.get("volumes", []):
            at = volume.split(":")[1]
            if not volume.endswith(":ro"):
                assert at in made


def test_grafana_reads_both_stores_and_can_write_neither() -> None:
    sources = yaml.safe_load((ROOT / "grafana/provisioning/datasources/scrapewatch.yaml").read_text("utf-8"))
    series, records = sources["datasources"]
    assert (series["uid"], series["type"], series["jsonData"]["version"]) == (
        "scrapewatch-series",
        "influxdb",
        "Flux",
    )
    given = SERVICES["grafana"]["environment"]
    assert series["secureJsonData"]["token"] == "${SCRAPEWATCH_GRAFANA_INFLUX_TOKEN}"
    assert given["SCRAPEWATCH_GRAFANA_INFLUX_TOKEN"] == "$$__file{/run/reader/reader.token}"
    assert (records["uid"], records["type"]) == ("scrapewatch-records", "postgres")
    assert records["user"] == "${SCRAPEWATCH_GRAFANA_DATABASE_USER}"
    assert given["SCRAPEWATCH_GRAFANA_DATABASE_USER"] == "grafana"
    assert not any("influx-tokens" in volume for volume in SERVICES["grafana"]["volumes"])
    provider = yaml.safe_load((ROOT / "grafana/provisioning/dashboards/scrapewatch.yaml").read_text("utf-8"))
    assert provider["providers"][0]["options"]["path"] == "${SCRAPEWATCH_GRAFANA_DASHBOARDS}"
    path = given["SCRAPEWATCH_GRAFANA_DASHBOARDS"]
    assert f"./grafana/dashboards:{path}:ro" in SERVICES["grafana"]["volumes"]


def test_the_role_of_grafana_reads_views_of_its_tenant_but_no_table_and_changes_nothing(
    postgres: Postgres, secrets: Path
) -> None:
    subprocess.run(
        [
            shutil.which("psql") or postgres.programs / "psql",
            *(
                "--no-psqlrc",
                "--quiet",
                "--dbname",
                postgres.url,
                "--file",
                ROOT / "tools/postgres/roles.sql",
            ),
        ],
        check=True,
        env={"PATH": os.defpath, "SECRETS": str(secrets)},
    )
    try:
        url = postgres.url_of("scrapewatch")
        as_owner, as_grafana = url.replace("postgres@", "scrapewatch@"), url.replace("postgres@", "grafana@")
        engine = make_engine(as_owner)
        upgrade(engine)
        engine.dispose()
        with psycopg.connect(as_owner) as connection:
            connection.execute("CREATE TABLE own (id int)")
            for tenant in ("default", "acme"):
                connection.execute(
                    "INSERT INTO market_days VALUES (%s, 'site', 1, %s, 1)", [tenant, f"site of {tenant}"]
                )
        with psycopg.connect(as_grafana, autocommit=True) as connection:
            found = connection.execute("SELECT value FROM panels.market_days").fetchall()
            assert found == [("site of default",)]
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                connection.execute("CREATE TEMPORARY TABLE another (id int)")
            connection.execute("SET default_transaction_read_only = off")
            for statement in (
                "CREATE TEMPORARY TABLE another (id int)",
                "CREATE TABLE another (id int)",
                *(f"SELECT * FROM {table}" for table in ("own", "market_days", "api_keys", "token_keys")),
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement.encode())
    finally:
        postgres.drop(postgres.url_of("scrapewatch"))
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute("DROP ROLE scrapewatch")
            connection.execute("DROP ROLE grafana")


def test_the_health_check_of_the_image_is_a_program() -> None:
    check = re.search(r"HEALTHCHECK[^\[]*(\[.*\])", DOCKERFILE)
    assert check is not None
    interpreter, flag, program = ast.literal_eval(check[1])
    assert (interpreter, flag) == ("python", "-c")
    compile(program, "HEALTHCHECK", "exec")
