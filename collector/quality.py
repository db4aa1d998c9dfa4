"""Reports of data quality alone: what is sent is the value of a ``data_quality`` event, which is all that becomes of it."""

from __future__ import annotations

import json
from typing import Any, Final

from collector.ingest import check_number, parse, parse_lines

METRIC: Final = "data_quality"
ENVELOPE: Final = ("session_id", "timestamp", "event_id")
"""What may stand beside the value's own fields, as it would beside the value in an event."""


def as_events(body: bytes, lines: bool, most: int) -> bytes:
    """The body of events that ``body`` stands for: one value, a list of them, or with ``lines`` one a line.

    Raises:
        MalformedBody: it is not JSON.
        TooManyEvents: it has more than ``most``, each of which would become larger here.
    """
    items = parse_lines(body) if lines else parse(body)
    check_number(len(items), most)
    # Not by the faster encoder: what is no number or no text stays what it is, for the ingest to reject.
    return json.dumps([_as_event(item) for item in items]).encode()


def _as_event(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    event = {name: item[name] for name in ENVELOPE if name in item}
    value = {name: found for name, found in item.items() if name not in ENVELOPE}
    return {**event, "metric": METRIC, "value": value}


def request_body() -> dict[str, Any]:
    """The body as the OpenAPI document has it; the schema of the value is among those of the events."""
    one = {
        "allOf": [
            {"$ref": "#/components/schemas/DataQuality"},
            {
                "type": "object",
                "properties": {
                    "session_id": {"type": "string", "description": "the session it belongs to, if any"},
                    "timestamp": {
                        "type": "string",
                        "format": "date-time",
                        "description": "now, if not given",
                    },
                    "event_id": {"type": "string", "description": "makes it idempotent"},
                },
            },
        ]
    }
    return {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"oneOf": [one, {"type": "array", "items": one}]},
                "examples": {
                    "one": {
                        "summary": "One site",
                        "value": {
                            "site": "indeed",
                            "items": 200,
                            "valid": 196,
                            "duplicates": 11,
                            "field_coverage": {"title": 1.0, "salary": 0.34},
                            "session_id": "s1",
                        },
                    }
                },
            }
        },
    }
