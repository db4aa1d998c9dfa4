"""The dashboards, in the order in which a newcomer would read them: each a module with one ``DASHBOARD``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from grafana.build.dashboard import Dashboard
from grafana.build.dashboards import (
    alerts,
    collector,
    costs,
    infrastructure,
    market,
    overview,
    performance,
    proxies,
    quality,
    session,
    sessions,
    sites,
)
from grafana.build.panels import Panel

ALL: Final[tuple[Dashboard, ...]] = (
    overview.DASHBOARD,
    sessions.DASHBOARD,
    session.DASHBOARD,
    performance.DASHBOARD,
    sites.DASHBOARD,
    proxies.DASHBOARD,
    quality.DASHBOARD,
    market.DASHBOARD,
    costs.DASHBOARD,
    infrastructure.DASHBOARD,
    collector.DASHBOARD,
    alerts.DASHBOARD,
)
"""All dashboards."""


def panels_of(measurement: str) -> Iterator[tuple[Dashboard, Panel]]:
    """The stored panels that show the points of ``measurement``."""
    for dashboard in ALL:
        for panel in dashboard.shown():
            if any(measurement in target.measurements() for target in panel.targets):
                yield dashboard, panel


def clicks(dashboard: Dashboard) -> int:
    """How many it takes from the Overview: one on a panel that leads there, or two by the menu at the top."""
    if dashboard is overview.DASHBOARD:
        return 0
    leads = any(
        f"/d/{dashboard.uid}?" in link for panel in overview.DASHBOARD.shown() for link in panel.leads_to()
    )
    return 1 if leads else 2
