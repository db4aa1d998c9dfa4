"""A question as text in Flux that stands for itself: to be pasted into InfluxDB's own pages, Grafana, or a notebook.

What the product itself asks is never made like this: there, values are bound (:mod:`influx.externs`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from influx.buckets import bucket_name
from influx.externs import time_text
from scrapewatch.measurements import Tier
from scrapewatch.ports import TimeRange
from scrapewatch.time import SECOND

_FLUX: Final = Path(__file__).parent / "flux"

IN_PARAMS: Final = {
    "v.timeRangeStart": "params.start",
    "v.timeRangeStop": "params.stop",
    "v.windowPeriod": "params.every",
}
"""What the page knows and calls ``v``, as the text that stands for itself calls it: Grafana replaces ``<any word>.timeRangeStart``."""


def flux_of(
    question: str, parameters: Mapping[str, str], time_range: TimeRange, *, tier: Tier, tenant: str
) -> str:
    """The text of ``question`` with all that it needs in a record before it; ``parameters`` are all that it has."""
    values = {
        "tier": string_literal(bucket_name(tenant, tier)),
        **{name: string_literal(value) for name, value in parameters.items()},
        "start": time_text(time_range.start),
        "stop": time_text(time_range.stop),
        "every": f"{time_range.every // SECOND}s",
    }
    text = (_FLUX / f"{question}.flux").read_text(encoding="utf-8")
    for name, bound in IN_PARAMS.items():
        text = text.replace(name, bound)
    # Not v: where it is pasted that is the page's own, and can be set once only.
    lines = [f"    {name}: {value}," for name, value in values.items()]
    return "\n".join(["params = {", *lines, "}", "", text])


def string_literal(text: str) -> str:
    """``text`` as a literal of Flux: https://docs.influxdata.com/flux/v0/spec/lexical-elements/#string-literals."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${")
    return (
        '"'
        + "".join(char if char >= " " and char != "\x7f" else f"\\x{ord(char):02x}" for char in escaped)
        + '"'
    )
