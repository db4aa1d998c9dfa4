"""What a tenant sees of the services."""

from __future__ import annotations

from api.health.findings import Finding, Kind, ServiceState, Status
from api.health.visible import visible_to
from api.live.activity import Activity
from scrapewatch.time import now_ns
from tests.api.stacks import event


def test_sites_and_scrapers_are_each_tenants_own_and_the_stores_everybodys() -> None:
    at = now_ns()
    states = {
        name: ServiceState(name, kind, Finding(Status.UP), at, 100.0, 100.0)
        for name, kind in (
            ("sql", Kind.STORE),
            ("collector", Kind.SERVICE),
            ("orchestrator", Kind.SERVICE),
            ("site:ours", Kind.SITE),
        )
    }
    theirs = Activity()
    page = event("page_processed", {"site": "theirs", "status": 500})
    theirs.see([{**page, "tenant": "acme"}] * 5, at)
    assert visible_to("default", states, Activity(), at) == states
    seen = visible_to("acme", states, theirs, at)
    assert set(seen) == {"sql", "collector", "proxies", "site:theirs"}
    assert seen["site:theirs"].finding.status is Status.DOWN
    assert seen["site:theirs"].uptime_30d is None
