"""The parts that a process may serve, and where they are reached: known without loading any of them."""

from __future__ import annotations

from typing import Final

COLLECTOR: Final = "collector"
API: Final = "api"


def url_of(host: str, port: int) -> str:
    """Where this machine reaches a server that is bound to ``host``."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - asked for, not bound to
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
