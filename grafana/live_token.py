"""The token by which the collector pushes to Grafana Live: of a service account that may look and push, and nothing else."""

from __future__ import annotations

from typing import Final

from grafana.server import Server
from scrapewatch.problems import ConfigurationError

ACCOUNT: Final = "scrapewatch live"
"""The name of the service account and of its token."""


def make(server: Server) -> str:
    """The text of a new token; the one that an earlier call made ends with it, since its text can be had only once.

    Raises:
        ConfigurationError: who asks may not make service accounts.
        StoreUnavailable: Grafana does not answer.

    """
    account = _account(server)
    path = f"/api/serviceaccounts/{account}/tokens"
    for token in server.get(path) or ():
        if token["name"] == ACCOUNT:
            server.send("DELETE", f"{path}/{token['id']}")
    made = server.send("POST", path, {"name": ACCOUNT})
    if not isinstance(made, dict) or not made.get("key"):
        raise ConfigurationError(f"Grafana at {server.name} made a token and did not show it")
    return str(made["key"])


def _account(server: Server) -> int:
    found = server.get("/api/serviceaccounts/search", query=ACCOUNT, perpage=1_000) or {}
    for account in found.get("serviceAccounts") or ():
        if account["name"] == ACCOUNT:
            return int(account["id"])
    made = server.send("POST", "/api/serviceaccounts", {"name": ACCOUNT, "role": "Viewer"})
    return int(made["id"])
