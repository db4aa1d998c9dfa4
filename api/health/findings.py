"""What a check finds of a service."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a service does."""

    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"
    UNKNOWN = "unknown"


class Kind(StrEnum):
    """What a service is."""

    STORE = "store"
    SERVICE = "service"
    SITE = "site"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: ``response_time`` in seconds, ``message`` says what is wrong."""

    status: Status
    message: str | None = None
    response_time: float | None = None


@dataclass(frozen=True, slots=True)
class ServiceState:
    """A service as last checked; ``checked_at`` in ns, uptimes in percent (None where nothing is known)."""

    name: str
    kind: Kind
    finding: Finding
    checked_at: int
    uptime_24h: float | None = None
    uptime_30d: float | None = None
