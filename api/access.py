"""Who asks, as the gate in front of every route found out."""

from __future__ import annotations

from scrapewatch.gate import identity_of, tenant_of, who_asks

__all__ = ["identity_of", "tenant_of", "who_asks"]
