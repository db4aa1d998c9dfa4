"""The API keeps what its OpenAPI document says: schemathesis sends what the document allows and what it forbids, and finds nothing.

The product runs as a user starts it, in a process of its own, with a key made, so that authentication is on. What a schema cannot say,
and is so not asked of the API, stands in ``openapi_hooks.py`` with its reason; WebSockets are not in an OpenAPI document.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scrapewatch.examples import EVENTS
from tests.stack.running import Up

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
HOOKS = Path(__file__).with_name("openapi_hooks.py")
BUDGET_SECONDS = 300
"""Seconds that the run may take on a busy machine."""


def call(up: Up, method: str, path: str, body: Any = None, key: str | None = None) -> Any:
    request = urllib.request.Request(
        up.url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read().decode()
        return json.loads(text or "null") if "json" in answer.headers.get("Content-Type", "json") else text


def test_nothing_is_found_against_the_running_product(tmp_path: Path) -> None:
    environment = {f"SCRAPEWATCH_{whose}_REQUESTS_PER_MINUTE": "0" for whose in ("KEY", "TENANT", "ADDRESS")}
    report = tmp_path / "report.json"
    with Up(tmp_path, environment) as up:
        sent = [
            {**event, "session_id": "s1"} for event in map(timeless, EVENTS.values()) if "session_id" in event
        ]
        assert call(up, "POST", "/api/v1/monitoring/metrics", sent)["rejected"] == []
        up.drain()
        made = call(up, "POST", "/api/v1/admin/keys", {"name": "contract", "scopes": ["admin"]})
        ran = subprocess.run(
            [
                sys.executable,
                *("-c", "from schemathesis.cli import schemathesis; schemathesis()"),
                *("--config-file", str(CONFIGURATION), "--no-color", "run", f"{up.url}/openapi.json"),
                *("--header", f"Authorization: Bearer {made['key']}"),
                *("--report", "json", "--report-json-path", str(report)),
            ],
            cwd=tmp_path,
            # What measures our processes has no business in that one.
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith(("COV", "CI"))},
                "SCHEMATHESIS_HOOKS": str(HOOKS),
                "CONTRACT_KEY": made["prefix"],
            },
            capture_output=True,
            text=True,
            timeout=BUDGET_SECONDS,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        # It did what it was to do, with a key that was good to the end.
        document = call(up, "GET", "/openapi.json")
        operations = sum(len(each) for each in document["paths"].values())
        told = json.loads(report.read_text(encoding="utf-8"))
        assert told["operations"]["total"] == operations
        assert told["operations"]["tested"] == operations - 1, "all but the stream"
        assert told["test_cases"]["generated"] > 20 * operations
        assert call(up, "GET", "/api/v1/login", key=made["key"])["scopes"] == ["admin:*"]
        answered = call(up, "GET", "/metrics", key=made["key"])
        counts: Counter[str] = Counter()
        for status, count in re.findall(
            r'^scrapewatch_api_requests_total{.*status="(\d+)".*} (\S+)$', answered, re.MULTILINE
        ):
            counts[status] += int(float(count))
        assert counts["500"] == 0
        assert counts["503"] < 0.02 * counts.total()
        assert counts["200"] > 0.1 * counts.total(), "what is allowed is answered"


def timeless(event: Mapping[str, Any]) -> dict[str, Any]:
    """``event`` as of now."""
    return {name: value for name, value in event.items() if name not in ("timestamp", "event_id")}
