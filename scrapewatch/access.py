"""Who may do what: the scopes, the roles, and the one table of what each route needs.

Nothing is allowed that does not stand here: a route that is not in :data:`ROUTES` is refused at run time, and a test walks over every
route that is registered. To add a route, add its line; the names of what stands in braces do not matter, nor does the ``/api/v1`` that
it is served under.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Final

from scrapewatch.ports import DEFAULT_TENANT
from scrapewatch.problems import InvalidInput

PREFIX: Final = "/api/v1"

READ: Final = "monitoring:read"
WRITE: Final = "metrics:write"
ALERT: Final = "alerts:write"
ADMIN: Final = "admin:*"

SCOPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        READ: "see sessions, figures, alerts and exports, also as they happen",
        WRITE: "report events",
        ALERT: "acknowledge, resolve and silence alerts; pause, resume and cancel sessions; schedule exports",
        ADMIN: "all of it, and keys and tenants",
    }
)
"""Every scope, and what it allows."""

ROLES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "viewer": frozenset({READ}),
        "writer": frozenset({WRITE}),
        "operator": frozenset({READ, ALERT}),
        "admin": frozenset({ADMIN}),
    }
)
"""Roles are names for sets of scopes: a scraper's key is a writer's, an analyst's a viewer's."""

_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks: whose data it is about, what may be done, and a name for logs and limits that is no secret."""

    tenant: str
    scopes: frozenset[str]
    name: str

    def may(self, scope: str) -> bool:
        """Whether that is allowed."""
        return scope in self.scopes or ADMIN in self.scopes

    @property
    def at_home(self) -> bool:
        """Whether it belongs to the tenant whose installation this is, and who so may see what is of all tenants."""
        return self.tenant == DEFAULT_TENANT


def visible_to(asking: Identity | None, by_tenant: Mapping[str, str]) -> dict[str, str]:
    """What of something kept by tenant ``asking`` may see: its own, or all where it may see what is of all; None sees nothing."""
    if asking is None or not asking.may(READ):
        return {}
    return {tenant: text for tenant, text in by_tenant.items() if asking.at_home or tenant == asking.tenant}


LOCAL: Final = Identity(DEFAULT_TENANT, frozenset({ADMIN}), "local")
"""Who asks from this machine while no key was made yet."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a route needs: a ``scope`` (None: anybody may ask), and with ``at_home`` that it is of the tenant ``default``.

    ``at_home`` is for what tells of the whole installation. ``takes_events``: how much and how often is the collector's business; other
    bodies are small, and other requests counted. ``takes_secrets``: what it is asked with may be a guess, so it is counted by address.
    """

    scope: str | None
    at_home: bool = False
    takes_events: bool = False
    takes_secrets: bool = False

    def allows(self, identity: Identity) -> bool:
        """Whether ``identity`` may."""
        return self.scope is None or (identity.may(self.scope) and (identity.at_home or not self.at_home))


ANYBODY: Final = Rule(None)
_SIGNING_IN: Final = Rule(None, takes_secrets=True)
_READ: Final = Rule(READ)
_EVENTS: Final = Rule(WRITE, takes_events=True)
_ALERT: Final = Rule(ALERT)
_ADMIN: Final = Rule(ADMIN)
_OF_ALL: Final = Rule(READ, at_home=True)
_OWNER: Final = Rule(ADMIN, at_home=True)

ROUTES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        # Events in.
        "POST /monitoring/metrics": _EVENTS,
        "POST /data-quality-metrics": _EVENTS,
        "POST /api/v2/write": _EVENTS,
        # Sessions.
        "GET /monitoring/sessions": _READ,
        "GET /monitoring/sessions/{session_id}": _READ,
        "GET /monitoring/sessions/{session_id}/metrics": _READ,
        "POST /monitoring/sessions/{session_id}/pause": _ALERT,
        "POST /monitoring/sessions/{session_id}/resume": _ALERT,
        "POST /monitoring/sessions/{session_id}/cancel": _ALERT,
        "GET /monitoring/questions": _READ,
        "GET /monitoring/questions/{question}": _READ,
        # The state of things.
        "GET /monitoring/health/system": _READ,
        "GET /monitoring/health/services": _READ,
        "GET /monitoring/system-health": _READ,
        "GET /monitoring/dashboard": _READ,
        "GET /monitoring/proxy-stats": _READ,
        "GET /monitoring/jobs/active": _READ,
        "GET /monitoring/resources/utilization": _READ,
        # Analytics.
        "GET /monitoring/analytics/performance": _READ,
        "GET /analytics/performance/summary": _READ,
        "GET /analytics/performance/trends": _READ,
        "GET /analytics/sites/comparison": _READ,
        "GET /analytics/market/insights": _READ,
        "GET /analytics/roi": _READ,
        # Alerts.
        "GET /monitoring/alerts": _READ,
        "GET /monitoring/alerts/statistics": _READ,
        "GET /monitoring/alerts/{alert_id}": _READ,
        "POST /monitoring/alerts/{alert_id}/acknowledge": _ALERT,
        "POST /monitoring/alerts/{alert_id}/resolve": _ALERT,
        "POST /monitoring/alerts/grafana": _ALERT,
        "GET /monitoring/silences": _READ,
        "POST /monitoring/silences": _ALERT,
        "DELETE /monitoring/silences/{silence_id}": _ALERT,
        # Exports.
        "GET /monitoring/export/metrics": _READ,
        "GET /monitoring/export/schedules": _READ,
        "POST /monitoring/export/schedules": _ALERT,
        "DELETE /monitoring/export/schedules/{schedule_id}": _ALERT,
        # As it happens.
        "WS /ws/sessions/{session_id}": _READ,
        "WS /ws/system": _READ,
        "WS /monitoring/realtime": _READ,
        "GET /monitoring/stream": _READ,
        # Credentials. Who asks for a token or signs in shows one with the request.
        "POST /oauth/token": _SIGNING_IN,
        "GET /login": _SIGNING_IN,
        "POST /login": _SIGNING_IN,
        "POST /logout": _SIGNING_IN,
        "GET /admin/keys": _ADMIN,
        "POST /admin/keys": _ADMIN,
        "DELETE /admin/keys/{prefix}": _ADMIN,
        "GET /admin/tenants": _OWNER,
        "POST /admin/tenants": _OWNER,
        "PATCH /admin/tenants/{name}": _OWNER,
        # For those who run it. A balancer has no key; what is wrong is told only to who may read.
        "GET /healthz": ANYBODY,
        "GET /readyz": ANYBODY,
        "GET /metrics": _OF_ALL,
        # Pages, which hold no data of anybody's.
        "GET /": ANYBODY,
        "GET /page.css": ANYBODY,
        "GET /page.js": ANYBODY,
        "GET /login.js": ANYBODY,
        "GET /favicon.svg": ANYBODY,
        "GET /docs": ANYBODY,
        "GET /docs.js": ANYBODY,
        "GET /docs/swagger-ui.css": ANYBODY,
        "GET /docs/swagger-ui-bundle.js": ANYBODY,
        "GET /openapi.json": ANYBODY,
        "GET /dashboard": ANYBODY,
        "GET /dashboard/sessions": ANYBODY,
        "GET /dashboard/analytics": ANYBODY,
        "GET /dashboard/insights": ANYBODY,
    }
)
"""``METHOD /route`` → what it needs. WebSockets have the method ``WS``."""


def rule_of(method: str, template: str) -> Rule | None:
    """What the route registered as ``template`` needs for ``method``; None where it does not stand in the table.

    ``HEAD`` is as ``GET``.
    """
    return _rules().get(("GET" if method == "HEAD" else method, _shape(template)))


@cache
def _rules() -> Mapping[tuple[str, str], Rule]:
    found: dict[tuple[str, str], Rule] = {}
    for line, rule in ROUTES.items():
        method, _, template = line.partition(" ")
        found[method, _shape(template)] = rule
    return found


def _shape(template: str) -> str:
    """``template`` as it is compared: without its version and the names in braces."""
    path = template.removeprefix(PREFIX) if template.startswith(f"{PREFIX}/") else template
    return re.sub(r"\{[^}]*\}", "{}", path)


def scopes_of(names: Iterable[str]) -> frozenset[str]:
    """The scopes that ``names`` (scopes, or roles) stand for.

    Raises:
        InvalidInput: there is none of that name, or no name at all.
    """
    found: set[str] = set()
    for name in names:
        if name in SCOPES:
            found.add(name)
        elif name in ROLES:
            found |= ROLES[name]
        else:
            raise InvalidInput(
                f"there is no such scope or role: the scopes are {', '.join(SCOPES)}, the roles {', '.join(ROLES)}",
                "scopes",
            )
    if not found:
        raise InvalidInput("a key without a scope is good for nothing", "scopes")
    return frozenset(found)


def known_scopes(names: Collection[object]) -> frozenset[str]:
    """Those of ``names`` that are scopes; others, as a newer version may have kept them, allow nothing."""
    return frozenset(name for name in names if isinstance(name, str) and name in SCOPES)


def usable_tenant(name: str) -> str:
    """``name`` as that of a tenant.

    Raises:
        InvalidInput: it is none. Names of buckets are made of it, so it has no dot.
    """
    if not _TENANT.fullmatch(name):
        raise InvalidInput(
            "the name of a tenant has 1 to 63 small letters, digits and hyphens, and begins with no hyphen",
            "tenant",
        )
    return name
