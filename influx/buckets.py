"""Where the points of a tenant lie: a bucket for each tier, so that a token, not a filter, is the boundary between tenants."""

from __future__ import annotations

from dataclasses import dataclass

from scrapewatch.measurements import KEEPING, Tier, retention
from scrapewatch.ports import DEFAULT_TENANT
from scrapewatch.time import SECOND


def bucket_name(tenant: str, tier: Tier) -> str:
    """The bucket of ``tier`` for ``tenant``: ``fleet`` for the default tenant, ``acme.fleet`` for ``acme``.

    No two pairs share a name, because no tier has a dot in its own.
    """
    return str(tier) if tenant == DEFAULT_TENANT else f"{tenant}.{tier}"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket as it should be; ``retention`` and ``shard`` (the span of a shard group) in seconds."""

    name: str
    retention: int
    shard: int


def wanted(tenant: str, retention_days: int | None = None) -> list[Bucket]:
    """The buckets of ``tenant``, with METRICS_RETENTION_DAYS (None: as the registry says)."""
    found = []
    for tier, keeping in KEEPING.items():
        kept = retention(tier, retention_days)
        # InfluxDB refuses a shard group longer than the retention.
        shard = min(keeping.shard, kept)
        found.append(Bucket(bucket_name(tenant, tier), kept // SECOND, shard // SECOND))
    return found
