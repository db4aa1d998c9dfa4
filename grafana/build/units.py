"""What the registry's units are called in Grafana."""

from __future__ import annotations

from types import MappingProxyType

UNITS = MappingProxyType(
    {
        "1": "short",
        "1/min": "short",
        "s": "s",
        "ms": "ms",
        "By": "bytes",
        "By/s": "Bps",
        "s/s": "percentunit",
        "1/s": "short",
        "MiBy": "mbytes",
        "percent": "percent",
        "share": "percentunit",
        "currency": "currency:",
        "currency/a": "currency:",
        "h": "none",
        "d": "none",
        "mo": "none",
        "bool": "bool_yes_no",
        "state": "none",
        "as the tag unit says": "none",
        "time": "dateTimeAsIso",
        "": "string",
    }
)
"""Unit of a field or column → unit of Grafana's."""


def unit_of(unit: str) -> str:
    """What Grafana calls ``unit``.

    Raises:
        KeyError: it has no name for it here.

    """
    return UNITS[unit]
