"""Keys and tenants by the command line, and what a running stack makes of them."""

from __future__ import annotations

import json
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scrapewatch.client import Client, SendError
from scrapewatch.credentials import VALID
from stack.cli import main
from stack.terminal import out
from tests.loopback import wait_for
from tests.stack.running import Up

HISTORIC = b'{"session_id": "s1", "metric": "job_scraped", "value": {"site": "indeed", "count": 1}}'

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command on records of the test's own: status, output, messages."""
    monkeypatch.setenv("SCRAPEWATCH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(out, "width", 200)  # as a wide terminal's, whoever printed first

    def command(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        said = capsys.readouterr()
        return status, said.out, said.err

    return command


def test_a_key_is_shown_once_listed_without_its_secret_and_revoked(run: Run) -> None:
    status, key, told = run("keys", "create", "spiders", "--expires", "90d")
    assert status == 0 and key.startswith("sw_") and key.strip().count("_") == 2
    assert "first one" in told and "metrics:write" in told
    assert "first one" not in run("keys", "create", "more", "--role", "viewer", "--scope", "metrics:write")[2]
    status, listed, _ = run("keys", "list", "--json")
    first, second = json.loads(listed)
    assert (first["name"], first["scopes"], first["problem"]) == ("spiders", ["metrics:write"], None)
    assert second["scopes"] == ["metrics:write", "monitoring:read"]
    assert first["expires_at"].endswith("Z") and second["expires_at"] is None
    secret = key.strip().rpartition("_")[2]
    assert secret not in listed and secret not in run("keys", "list")[1]
    assert run("keys", "revoke", "spiders")[0] == 0
    assert "was revoked" in run("keys", "list")[1]
    made = json.loads(run("keys", "create", "third", "--json")[1])
    assert made["key"].startswith(f"sw_{made['prefix']}_")
    assert run("keys", "revoke", made["prefix"])[0] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("keys", "create", "k", "--role", "king"), "no such scope or role"),
        (("keys", "create", "k", "--expires", "soon"), "no length of time"),
        (("keys", "create", "k", "--tenant", "nobody"), "is not known"),
        (("keys", "create", " "), "name of a key"),
        (("keys", "revoke", "nobody"), "there is no key"),
        (("tenants", "create", "No.Good"), "small letters"),
        (("tenants", "disable", "nobody"), "no tenant"),
        (("tenants", "disable", "default"), "cannot be disabled"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(run: Run, arguments: tuple[str, ...], says: str) -> None:
    status, _, told = run(*arguments)
    assert status == 1
    assert says in " ".join(told.split())


def test_tenants_are_made_and_their_keys_told_apart(run: Run) -> None:
    assert run("tenants", "create", "acme", "--title", "ACME [bold]Inc.")[0] == 0
    for tenant in ("default", "acme"):
        assert run("keys", "create", "same", "--tenant", tenant)[0] == 0
    status, _, told = run("keys", "revoke", "same")
    assert status == 1 and "2 keys" in told
    assert run("keys", "revoke", "same", "--tenant", "acme")[0] == 0
    assert "ACME [bold]Inc." in run("tenants", "list")[1]
    assert run("tenants", "disable", "acme")[0] == 0
    listed = json.loads(run("tenants", "list", "--json")[1])
    assert [(item["name"], item["disabled_at"] is None) for item in listed] == [
        ("default", True),
        ("acme", False),
    ]
    assert run("tenants", "enable", "acme")[0] == 0
    assert "disabled" not in run("tenants", "list")[1]


def test_with_no_key_the_list_says_what_that_means(run: Run) -> None:
    assert "none is needed" in run("keys", "list")[2]


def status_of(up: Up, path: str, key: str | None = None, body: bytes | None = None) -> int:
    headers = {"Content-Type": "text/plain"} | ({"Authorization": f"Bearer {key}"} if key else {})
    try:
        with urllib.request.urlopen(
            urllib.request.Request(up.url + path, data=body, headers=headers), timeout=10
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_running_stack_learns_of_keys_within_seconds_and_serves_who_has_one(tmp_path: Path) -> None:
    """From a fresh machine to keys, on the real process: the historic body, the first key, its end, and who goes on without one."""
    events, sessions = "/api/v1/monitoring/metrics", "/api/v1/monitoring/sessions"
    with Up(tmp_path) as up:
        assert status_of(up, events, body=HISTORIC) == 202
        key = up.command("keys", "create", "all", "--role", "viewer", "--role", "writer").stdout.strip()
        wait_for(lambda: status_of(up, sessions) == 401, what="a key is needed", seconds=VALID + 4, every=0.5)
        assert status_of(up, events, body=HISTORIC) == 401
        assert status_of(up, events, key, HISTORIC) == 202
        assert status_of(up, sessions, key) == 200
        assert status_of(up, "/api/v1/admin/keys", key) == 403
        assert status_of(up, "/metrics", key) == 200
        assert status_of(up, "/healthz") == 200
        request = urllib.request.Request(f"{up.url}/metrics", headers={"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            figures = answer.read().decode()
        for name in ("scrapewatch_api_refused_total", "scrapewatch_requests_refused_total"):
            assert f'{name}{{reason="unauthenticated"}}' in figures
        with pytest.raises(SendError, match="401"):
            Client(up.url).send([json.loads(HISTORIC)])
        assert Client(up.url, api_key=key).send([json.loads(HISTORIC)]).accepted == 1
        # The command on the same machine shows itself by the records; elsewhere by a key of the environment.
        log = tmp_path / "spider.log"
        log.write_text(Path("tests/stack/scrapy_log/logs/scrapy-2.13.log").read_text())
        imported = up.command("import", "scrapy-log", str(log), "--site", "indeed", "--url", up.url)
        assert imported.returncode == 0, imported.stderr
        assert up.command("keys", "revoke", "all").returncode == 0
        revoked_at = time.monotonic()
        wait_for(
            lambda: status_of(up, events, key, HISTORIC) == 401,
            what="the revoked key is refused",
            seconds=VALID + 4,
            every=0.2,
        )
        assert time.monotonic() - revoked_at < VALID + 1
        log_text = up.log.read_text()
        assert key.rpartition("_")[2] not in log_text and "eyJ" not in log_text
    database = tmp_path / "data" / "records.sqlite"
    assert key.rpartition("_")[2].encode() not in database.read_bytes()


def test_the_key_of_the_environment_is_sent_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from scrapewatch import command

    shown: list[Any] = []

    class Receiver(Client):
        def __init__(self, url: str, **more: Any) -> None:
            shown.append(more["api_key"])
            super().__init__(url, give_up_after=0.0, sleep=lambda _: None)

    monkeypatch.setattr(command, "Client", Receiver)
    event = HISTORIC.decode()
    monkeypatch.setenv("SCRAPEWATCH_API_KEY", "sw_a")
    command.send("http://127.0.0.1:9", event, backfill=False)
    file = tmp_path / "key"
    file.write_text("sw_b\n")
    file.chmod(stat.S_IRUSR)
    monkeypatch.setenv("SCRAPEWATCH_API_KEY_FILE", str(file))
    command.send("http://127.0.0.1:9", event, backfill=False)
    monkeypatch.setenv("SCRAPEWATCH_API_KEY_FILE", str(tmp_path / "none"))
    assert command.send("http://127.0.0.1:9", event, backfill=False) == 1
    assert shown == ["sw_a", "sw_b"]
    assert "cannot be read" in capsys.readouterr().err
