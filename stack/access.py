"""The gate of a process, made of the settings and the records; and how the product shows itself to another process of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from prometheus_client.core import CounterMetricFamily
from sqlalchemy import Engine

from records.credentials import SqlCredentials
from scrapewatch.access import WRITE, Identity
from scrapewatch.addresses import is_loopback
from scrapewatch.credentials import Credentials
from scrapewatch.gate import Gate
from scrapewatch.limits import Limits
from scrapewatch.ports import DEFAULT_TENANT
from scrapewatch.problems import ConfigurationError, StoreUnavailable
from scrapewatch.settings import Settings
from scrapewatch.tokens import LOGIN_SECONDS, Tokens, foreign_tokens
from stack.stores import has_records, open_records, tenant_problem

_ITSELF: Final = "service:scrapewatch"
"""The name of what a process of ours shows to another."""


def credentials_of(settings: Settings, engine: Engine, *, writes: bool | None = None) -> SqlCredentials:
    """The keys and tenants of the records behind ``engine``; ``writes``: for a process that writes points, or one that reads them."""
    return SqlCredentials(engine, partial(tenant_problem, settings, writes))


def make_gate(settings: Settings, engine: Engine, *, writes: bool | None = None) -> tuple[Gate, Tokens]:
    """The gate in front of a process, and what makes and checks tokens.

    Raises:
        ConfigurationError: the settings of another issuer of tokens contradict each other.
    """
    store = credentials_of(settings, engine, writes=writes)
    foreign = foreign_tokens(settings)
    tokens = Tokens(store, foreign)
    credentials = Credentials(store, tokens.judge, closed=foreign is not None)
    return Gate(credentials, trust_network=settings.trust_network, limits=Limits(settings)), tokens


def refusals(gate: Gate) -> CounterMetricFamily:
    """Whom the gate turned away, for Prometheus; requests of events are counted by the collector."""
    found = CounterMetricFamily(
        "scrapewatch_api_refused", "Requests to the API that did not pass the gate.", labels=("reason",)
    )
    for reason, count in sorted(gate.refused.items()):
        found.add_metric((reason,), count)
    return found


def own_key(tokens: Tokens, scope: str = WRITE) -> Callable[[], str]:
    """What makes a token of the product's own for ``scope``, for a request to another process of it."""
    identity = Identity(DEFAULT_TENANT, frozenset({scope}), _ITSELF)
    return lambda: tokens.issue(identity, seconds=LOGIN_SECONDS)


def demand_keys(settings: Settings) -> None:
    """Let a start go on whose address strangers can reach.

    Raises:
        ConfigurationError: nothing would keep them out.
        StoreUnavailable: the records, where keys are, do not answer.
    """
    if settings.trust_network or settings.oauth_issuer is not None:
        return
    records = open_records(settings)
    try:
        made = SqlCredentials(records.engine).any_made()
    finally:
        records.close()
    if not made:
        raise ConfigurationError(
            f"{settings.host} can be reached from other machines, and no API key was made yet: make one with "
            "`scrapewatch keys create NAME --role admin`, bind to 127.0.0.1, or set SCRAPEWATCH_TRUST_NETWORK=true where the "
            "network itself keeps strangers out"
        )


def key_for(url: str, settings: Settings, scope: str = WRITE) -> str | None:
    """What shows us to the process at ``url``: the key of the settings, or, on this machine, a token of the records' own for ``scope``.

    None where neither can be had or is needed: if it is, that process says so.
    """
    if settings.api_key is not None:
        return settings.api_key.get_secret_value()
    if not is_loopback(urlsplit(url).hostname or ""):
        return None
    if not has_records(settings):
        return None  # those of the process at that address lie elsewhere
    try:
        records = open_records(settings)
        try:
            store = SqlCredentials(records.engine)
            return own_key(Tokens(store), scope)() if store.any_made() else None
        finally:
            records.close()
    except StoreUnavailable:
        return None
