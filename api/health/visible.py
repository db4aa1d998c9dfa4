"""Which services a tenant sees: those of the installation are everybody's, what is judged by scrapers' traffic is each tenant's own."""

from __future__ import annotations

from collections.abc import Mapping

from api.health.findings import Kind, ServiceState
from api.health.judging import judge_proxies, judge_sites
from api.live.activity import Activity
from scrapewatch.ports import DEFAULT_TENANT

_JUDGED_BY_TRAFFIC = frozenset({"orchestrator", "proxies"})


def visible_to(
    tenant: str, states: Mapping[str, ServiceState], activity: Activity, now: int
) -> dict[str, ServiceState]:
    """``states``, which the checks found for the tenant ``default``, as ``tenant`` may see them.

    Another tenant's proxies and sites are judged here, by its own ``activity``; of their uptime nothing is known.
    """
    if tenant == DEFAULT_TENANT:
        return dict(states)
    found = {
        name: state
        for name, state in states.items()
        if state.kind is not Kind.SITE and name not in _JUDGED_BY_TRAFFIC
    }
    found["proxies"] = ServiceState("proxies", Kind.SERVICE, judge_proxies(activity, now), now)
    for site, finding in judge_sites(activity, now).items():
        found[f"site:{site}"] = ServiceState(f"site:{site}", Kind.SITE, finding, now)
    return found
