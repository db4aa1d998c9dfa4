"""The collector over HTTP: one route that takes events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector as PrometheusCollector
from pydantic import BaseModel, Field, TypeAdapter

from collector.ingest import (
    CONTENT_TYPES,
    BodyTooLarge,
    MalformedBody,
    TooManyEvents,
    UnsupportedBody,
    unpack,
)
from collector.metrics import metric_families
from collector.service import Collector
from scrapewatch import events
from scrapewatch.http import problem, problem_responses
from scrapewatch.settings import Settings

PATH: Final = "/monitoring/metrics"

BODY_SECONDS: Final = 10.0
"""How long a body may take to arrive."""

EXAMPLE: Final = {
    "session_id": "s1",
    "metric": "job_scraped",
    "value": {"site": "indeed", "count": 1},
    "timestamp": "2026-01-05T10:00:00Z",
}


class RejectedItem(BaseModel):
    """An item that was not accepted."""

    index: int = Field(description="its place in the list that was sent, from 0")
    field: str = Field(description="the field at fault; empty for the item as a whole")
    reason: str = Field(description="what is wrong with it")


class Receipt(BaseModel):
    """What was made durable."""

    accepted: int = Field(description="events that are durable now and will be counted exactly once")
    duplicates: int = Field(
        description="events that were known by their event_id or the request's Idempotency-Key"
    )
    rejected: list[RejectedItem] = Field(
        description="items that are no valid events; the others count all the same"
    )


def build_router(
    collector: Collector, settings: Settings, tenant_of: Callable[[Request], str], *, prefix: str = "/api/v1"
) -> APIRouter:
    """The collector's route under ``prefix`` and without it; ``tenant_of`` tells whose events a request brings."""
    router = APIRouter(tags=["ingest"])

    async def ingest(
        request: Request,
        backfill: Annotated[
            bool, Query(description="the events are history: they may be older than 7 days")
        ] = False,
        idempotency_key: Annotated[
            str | None,
            Header(min_length=1, max_length=200, description="the same key with the same body counts once"),
        ] = None,
    ) -> Response:
        try:
            body = await _read(request, settings.max_body_bytes)
            receipt = await collector.accept(tenant_of(request), body, key=idempotency_key, backfill=backfill)
        except UnsupportedBody as error:
            return problem(415, "This body is not taken", str(error), kind="unsupported-body")
        except BodyTooLarge as error:
            return problem(413, "The body is too large", str(error), kind="too-large")
        except MalformedBody as error:
            return problem(400, "The body is not JSON", str(error), kind="not-json")
        except TooManyEvents as error:
            return problem(413, "Too many events", str(error), kind="too-many-events")
        except TimeoutError:
            detail = f"the body did not arrive within {BODY_SECONDS:g} s"
            return problem(408, "The body came too slowly", detail, headers={"Connection": "close"})
        answer: dict[str, Any] = {
            "accepted": receipt.accepted,
            "duplicates": receipt.duplicates,
            "rejected": [rejection.as_json() for rejection in receipt.rejected],
        }
        if receipt.accepted == receipt.duplicates == 0:
            detail = (
                f"{receipt.rejected[0].field} {receipt.rejected[0].reason}".strip()
                if receipt.rejected
                else "the body has no event"
            )
            return problem(422, "No event was accepted", detail, kind="no-event", **answer)
        return Response(orjson.dumps(answer), 202, media_type="application/json")

    responses: dict[int | str, dict[str, Any]] = {
        202: {
            "model": Receipt,
            "description": "Durable",
            "content": {"application/json": {"example": {"accepted": 1, "duplicates": 0, "rejected": []}}},
        },
        **problem_responses(400, 408, 409, 413, 415, 422, 503),
    }
    for path, shown in ((prefix + PATH, True), (PATH, False)):
        router.add_api_route(
            path,
            ingest,
            methods=["POST"],
            status_code=202,
            summary="Report events",
            description="One event or a list. Answered once they are durable: from then on each counts exactly once.",
            responses=responses,
            include_in_schema=shown,
            openapi_extra={"requestBody": _request_body()} if shown else None,
        )
    return router


def build_probe_router(collector: Collector) -> APIRouter:
    """``/healthz``, ``/readyz`` and ``/metrics`` for a collector in a process of its own."""
    router = APIRouter(tags=["probes"])
    registry = CollectorRegistry()
    registry.register(_Metrics(collector))

    @router.get("/healthz", summary="Whether the process lives")
    async def live() -> dict[str, str]:
        return {"status": "alive"}

    @router.get(
        "/readyz",
        summary="Whether events are accepted and reach the stores",
        responses=problem_responses(503),
    )
    async def ready() -> Response:
        status, problems = await asyncio.to_thread(collector.status)
        if problems:
            detail = "; ".join(problems)
            return problem(503, "Not ready", detail, kind="not-ready", spooled=status.spooled)
        return Response(b'{"status":"ready"}', media_type="application/json")

    @router.get("/metrics", summary="Metrics for Prometheus")
    async def metrics() -> Response:
        return Response(await asyncio.to_thread(generate_latest, registry), media_type=CONTENT_TYPE_LATEST)

    return router


class _Metrics(PrometheusCollector):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def collect(self) -> Iterable[Metric]:
        return metric_families(self._collector)

    def describe(self) -> Iterable[Metric]:
        return ()


def _request_body() -> dict[str, Any]:
    return {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "oneOf": [
                        {"$ref": "#/components/schemas/Event"},
                        {"type": "array", "items": {"$ref": "#/components/schemas/Event"}},
                    ]
                },
                "examples": {
                    "one": {"summary": "One event, as the orchestrator always sent it", "value": EXAMPLE},
                    "list": {
                        "summary": "Several events",
                        "value": [
                            {
                                "session_id": "s1",
                                "metric": "session_started",
                                "value": {"search_term": "python", "location": "Berlin", "sites": ["indeed"]},
                            },
                            EXAMPLE,
                        ],
                    },
                },
            }
        },
    }


def event_schemas() -> dict[str, Any]:
    """The schemas of the events, for the OpenAPI document: ``Event`` and one for each type."""
    schema = TypeAdapter(events.Event).json_schema(ref_template="#/components/schemas/{model}")
    found: dict[str, Any] = schema.pop("$defs")
    found["Event"] = schema
    return found


async def _read(request: Request, most: int) -> bytes:
    """The unpacked body, never more than ``most`` bytes of it in memory."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in CONTENT_TYPES:
        raise UnsupportedBody("send JSON as application/json or text/plain")
    too_large = BodyTooLarge(f"a body may have {most} bytes; send fewer events at once")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise too_large
    parts: list[bytes] = []
    size = 0
    async with asyncio.timeout(BODY_SECONDS):
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise too_large
            parts.append(part)
    encoding = request.headers.get("content-encoding", "").strip().lower()
    return unpack(b"".join(parts), encoding, most)
