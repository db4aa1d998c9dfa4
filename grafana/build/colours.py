"""Colours by meaning, the same on every dashboard, that people who do not tell red from green tell apart.

The palette is Okabe and Ito's: https://jfly.uni-koeln.de/color/
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from records.panels import STATES
from scrapewatch.measurements import BREAKER_STATES

GOOD: Final = "#009E73"
WARN: Final = "#E69F00"
BAD: Final = "#D55E00"
INFO: Final = "#56B4E9"
QUIET: Final = "#999999"
PLAIN: Final = "#3D8FD1"
ODD: Final = "#CC79A7"
PALE: Final = "#F0E442"

VERDICTS = MappingProxyType(
    {
        "healthy": GOOD,
        "degraded": WARN,
        "blocked": BAD,
        "empty": ODD,
        "truncated": PALE,
        "stalled": INFO,
        "missing": QUIET,
    }
)
SEVERITIES = MappingProxyType({"info": INFO, "warning": WARN, "critical": BAD})
STATUSES = MappingProxyType(
    {
        "queued": QUIET,
        "running": PLAIN,
        "paused": PALE,
        "completed": GOOD,
        "failed": BAD,
        "cancelled": ODD,
        "firing": BAD,
        "acknowledged": WARN,
        "resolved": GOOD,
    }
)
BREAKERS = MappingProxyType({"closed": GOOD, "half_open": WARN, "open": BAD})
ERRORS = MappingProxyType(
    {
        "403": BAD,
        "429": WARN,
        "timeout": PALE,
        "parsing": ODD,
        "captcha": "#9A6FD0",
        "network": INFO,
        "proxy": PLAIN,
        "other": QUIET,
    }
)
SITES = MappingProxyType(
    {
        "indeed": PLAIN,
        "linkedin": ODD,
        "glassdoor": "#6BC4A6",
        "ziprecruiter": "#9A6FD0",
        "google": PALE,
        "stepstone": "#B58863",
        "monster": INFO,
        "naukri": "#8C9E3A",
    }
)
"""Sites that many watch have a colour of their own; any other takes the next of Grafana's palette."""
QUANTILES = MappingProxyType({"p50": GOOD, "p95": WARN, "p99": BAD})


def series(colours: Mapping[str, str]) -> list[dict[str, Any]]:
    """Overrides by which each series of such a name has its colour."""
    return [
        {
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
        }
        for name, colour in colours.items()
    ]


def live(colours: Mapping[str, str]) -> list[dict[str, Any]]:
    """The same for live series, in whose names such a name stands beside others."""
    return [
        {
            "matcher": {"id": "byRegexp", "options": f"/\\b{name}\\b/"},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
        }
        for name, colour in colours.items()
    ]


def words(colours: Mapping[str, str]) -> list[dict[str, Any]]:
    """Mappings by which each such word in a cell or state has its colour."""
    return [
        {
            "type": "value",
            "options": {
                word: {"color": colour, "index": k, "text": word.replace("_", " ")}
                for k, (word, colour) in enumerate(colours.items())
            },
        }
    ]


def blank() -> list[dict[str, Any]]:
    """A mapping by which a cell without a value is empty: neither good nor bad, and no place for words about an empty panel."""
    result = {"text": " ", "color": "transparent", "index": 0}
    return [{"type": "special", "options": {"match": "null", "result": result}}]


def unknown() -> list[dict[str, Any]]:
    """A mapping by which a figure that is not there takes no colour of a threshold: it is neither good nor bad."""
    return [{"type": "special", "options": {"match": "null+nan", "result": {"color": QUIET, "index": 0}}}]


def breaker_codes() -> list[dict[str, Any]]:
    """Mappings of the codes of a circuit breaker's states."""
    return [
        {
            "type": "value",
            "options": {
                str(code): {"color": BREAKERS[state], "index": code, "text": state.replace("_", " ")}
                for state, code in BREAKER_STATES.items()
            },
        }
    ]


def states() -> list[dict[str, Any]]:
    """Mappings of the codes in which records tell what a session or an attempt did when; the end of a bar is drawn as nothing."""
    known = {**STATUSES, **VERDICTS}
    return [
        {
            "type": "value",
            "options": {
                str(code): {
                    "color": known.get(state, "transparent"),
                    "index": k,
                    "text": "" if state == "over" else state,
                }
                for k, (code, state) in enumerate(STATES.items())
            },
        }
    ]


def cells(column: str, colours: Mapping[str, str]) -> dict[str, Any]:
    """An override by which the words of a table's column have their colours."""
    return {
        "matcher": {"id": "byName", "options": column},
        "properties": [
            {"id": "mappings", "value": words(colours)},
            {"id": "custom.displayMode", "value": "color-text"},
        ],
    }
