"""What panels say where there is nothing to see, and where their points lead: the same words everywhere."""

from __future__ import annotations

from typing import Any, Final

NO_EVENTS: Final = (
    "Nothing was reported in this time. Choose a longer one, or let a scraper report (docs/events.md)."
)
NO_SESSIONS: Final = (
    "No session in this time. Choose a longer one, or start a scraper that reports (docs/events.md)."
)
NO_SESSION: Final = "Choose a session above; it may have reported nothing of this in this time."
NO_ERRORS: Final = "No errors in this time."
NO_HOSTS: Final = (
    "No machine was measured in this time. Choose a longer one, or switch the sampler on (docs/settings.md)."
)
NO_COSTS: Final = (
    "No costs were reported in this time. Let scrapers report `cost` or `proxy` events (docs/events.md)."
)
NO_PROXIES: Final = "No requests through proxies were reported in this time. Let scrapers report `proxy` events (docs/events.md)."
NO_BREAKERS: Final = "No circuit breaker was reported in this time or the day before it. Scrapers report them as `circuit_breaker` events."
NO_COLLECTOR: Final = "No collector reported in this time. Choose a longer one, or look whether one runs: /readyz says what is wrong."
NO_CHECKS: Final = "Nothing was checked in this time. Choose a longer one, or look whether a collector runs: /readyz says what is wrong."
NO_LIVE: Final = (
    "Nothing this second. Live panels need GRAFANA_URL and GRAFANA_TOKEN at the collector (docs/live.md)."
)

_KEEP: Final = "${__url_time_range}&${series:queryparam}&${records:queryparam}&${search:queryparam}"

TO_SESSION: Final = (
    f"/d/scrapewatch-session?var-session=${{__value.raw:percentencode}}&{_KEEP}&${{site:queryparam}}",
    "This session",
)
"""From a cell that names a session to that session."""
TO_SITE: Final = (f"/d/scrapewatch-sites?var-site=${{__field.name:percentencode}}&{_KEEP}", "This site")
"""From a series that is named after a site to that site."""

TO_SESSION_OF_SERIES: Final = (
    f"/d/scrapewatch-session?var-session=${{__field.name:percentencode}}&{_KEEP}&${{site:queryparam}}",
    "This session",
)
"""From a series that is named after a session to that session."""

TO_SITE_OF_CELL: Final = (
    f"/d/scrapewatch-sites?var-site=${{__value.raw:percentencode}}&{_KEEP}",
    "This site alone",
)
"""From a cell that names a site to that site."""


def to(uid: str, words: str) -> tuple[str, str]:
    """To the dashboard ``uid``, with time and choices."""
    return f"/d/{uid}?{_KEEP}&${{site:queryparam}}&${{session:queryparam}}", words


def linked(column: str, link: tuple[str, str], width: int = 0) -> dict[str, Any]:
    """An override by which the cells of a column lead somewhere."""
    address, said = link
    properties: list[dict[str, Any]] = [{"id": "links", "value": [{"title": said, "url": address}]}]
    if width:
        properties.append({"id": "custom.width", "value": width})
    return {"matcher": {"id": "byName", "options": column}, "properties": properties}


def yes(column: str) -> dict[str, Any]:
    """An override by which a table's column says ``yes`` or nothing."""
    options = {"true": {"text": "yes", "index": 0}, "false": {"text": "", "index": 1}}
    return {
        "matcher": {"id": "byName", "options": column},
        "properties": [{"id": "mappings", "value": [{"type": "value", "options": options}]}],
    }


def wide(column: str, width: int) -> dict[str, Any]:
    """An override by which a table's column is so many pixels wide."""
    return {
        "matcher": {"id": "byName", "options": column},
        "properties": [{"id": "custom.width", "value": width}],
    }
