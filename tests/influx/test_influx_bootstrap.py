"""Buckets and tokens: made once, put right when they differ, and no token may do more than it must."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from influx.__main__ import main
from influx.bootstrap import COLLECTOR, READER, bootstrap, check, token_file
from influx.buckets import bucket_name, wanted
from influx.server import Server
from influx.store import InfluxStore
from scrapewatch.measurements import KEEPING, Tier
from scrapewatch.ports import DEFAULT_TENANT, Batch, Flush, TimeRange
from scrapewatch.problems import ConfigurationError, StoreUnavailable
from scrapewatch.time import DAY, HOUR, SECOND, now_ns, window_start
from tests.influxd import Influxd

NOW = window_start(now_ns(), HOUR)
LAST_DAY = TimeRange(NOW - DAY, NOW + HOUR, HOUR)


class Run:
    """One run of the bootstrap on ``influxd`` and what it said."""

    def __init__(self, influxd: Influxd, tenants: list[str], folder: Path, days: int | None = None) -> None:
        self.said: list[str] = []
        self.tokens = bootstrap(
            influxd.url,
            influxd.org,
            influxd.token,
            tenants,
            retention_days=days,
            secrets_dir=folder,
            say=self.said.append,
        )


def inventory(influxd: Influxd, tenant: str) -> tuple[list[Any], list[Any]]:
    """The buckets and authorizations of ``tenant`` as the server lists them."""
    server = Server(influxd.url, influxd.org)
    names = [bucket_name(tenant, tier) for tier in Tier]
    found = [
        server.request("GET", "/api/v2/buckets", influxd.token, query={"name": name}).json() for name in names
    ]
    tokens = server.request("GET", "/api/v2/authorizations", influxd.token).json()["authorizations"]
    return (
        [bucket for answer in found for bucket in answer.get("buckets", [])],
        [token for token in tokens if token["description"].endswith(f" of {tenant}")],
    )


def write_one(influxd: Influxd, token: str, tenant: str) -> str | None:
    """Why a point was not written, or None."""
    store = InfluxStore(influxd.url, influxd.org, token)
    line = f"jobs,site=a scraped=1i {NOW}"
    result = store.write(Flush(0, 1, [Batch(tenant, Tier.FLEET, [line], [1])]))
    return result.kept or next(iter(result.held.values()), None)


def ask_all(influxd: Influxd, token: str, tenant: str) -> list[tuple[Any, ...]]:
    store = InfluxStore(influxd.url, influxd.org, token)
    return store.ask("throughput", {"site": ""}, LAST_DAY, tier=Tier.FLEET, tenant=tenant).rows


def test_buckets_are_kept_as_the_registry_says(influxd: Influxd, tenant: str, tmp_path: Path) -> None:
    Run(influxd, [tenant], tmp_path)
    buckets, _ = inventory(influxd, tenant)
    rules = {bucket["name"]: bucket["retentionRules"][0] for bucket in buckets}
    for tier, keeping in KEEPING.items():
        rule = rules[bucket_name(tenant, tier)]
        assert rule["everySeconds"] * SECOND == keeping.retention
        assert rule["shardGroupDurationSeconds"] * SECOND == keeping.shard


def test_a_second_run_changes_nothing(influxd: Influxd, tenant: str, tmp_path: Path) -> None:
    first = Run(influxd, [tenant], tmp_path)
    assert all("made" in line for line in first.said)
    before = inventory(influxd, tenant)
    texts = {file.name: file.read_text() for file in tmp_path.iterdir()}
    second = Run(influxd, [tenant], tmp_path)
    assert all("as it should be" in line for line in second.said)
    assert len(second.said) == len(first.said) == 7
    assert second.tokens == first.tokens
    assert inventory(influxd, tenant) == before
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == texts


def test_a_changed_retention_is_put_right_and_said(influxd: Influxd, tenant: str, tmp_path: Path) -> None:
    Run(influxd, [tenant], tmp_path)
    said = Run(influxd, [tenant], tmp_path, days=7).said
    assert [line for line in said if "changed from 90 days" in line and "to 7 days" in line] == [
        line for line in said if line.startswith("bucket") and "as it should be" not in line
    ]
    assert sorted(line.split()[1] for line in said if "changed from" in line) == [
        f"{tenant}.external:",
        f"{tenant}.fleet_1m:",
        f"{tenant}.sessions:",
    ]
    assert all("as it should be" in line for line in Run(influxd, [tenant], tmp_path, days=7).said)


def test_an_organisation_that_is_not_there_is_made_once(influxd: Influxd, tmp_path: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        tokens = bootstrap(
            influxd.url, "another & co", influxd.token, ["a"], secrets_dir=tmp_path, say=said.append
        )
        assert InfluxStore(influxd.url, "another & co", tokens).ready() is None
    assert [line for line in said if line.startswith("organisation")] == ["organisation another & co: made"]


@pytest.mark.parametrize("days", [1, 29, 90, 3650])
def test_a_shard_group_is_never_longer_than_the_retention(days: int) -> None:
    for bucket in wanted(DEFAULT_TENANT, days):
        assert 3600 <= bucket.shard <= bucket.retention


def test_token_files_are_for_their_owner_alone(influxd: Influxd, tenant: str, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "secrets"
    Run(influxd, [tenant], folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = sorted(folder.iterdir())
    assert files == sorted(token_file(folder, tenant, role) for role in (COLLECTOR, READER))
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_lost_or_spoilt_file_gets_a_new_token_and_the_old_one_is_gone(
    influxd: Influxd, tenant: str, tmp_path: Path
) -> None:
    old = Run(influxd, [tenant], tmp_path).tokens[tenant]
    token_file(tmp_path, tenant, COLLECTOR).unlink()
    token_file(tmp_path, tenant, READER).write_text("spoilt")
    run = Run(influxd, [tenant], tmp_path)
    assert sum("token replaced" in line for line in run.said) == 2
    assert write_one(influxd, run.tokens[tenant], tenant) is None
    assert write_one(influxd, old, tenant) is not None
    assert len(inventory(influxd, tenant)[1]) == 2


def test_a_bucket_made_anew_gets_tokens_that_reach_it(influxd: Influxd, tenant: str, tmp_path: Path) -> None:
    Run(influxd, [tenant], tmp_path)
    [gone] = [b for b in inventory(influxd, tenant)[0] if b["name"] == f"{tenant}.fleet"]
    Server(influxd.url, influxd.org).request("DELETE", f"/api/v2/buckets/{gone['id']}", influxd.token)
    run = Run(influxd, [tenant], tmp_path)
    assert f"bucket {tenant}.fleet: made" in " ".join(run.said)
    assert write_one(influxd, run.tokens[tenant], tenant) is None


def test_the_collector_writes_and_reads_its_own_tenant_and_no_other(
    influxd: Influxd, tenant: str, tmp_path: Path
) -> None:
    other = f"{tenant}-other"
    tokens = Run(influxd, [tenant, other], tmp_path).tokens
    assert write_one(influxd, tokens[tenant], tenant) is None
    assert write_one(influxd, tokens[other], other) is None
    assert len(ask_all(influxd, tokens[tenant], tenant)) == 1
    assert "does not let the token" in (write_one(influxd, tokens[tenant], other) or "")
    with pytest.raises(StoreUnavailable):
        ask_all(influxd, tokens[tenant], other)
    assert write_one(influxd, tokens[tenant], DEFAULT_TENANT) is not None


def test_the_reader_reads_and_cannot_write(influxd: Influxd, tenant: str, tmp_path: Path) -> None:
    tokens = Run(influxd, [tenant], tmp_path).tokens
    reader = token_file(tmp_path, tenant, READER).read_text().strip()
    write_one(influxd, tokens[tenant], tenant)
    assert len(ask_all(influxd, reader, tenant)) == 1
    assert "does not let the token" in (write_one(influxd, reader, tenant) or "")


@pytest.mark.parametrize(
    "method_path", ["POST /api/v2/buckets", "POST /api/v2/authorizations", "POST /api/v2/orgs"]
)
@pytest.mark.parametrize("role", [COLLECTOR, READER])
def test_no_token_of_a_role_administers(
    influxd: Influxd, tenant: str, tmp_path: Path, role: Any, method_path: str
) -> None:
    Run(influxd, [tenant], tmp_path)
    token = token_file(tmp_path, tenant, role).read_text().strip()
    server = Server(influxd.url, influxd.org)
    [org] = server.request("GET", "/api/v2/orgs", influxd.token, query={"org": influxd.org}).json()["orgs"]
    body = {
        "orgID": org["id"],
        "name": "more",
        "permissions": [{"action": "read", "resource": {"type": "buckets"}}],
    }
    method, path = method_path.split()
    assert server.request(method, path, token, json_body=body).status in (401, 403)


def test_a_token_that_may_not_administer_cannot_bootstrap(
    influxd: Influxd, tenant: str, tmp_path: Path
) -> None:
    token = Run(influxd, [tenant], tmp_path).tokens[tenant]
    for wrong in (token, "no-such-token"):
        with pytest.raises(ConfigurationError, match="INFLUX_ADMIN_TOKEN"):
            bootstrap(influxd.url, influxd.org, wrong, ["another"])


def test_check_finds_all_well_after_a_bootstrap(influxd: Influxd, tenant: str, tmp_path: Path) -> None:
    tokens = Run(influxd, [tenant], tmp_path).tokens
    for token in (influxd.token, tokens[tenant]):
        assert check(influxd.url, influxd.org, token, [tenant], secrets_dir=tmp_path) == []


def test_check_names_what_is_wrong(influxd: Influxd, tenant: str, tmp_path: Path) -> None:
    def problems(**given: Any) -> str:
        arguments: dict[str, Any] = {"url": influxd.url, "org": influxd.org, "token": influxd.token}
        return "\n".join(check(**arguments | given))

    Run(influxd, [tenant], tmp_path)
    assert f"bucket {tenant}-none.fleet is missing" in problems(tenants=[f"{tenant}-none"])
    assert "and not 7 days" in problems(tenants=[tenant], retention_days=7)
    assert "INFLUX_TOKEN" in problems(token="wrong")
    assert 'no organisation "elsewhere"' in problems(org="elsewhere")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert "is it running" in problems(url=f"http://127.0.0.1:{port}")
    reader, collector = (token_file(tmp_path, tenant, role) for role in (READER, COLLECTOR))
    reader.write_text(collector.read_text())
    assert "the reader's token" in problems(tenants=[tenant], secrets_dir=tmp_path)
    collector.chmod(0o644)
    assert "can be read by others" in problems(tenants=[tenant], secrets_dir=tmp_path)
    collector.unlink()
    assert "is missing" in problems(tenants=[tenant], secrets_dir=tmp_path)


class Fresh(Influxd):
    """An InfluxDB that nobody has set up."""

    def _set_up(self) -> None:
        """Leave that to the test."""


@pytest.fixture
def fresh(influxd: Influxd) -> Iterator[Influxd]:
    with Fresh() as running:
        yield running


def test_the_command_sets_up_a_fresh_server_and_a_second_run_changes_nothing(
    fresh: Influxd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INFLUX_URL", fresh.url)
    monkeypatch.setenv("INFLUX_ORG", "fleet & co")
    monkeypatch.setenv("METRICS_RETENTION_DAYS", "30")
    password = tmp_path / "password"
    password.write_text("a long enough password\n")
    folder = tmp_path / "secrets"
    command = ["bootstrap", "--setup", str(password), "--tenant", "default", "--tenant", "acme"]
    command += ["--secrets-dir", str(folder)]
    assert main(command) == 0
    first = capsys.readouterr().out
    assert "server: set up" in first
    assert "bucket acme.sessions: made, keeps 30 days" in first
    secrets = {file.name: file.read_text() for file in folder.iterdir()}
    assert set(secrets) == {
        "operator.token",
        "collector.token",
        "reader.token",
        "acme.collector.token",
        "acme.reader.token",
    }
    assert not any(text.strip() in first for text in secrets.values())
    assert main(command) == 0
    again = capsys.readouterr().out.splitlines()
    assert again[0] == "server: set up already"
    assert all("as it should be" in line for line in again[1:])
    assert {file.name: file.read_text() for file in folder.iterdir()} == secrets
    assert main(["check", "--tenant", "acme", "--secrets-dir", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "all well"
    monkeypatch.setenv("METRICS_RETENTION_DAYS", "31")
    assert main(["check", "--secrets-dir", str(folder)]) == 1
    assert "bucket fleet_1m keeps 30 days" in capsys.readouterr().err


def test_a_set_up_takes_the_operators_token_that_it_is_given(
    fresh: Influxd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INFLUX_URL", fresh.url)
    (tmp_path / "password").write_text("a long enough password")
    (tmp_path / "operator").write_text("an-operator-token-of-our-own\n")
    monkeypatch.setenv("INFLUX_ADMIN_TOKEN_FILE", str(tmp_path / "operator"))
    assert main(["bootstrap", "--setup", "password", "--secrets-dir", "secrets"]) == 0
    assert not (tmp_path / "secrets" / "operator.token").exists()
    assert main(["check", "--secrets-dir", "secrets"]) == 0
    capsys.readouterr()


def test_the_command_says_what_is_missing(
    influxd: Influxd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def complaint(*arguments: str) -> str:
        assert main(arguments) == 1
        return capsys.readouterr().err

    monkeypatch.chdir(tmp_path)
    for name in ("INFLUX_URL", "INFLUX_TOKEN", "INFLUX_ADMIN_TOKEN", "INFLUX_ADMIN_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert "INFLUX_URL is not set" in complaint("bootstrap")
    monkeypatch.setenv("INFLUX_URL", influxd.url)
    assert "INFLUX_ADMIN_TOKEN" in complaint("bootstrap")
    assert "there is no token to check with" in complaint("check")
    assert "cannot be read" in complaint("bootstrap", "--setup", "no-such-file")
    (tmp_path / "password").write_text("a long enough password")
    assert "set up already" in complaint("bootstrap", "--setup", "password")
    monkeypatch.setenv("INFLUX_ADMIN_TOKEN_FILE", "no-such-file")
    assert "cannot be read" in complaint("bootstrap")
