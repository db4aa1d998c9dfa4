"""What one writes first: FastAPI, a list of models, a point an event, and the client library's batching writer.

Served by ``uvicorn bench._naive:app``; where to write comes from INFLUX_URL, INFLUX_TOKEN, INFLUX_ORG and INFLUX_BUCKET.
"""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any, Literal

import influxdb_client
from fastapi import FastAPI
from pydantic import BaseModel

library: Any = influxdb_client  # it has types in parts


class Value(BaseModel):
    """What was seen at a site."""

    site: str
    url: str | None = None
    duration: float | None = None
    status: int | None = None
    bytes: int | None = None
    blocked: bool = False
    count: int | None = None
    saved: int | None = None


class Event(BaseModel):
    """One event."""

    session_id: str
    metric: Literal["page_processed", "job_scraped"]
    value: Value
    timestamp: datetime


app = FastAPI()
client = library.InfluxDBClient(
    os.environ["INFLUX_URL"], os.environ["INFLUX_TOKEN"], org=os.environ["INFLUX_ORG"]
)
writer = client.write_api(library.WriteOptions(batch_size=5_000, flush_interval=1_000))


@app.post("/events", status_code=202)
async def take(events: list[Event]) -> dict[str, int]:
    """Hand the points of ``events`` to the writer, which keeps them in memory."""
    writer.write(os.environ["INFLUX_BUCKET"], record=[_point(event) for event in events])
    return {"accepted": len(events)}


def _point(event: Event) -> Any:
    point = library.Point(event.metric).tag("session_id", event.session_id).tag("site", event.value.site)
    if event.metric == "page_processed":
        point.field("duration", event.value.duration).field("status", event.value.status)
        point.field("bytes", event.value.bytes)
    else:
        point.field("count", event.value.count).field("saved", event.value.saved)
    return point.time(event.timestamp, library.WritePrecision.US)
