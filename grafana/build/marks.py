"""What all dashboards mark over time: when sessions began and ended, when breakers opened, and alerts."""

from __future__ import annotations

from typing import Any, Final

from grafana.build import colours
from grafana.build.panels import RECORDS, SERIES, Flux, Sql

_MARKS: Final = (
    ("Alerts", Sql("annotations_alerts"), colours.BAD),
    ("Breakers", Flux("breaker_openings", ("opened",), steps=("as_marks",)), colours.WARN),
)


def marks(
    *, of_session: bool = False, shown: bool = True, sessions_shown: bool = True, breakers_shown: bool = True
) -> list[dict[str, Any]]:
    """The annotations as Grafana reads them; ``of_session``: of the sessions those of the chosen one alone.

    Those that are not ``shown`` can be switched on, and so can those of sessions and of breakers where these are not.
    """
    made: list[dict[str, Any]] = [
        {
            "name": "Annotations & Alerts",
            "type": "dashboard",
            "builtIn": 1,
            "datasource": {"type": "grafana", "uid": "-- Grafana --"},
            "enable": True,
            "hide": True,
            "iconColor": colours.QUIET,
        }
    ]
    sessions = Sql("annotations_session" if of_session else "annotations_sessions")
    for name, target, colour in (("Sessions", sessions, colours.INFO), *_MARKS):
        source = RECORDS if isinstance(target, Sql) else SERIES
        made.append(
            {
                "name": name,
                "datasource": source,
                "enable": {"Sessions": sessions_shown, "Breakers": breakers_shown}.get(name, shown),
                "hide": False,
                "iconColor": colour,
                "target": {"refId": name, **target.json(["site"])},
            }
        )
    return made
