"""Who asks, as the gate in front of every route found out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scrapewatch.access import LOCAL
from scrapewatch.gate import identity_of, tenant_of, who_asks

__all__ = ["actor_of", "identity_of", "tenant_of", "who_asks"]


def actor_of(scope: Mapping[str, Any]) -> str:
    """Who does what is asked, for the records of people's deeds: the name of their credential.

    Raises:
        Unauthenticated: nobody was let in.
    """
    identity = identity_of(scope)
    return "local admin" if identity is LOCAL else identity.name
