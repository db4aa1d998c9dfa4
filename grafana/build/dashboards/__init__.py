"""The dashboards, in the order in which a newcomer would read them: each a module with one ``DASHBOARD``."""

from __future__ import annotations

from typing import Final

from grafana.build.dashboard import Dashboard
from grafana.build.dashboards import infrastructure, overview, session, sessions

ALL: Final[tuple[Dashboard, ...]] = (
    overview.DASHBOARD,
    sessions.DASHBOARD,
    session.DASHBOARD,
    infrastructure.DASHBOARD,
)
"""All dashboards."""
