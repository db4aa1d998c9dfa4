"""The log: one form for all lines, and nothing secret in any."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import structlog

from scrapewatch.settings import Settings, load
from stack.logs import set_up_logs
from stack.redaction import HIDDEN, Redaction

KEY = "sw_1a2b3c4d_" + "0123456789abcdef" * 4
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJzdyJ9.c2lnbmF0dXJl"
SETTINGS = {
    "INFLUX_TOKEN": "influx-token-of-the-test",
    "DATABASE_URL": "postgresql://sw:p%40ss-word@db.example/sw",
    "REDIS_URL": "redis://:redis-password@redis.example",
    "GRAFANA_TOKEN": "glsa_of_the_test",
}
SECRETS = ("influx-token-of-the-test", "p%40ss-word", "p@ss-word", "redis-password", "glsa_of_the_test")


def test_a_secret_of_the_settings_is_in_no_line_however_it_gets_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for form in ("json", "console"):
        set_up_logs(load({**SETTINGS, "SCRAPEWATCH_LOG_FORMAT": form}))
        log = structlog.get_logger("test")
        for secret in (*SECRETS, *SETTINGS.values()):
            log.warning(f"no answer of {secret}", url=f"http://x/?q={secret}", parts=[{"deep": secret}])
            log.warning("refused", error=ConnectionError(secret), path=Path("/") / secret)
            try:
                raise RuntimeError(f"cannot connect with {secret}")
            except RuntimeError:
                log.exception("failed")
                logging.getLogger("a.library").exception("failed with %s", secret)
        written = capsys.readouterr().err
        assert written.count("cannot connect with") >= 2 * len(SECRETS)
        assert [secret for secret in SECRETS if secret in written] == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"key {KEY} is revoked", f"key sw_1a2b3c4d_{HIDDEN} is revoked"),
        (f"Authorization: Bearer {KEY}", f"Authorization: Bearer sw_1a2b3c4d_{HIDDEN}"),
        (f"a token {JWT}", f"a token {HIDDEN}"),
        ("Authorization: Token 0123456789abcdefghij==", f"Authorization: Token {HIDDEN}"),
        ("http://me:hunter2@proxy.example:80/", f"http://me:{HIDDEN}@proxy.example:80/"),
        ("host=db password=hunter2 user=sw", f"host=db password={HIDDEN} user=sw"),
        ("a token of InfluxDB is missing", "a token of InfluxDB is missing"),
        ("http://127.0.0.1:8000/@me", "http://127.0.0.1:8000/@me"),
    ],
)
def test_what_looks_like_a_credential_is_hidden_and_nothing_else(text: str, shown: str) -> None:
    assert Redaction(Settings()).text(text) == shown


@pytest.mark.parametrize("name", ["authorization", "token", "api_key", "Password", "secret", "cookie"])
def test_a_value_whose_name_says_that_it_is_secret_is_hidden(name: str) -> None:
    entry: dict[str, Any] = {"event": "x", name: "abc", "given": {name: ["abc"]}, "count": 3}
    shown = Redaction(Settings())(None, "info", entry)
    assert shown == {"event": "x", name: HIDDEN, "given": {name: HIDDEN}, "count": 3}


def test_what_libraries_log_is_a_line_of_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(load({"SCRAPEWATCH_LOG_FORMAT": "json"}))
    set_up_logs(load({"SCRAPEWATCH_LOG_FORMAT": "json"}))
    logging.getLogger("a.library").warning("%d of %s", 3, "four")
    wrong = logging.LogRecord("a.library", logging.WARNING, __file__, 1, "%d", ("no number",), None)
    logging.getLogger().handlers[-1].emit(wrong)
    logging.getLogger("a.library").info("too quiet")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["event"], first["level"]) == ("3 of four", "warning")
    assert second["event"] == "%d"
