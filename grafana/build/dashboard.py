"""A dashboard: its panels in the order in which they are read, and where each comes to lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from grafana.build import marks
from grafana.build.panels import Panel, Row
from grafana.build.variables import DEFAULT, variable

TAG: Final = "scrapewatch"
"""What all dashboards are tagged with; links lead to those."""

COLUMNS: Final = 24
"""How wide Grafana's grid is."""

SCHEMA: Final = 37
"""The version of the schema that Grafana 9.4 writes; newer ones read it."""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard, with ``refresh`` and ``time_from`` as in Grafana.

    ``variables`` are those beside :data:`~grafana.build.variables.DEFAULT`; ``of_session``: it marks the chosen session alone, not all.
    One that is not ``marked`` shows no annotations until they are switched on, one that is not ``sessions_marked`` none of sessions, one
    that is not ``breakers_marked`` none of breakers: of many they are a forest in which nothing else is seen.
    """

    uid: str
    title: str
    description: str
    panels: tuple[Panel | Row, ...]
    variables: tuple[str, ...] = ()
    time_from: str = "now-1h"
    refresh: str = "30s"
    of_session: bool = False
    marked: bool = True
    sessions_marked: bool = True
    breakers_marked: bool = True

    @property
    def all_variables(self) -> tuple[str, ...]:
        """The names of its variables, in their order."""
        return (*DEFAULT, *self.variables)

    def shown(self) -> Iterator[Panel]:
        """Its panels without the headings."""
        return (panel for panel in self.panels if isinstance(panel, Panel))

    def json(self) -> dict[str, Any]:
        """The dashboard as Grafana reads it."""
        placed = []
        for number, (panel, place) in enumerate(zip(self.panels, places(self.panels), strict=True), start=1):
            if isinstance(panel, Row):
                made: dict[str, Any] = {"type": "row", "title": panel.title, "collapsed": False, "panels": []}
            else:
                made = panel.json(self.all_variables)
            placed.append({**made, "id": number, "gridPos": place})
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": [TAG],
            "schemaVersion": SCHEMA,
            "version": 1,
            "id": None,
            "editable": False,
            "graphTooltip": 1,
            "style": "dark",
            "timezone": "browser",
            "time": {"from": self.time_from, "to": "now"},
            "timepicker": {"refresh_intervals": ["10s", "30s", "1m", "5m", "15m", "1h"]},
            "refresh": self.refresh,
            "fiscalYearStartMonth": 0,
            "liveNow": False,
            "weekStart": "",
            "links": [
                {
                    "type": "dashboards",
                    "title": "scrapewatch",
                    "tags": [TAG],
                    "asDropdown": True,
                    "includeVars": True,
                    "keepTime": True,
                    "targetBlank": False,
                    "icon": "external link",
                    "tooltip": "The other dashboards, with this time and these choices",
                    "url": "",
                }
            ],
            "templating": {"list": [variable(name) for name in self.all_variables]},
            "annotations": {
                "list": marks.marks(
                    of_session=self.of_session,
                    shown=self.marked,
                    sessions_shown=self.marked and self.sessions_marked,
                    breakers_shown=self.marked and self.breakers_marked,
                )
            },
            "panels": placed,
        }


def places(panels: Sequence[Panel | Row]) -> Iterator[dict[str, int]]:
    """Where each lies: side by side as long as there is room, then below all of those.

    A phone shows panels one below the other, by ``y`` and then ``x``: the order of the list.
    """
    x = y = tallest = 0
    for panel in panels:
        width, height = (COLUMNS, 1) if isinstance(panel, Row) else (panel.width, panel.height)
        if x + width > COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        yield {"x": x, "y": y, "w": width, "h": height}
        x, tallest = x + width, max(tallest, height)
