"""The variables at the top of dashboards; several values may be chosen of most, and all of them."""

from __future__ import annotations

from typing import Any, Final

from grafana.build.flux import ANY
from grafana.build.panels import RECORDS, SERIES
from records.panels import CHOICES

_OF_TAGS: Final = {
    "site": ("Site", "Narrows panels to these sites."),
    "host": ("Host", "Narrows panels to these machines."),
    "collector": ("Collector", "Narrows panels to these collectors."),
    "provider": ("Provider", "Narrows panels to proxies of these providers."),
    "service": ("Service", "Narrows panels to these services."),
}
_OF_TEXT: Final = {
    "company": (
        "Our company",
        "",
        "The name of your company as sites write it, to compare its postings with the market.",
    ),
    "currency": (
        "Currency",
        "USD",
        "Your currency, three letters (ISO 4217). Costs in others are not counted, since none is converted.",
    ),
    "competitor_price": (
        "Price per 1,000",
        "",
        "What a competitor takes for 1,000 results, in your currency.",
    ),
    "monthly_return": ("Monthly return", "", "What the data brings you a month, in your currency."),
    "investment": ("Investment", "", "What you invested, in your currency."),
}

DEFAULT: Final = ("series", "records", "site", "session", "search")
"""What every dashboard has."""


def variable(name: str) -> dict[str, Any]:
    """The variable ``name`` as Grafana reads it.

    Raises:
        KeyError: there is no such variable.

    """
    if name == "series":
        return _source(name, "Points", "influxdb", "scrapewatch points", "scrapewatch-series")
    if name == "records":
        return _source(name, "Records", "postgres", "scrapewatch records", "scrapewatch-records")
    if name == "session":
        return _asked(name, "Session", "The session that Session detail shows.", RECORDS, CHOICES[name].sql)
    if name == "search":
        search = _asked(name, "Search term", "Narrows what comes of the records.", RECORDS, CHOICES[name].sql)
        return search | _several()
    if name in _OF_TEXT:
        label, value, description = _OF_TEXT[name]
        shown = {"text": value, "value": value, "selected": True}
        return {
            "name": name,
            "type": "textbox",
            "label": label,
            "description": description,
            "query": value,
            "current": shown,
            "options": [shown],
            "hide": 0,
            "skipUrlSync": False,
        }
    label, description = _OF_TAGS[name]
    return _asked(name, label, description, SERIES, _values_of(name)) | _several()


def _source(name: str, label: str, kind: str, title: str, uid: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "datasource",
        "label": label,
        "description": f"Where {label.lower()} come from.",
        "query": kind,
        "regex": "",
        "current": {"selected": True, "text": title, "value": uid},
        "options": [],
        "multi": False,
        "includeAll": False,
        "refresh": 1,
        "hide": 0,
        "skipUrlSync": False,
    }


def _asked(name: str, label: str, description: str, source: dict[str, str], query: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "label": label,
        "description": description,
        "datasource": source,
        "query": query,
        "definition": query,
        "regex": "",
        "current": {"selected": False, "text": "", "value": ""},
        "options": [],
        "multi": False,
        "includeAll": False,
        "refresh": 2,
        "sort": 0,
        "hide": 0,
        "skipUrlSync": False,
    }


def _several() -> dict[str, Any]:
    return {
        "multi": True,
        "includeAll": True,
        "allValue": ANY,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _values_of(tag: str) -> str:
    """Values of a tag: those of the last hour, which no rollup may have yet, and those of the range."""
    return "\n".join(
        [
            'import "influxdata/influxdb/schema"',
            'import "strings"',
            "",
            'fleet = strings.trimSuffix(v: v.defaultBucket, suffix: "fleet") + "fleet"',
            f'values = (bucket, start) => schema.tagValues(bucket: bucket, tag: "{tag}", start: start, stop: v.timeRangeStop)',
            "",
            "union(",
            "    tables: [",
            "        values(bucket: fleet, start: -1h),",
            '        values(bucket: fleet + "_1h", start: v.timeRangeStart),',
            "    ],",
            ")",
            "    |> group()",
            '    |> distinct(column: "_value")',
            '    |> sort(columns: ["_value"])',
        ]
    )
