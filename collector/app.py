"""The collector over HTTP: one route that takes events.

It is bare ASGI: thousands of single events a second come through it, and what FastAPI does for a route costs three times what is done
here. FastAPI describes it, and answers what is no POST.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qs

import orjson
from fastapi import APIRouter, FastAPI, Header, Query, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector as PrometheusCollector
from pydantic import BaseModel, Field, TypeAdapter
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from collector import external, quality, writes
from collector.bodies import Bodies, refusal_of
from collector.body import UnsupportedBody, has_lines
from collector.decode import IN_ONE_GO
from collector.fairness import Admission
from collector.metrics import metric_families
from collector.service import Collector
from collector.service import Receipt as Accepted
from scrapewatch import events
from scrapewatch.access import READ, rule_of, visible_to
from scrapewatch.gate import Gate, Gated, who_asks
from scrapewatch.http import (
    MEDIA_TYPE,
    AtOnce,
    Respond,
    Shortcut,
    failure,
    parts_of,
    problem,
    problem_responses,
)
from scrapewatch.problems import InvalidInput, ScrapewatchError
from scrapewatch.settings import Settings

PATH: Final = "/monitoring/metrics"
QUALITY_PATH: Final = "/data-quality-metrics"

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


class SessionWish(BaseModel):
    """What a user wishes the scraper to do."""

    session_id: str = Field(description="the session")
    wish: Literal["pause", "resume", "cancel"] = Field(description="what is to be done with it")


class Receipt(BaseModel):
    """What was made durable."""

    accepted: int = Field(description="events that are durable now and will be counted exactly once")
    duplicates: int = Field(
        description="events that were known by their event_id or the request's Idempotency-Key"
    )
    rejected: list[RejectedItem] = Field(
        description="items that are no valid events; the others count all the same"
    )
    wishes: list[SessionWish] = Field(
        [],
        description="what users wish for the sessions of these events, again with each answer until the scraper reports that it is so; "
        "left out where there is nothing",
    )


_BOOLS: Final = {
    **dict.fromkeys(("true", "1", "yes", "on", "t", "y"), True),
    **dict.fromkeys(("false", "0", "no", "off", "f", "n"), False),
}
_JSON: Final = (b"content-type", b"application/json")
_JSON_ONLY: Final = (_JSON,)

_LONGEST_KEY: Final = 200


class Ingest:
    """ASGI: one ``POST`` of events, answered once they are durable.

    The collector's :class:`~collector.observed.Observed` counts the requests, and those turned away by reason: the last part of their
    problem's type, ``tenant-rate`` and ``tenant-share`` for a 429, and ``gone`` for clients that left before their body was there.
    ``as_events`` makes events of a body that is something else (given with whether it has lines, and how many it may have);
    ``admission`` is that of another, with which it shares what a tenant may.
    """

    def __init__(
        self,
        collector: Collector,
        settings: Settings,
        tenant_of: Callable[[Mapping[str, Any]], str],
        *,
        as_events: Callable[[bytes, bool, int], bytes] | None = None,
        admission: Admission | None = None,
    ) -> None:
        self._as_events = as_events
        self._collector = collector
        self._most_events = settings.max_events
        self._most_at_once = min(settings.max_body_bytes, IN_ONE_GO)
        self._tenant_of = tenant_of
        self._observed = collector.observed
        self._admission = admission or Admission(settings, collector.observed.refused)
        self._bodies = Bodies(settings, collector.observed, self._admission)

    @property
    def admission(self) -> Admission:
        """What admits bodies."""
        return self._admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        self._observed.requests += 1
        try:
            receipt = await self._take(scope, receive)
        except ScrapewatchError as error:
            await self._refusal(error)(scope, receive, send)
            return
        if _is_plain(receipt):
            content = _plain(receipt)
            headers = [_JSON, (b"content-length", b"%d" % len(content))]
            await send({"type": "http.response.start", "status": 202, "headers": headers})
            await send({"type": "http.response.body", "body": content})
        else:
            await self._answer(receipt)(scope, receive, send)

    def at_once(self, scope: Scope, body: bytes, respond: Respond) -> bool:
        """Take a body that came whole: plain, of a size that is decoded in one step, and with room at once. Else False."""
        key, kind = None, b""
        for name, value in scope["headers"]:
            if name == b"content-type":
                kind = value
            elif name == b"idempotency-key":
                key = value.decode("latin-1")
            elif name == b"content-encoding":
                return False
        size = len(body)
        try:
            lines = has_lines(kind)
        except UnsupportedBody:
            return False
        if size > self._most_at_once or (key is not None and not 1 <= len(key) <= _LONGEST_KEY):
            return False
        tenant = self._tenant_of(scope)
        admission = self._admission
        if admission.is_over_rate(tenant) or not admission.take(tenant, size):
            return False
        self._observed.requests += 1

        def tell(outcome: Accepted | Exception) -> None:
            admission.leave(tenant, size)
            if isinstance(outcome, Exception):
                if isinstance(outcome, InvalidInput):
                    admission.charge(tenant, 1)  # it took our time, too
                respond(
                    *parts_of(
                        self._refusal(outcome)
                        if isinstance(outcome, ScrapewatchError)
                        else failure(scope, outcome)
                    )
                )
                return
            admission.charge(tenant, outcome.accepted + outcome.duplicates + len(outcome.rejected))
            if _is_plain(outcome):
                respond(202, _JSON_ONLY, _plain(outcome))
            else:
                respond(*parts_of(self._answer(outcome)))

        try:
            self._collector.accept_soon(tenant, body, tell, lines=lines, key=key)
        except Exception as error:  # whatever it was, the room must be given back
            tell(error)
        return True

    async def _take(self, scope: Scope, receive: Receive) -> Accepted:
        headers = dict(scope["headers"])
        lines = has_lines(headers.get(b"content-type", b""))
        key = _key(headers.get(b"idempotency-key"))
        backfill = _backfill(scope["query_string"]) if scope["query_string"] else False
        tenant = self._tenant_of(scope)
        async with self._bodies.read(headers, receive, tenant) as body:
            if self._as_events is not None:
                if len(body) > IN_ONE_GO:
                    body = await asyncio.to_thread(self._as_events, body, lines, self._most_events)
                else:
                    body = self._as_events(body, lines, self._most_events)
                lines = False
            receipt = await self._collector.accept(tenant, body, lines=lines, key=key, backfill=backfill)
        self._admission.charge(tenant, receipt.accepted + receipt.duplicates + len(receipt.rejected))
        return receipt

    def refused_before(self, reason: str) -> None:
        """Count a request that did not come as far as here."""
        self._observed.requests += 1
        self._observed.refused[reason] += 1

    def _refusal(self, error: ScrapewatchError) -> Response:
        return refusal_of(error, self._observed.refused)

    def _answer(self, receipt: Accepted) -> Response:
        answer: dict[str, Any] = {
            "accepted": receipt.accepted,
            "duplicates": receipt.duplicates,
            "rejected": [rejection.as_json() for rejection in receipt.rejected],
        }
        if receipt.wishes:
            answer["wishes"] = [
                {"session_id": session_id, "wish": wish} for session_id, wish in receipt.wishes.items()
            ]
        if self._as_events is not None:
            for rejection in answer["rejected"]:
                rejection["field"] = rejection["field"].removeprefix("value.")
        if receipt.accepted == receipt.duplicates == 0:
            self._observed.refused["no-event"] += 1
            rejected = answer["rejected"]
            detail = (
                f"{rejected[0]['field']} {rejected[0]['reason']}".strip()
                if rejected
                else "the body has no event"
            )
            return problem(422, "No event was accepted", detail, kind="no-event", **answer)
        return Response(orjson.dumps(answer), 202, media_type="application/json")


def _is_plain(receipt: Accepted) -> bool:
    """Whether every item of the request was an event, there was one, and nothing is wished."""
    return not receipt.rejected and not receipt.wishes and (receipt.accepted or receipt.duplicates) > 0


def _plain(receipt: Accepted) -> bytes:
    return b'{"accepted":%d,"duplicates":%d,"rejected":[]}' % (receipt.accepted, receipt.duplicates)


def _key(value: bytes | None) -> str | None:
    if value is None:
        return None
    if not 1 <= len(value) <= _LONGEST_KEY:
        raise InvalidInput("Idempotency-Key must have 1 to 200 characters", "header.idempotency-key")
    return value.decode("latin-1")


def _backfill(query: bytes) -> bool:
    given = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("backfill")
    if given is None:
        return False
    try:
        return _BOOLS[given[-1].lower()]
    except KeyError:
        raise InvalidInput("backfill must be true or false", "query.backfill") from None


def mount(
    app: FastAPI,
    collector: Collector,
    settings: Settings,
    tenant_of: Callable[[Mapping[str, Any]], str],
    *,
    gate: Gate | None = None,
    prefix: str = "/api/v1",
) -> ASGIApp:
    """Let ``app`` take events under ``prefix`` and without it; ``tenant_of`` tells from the ASGI scope whose events they are.

    On the short way, too, they pass ``gate``.

    What is to be served is what this returns: ``app`` with a short way for them in front.

    Raises:
        ConfigurationError: the limits of the settings contradict each other.
    """
    ingest = Ingest(collector, settings, tenant_of)
    of_quality = Ingest(
        collector, settings, tenant_of, as_events=quality.as_events, admission=ingest.admission
    )
    router = APIRouter(tags=["ingest"])
    _describe(
        router,
        ingest,
        (prefix, PATH),
        name="ingest",
        summary="Report events",
        description="One event or a list, or one a line as NDJSON; also as gzip, deflate or zstd. Answered once they are durable: "
        "from then on each counts exactly once.",
        body=_request_body(),
    )
    _describe(
        router,
        of_quality,
        (prefix, QUALITY_PATH),
        name="data quality",
        summary="Report the quality of items",
        description="The value of a `data_quality` event alone, or a list of them, with `session_id`, `timestamp` and `event_id` "
        "beside its fields where there are any. Answered once it is durable, as events are.",
        body=quality.request_body(),
    )
    _describe_writes(router, writes.Writes(collector, settings, tenant_of, ingest.admission))
    app.include_router(router)
    answer: AtOnce = ingest
    rule = rule_of("POST", PATH)
    if gate is not None and rule is not None:
        answer = Gated(ingest, gate, rule, ingest.refused_before)
    return Shortcut(app, settings, "POST", (prefix + PATH, PATH), answer)


def _describe(
    router: APIRouter,
    ingest: Ingest,
    path: tuple[str, str],
    *,
    name: str,
    summary: str,
    description: str,
    body: dict[str, Any],
) -> None:
    """Let ``ingest`` answer at ``path`` (prefix and rest), and at the rest alone, which the OpenAPI document leaves out."""

    async def described(
        backfill: Annotated[bool, Query(description="it is history: it may be older than 7 days")] = False,
        idempotency_key: Annotated[
            str | None,
            Header(min_length=1, max_length=200, description="the same key with the same body counts once"),
        ] = None,
    ) -> Response:
        return _Passed(ingest)

    responses: dict[int | str, dict[str, Any]] = {
        202: {
            "model": Receipt,
            "description": "Durable",
            "content": {"application/json": {"example": {"accepted": 1, "duplicates": 0, "rejected": []}}},
        },
        **problem_responses(400, 408, 409, 413, 415, 422, 429, 503),
    }
    prefix, rest = path
    for shown, where in ((True, prefix + rest), (False, rest)):
        router.add_api_route(
            where,
            described,
            methods=["POST"],
            status_code=202,
            name=name,
            summary=summary,
            description=description,
            responses=responses,
            include_in_schema=shown,
            openapi_extra={"requestBody": body} if shown else None,
        )


def _describe_writes(router: APIRouter, taking: writes.Writes) -> None:
    """Let ``taking`` answer where clients of InfluxDB write."""

    async def described(
        precision: Annotated[
            str,
            Query(
                description="the unit of the times in the lines",
                json_schema_extra={"enum": [*external.PRECISIONS]},  # refused as InfluxDB does, not here
            ),
        ] = "ns",
        bucket: Annotated[
            str | None, Query(description="ignored: the lines go to the bucket `external` of the tenant")
        ] = None,
        org: Annotated[
            str | None, Query(description="ignored: whose the lines are says the credential")
        ] = None,
    ) -> Response:
        return _Passed(taking)

    router.add_api_route(
        writes.PATH,
        described,
        methods=["POST"],
        status_code=204,
        response_class=_Refusal,
        name="write",
        summary="Write line protocol, as to InfluxDB",
        description="For Telegraf (`outputs.influxdb_v2`) and other clients of InfluxDB 2; also as gzip, deflate or zstd. Answered once "
        "the lines are durable. They keep their times, so what is sent again overwrites itself; where some lines are not taken, the others "
        "are kept. The names of scrapewatch's own measurements are not taken. Needs InfluxDB as the store of points.",
        responses={
            204: {"description": "Durable"},
            400: {"model": writes.LinesProblem, "description": "Some lines, or all, were not taken"},
            **problem_responses(408, 413, 415, 429, 501, 503),
        },
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "text/plain": {"schema": {"type": "string"}, "example": writes.EXAMPLE},
                },
            }
        },
    )


class _Refusal(Response):
    """What has a body where line protocol is taken: a problem."""

    media_type = MEDIA_TYPE


class _Passed(Response):
    """What ``app`` answers, for requests that come to the described route all the same."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__()
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


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
    async def ready(request: Request) -> Response:
        status, problems = await asyncio.to_thread(collector.status)
        if problems:
            asking = await who_asks(request)
            if asking is None or not asking.may(READ):
                return problem(
                    503, "Not ready", "the log says why, and so does this to who may read", kind="not-ready"
                )
            detail = "; ".join(problems)
            return problem(503, "Not ready", detail, kind="not-ready", spooled=status.spooled)
        held = collector.held and visible_to(await who_asks(request), collector.held)
        return Response(
            orjson.dumps({"status": "ready", "held": held} if held else {"status": "ready"}),
            media_type="application/json",
        )

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
            },
            "application/x-ndjson": {
                "schema": {"$ref": "#/components/schemas/Event"},
                "examples": {"line": {"summary": "One of several lines", "value": EXAMPLE}},
            },
        },
    }


def event_schemas() -> dict[str, Any]:
    """The schemas of the events, for the OpenAPI document: ``Event`` and one for each type."""
    schema = TypeAdapter(events.Event).json_schema(ref_template="#/components/schemas/{model}")
    found: dict[str, Any] = schema.pop("$defs")
    found["Event"] = schema
    return found
