"""The routes of exports."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict

from api.access import tenant_of
from api.exports.formats import FORMATS
from api.exports.making import file_name
from api.exports.repeated import first_after
from api.exports.tables import DEFAULT, TABLES, TIMEFRAMES, Selection, tables_of, window_of
from api.services import ApiServices
from records import exports
from records.exports import MOST_SCHEDULES
from scrapewatch.http import problem_responses
from scrapewatch.problems import InvalidInput
from scrapewatch.time import DAY, HOUR, MINUTE, now_ns, parse_interval, to_datetime, to_ns

FormatName = Literal["json", "csv", "prometheus", "parquet"]
Timeframe = Literal["1h", "6h", "24h", "7d", "30d", "90d"]
ScheduleName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"),
]

LONGEST = 5 * 365 * DAY
"""Longest range of an export (ns): nothing is kept longer."""

_INTERVALS = {"1m": MINUTE, "5m": 5 * MINUTE, "1h": HOUR, "1d": DAY}

_EXAMPLE: JsonDict = {
    "name": "daily-figures",
    "format": "csv",
    "cadence": "24h",
    "timeframe": "24h",
    "metrics": ["throughput", "errors"],
    "keep": 30,
    "created_at": "2026-01-05T10:00:00Z",
    "last_run_at": "2026-01-06T00:01:02Z",
    "next_run_at": "2026-01-07T00:00:00Z",
    "last_error": None,
    "last_file": "default/daily-figures/daily-figures-20260105T000000Z-20260106T000000Z.csv",
}


class NewSchedule(BaseModel):
    """An export to repeat."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                name: _EXAMPLE[name] for name in ("name", "format", "cadence", "timeframe", "metrics", "keep")
            }
        },
    )

    name: ScheduleName = Field(
        description="Its name: letters, digits, - and _. Files and their folder begin with it."
    )
    format: FormatName = Field("csv", description="Format of the files.")
    cadence: Literal["1m", "5m", "15m", "1h", "6h", "12h", "24h", "7d"] = Field(
        "24h",
        description="How often: at the multiples of it in UTC, so that 24h is at midnight, and 7d on Monday.",
    )
    timeframe: Timeframe = Field("24h", description="How much time each file covers, up to when it is due.")
    metrics: list[str] = Field(
        list(DEFAULT),
        min_length=1,
        max_length=50,
        description=f"What is in it, of: {', '.join(TABLES)}.",
        json_schema_extra={"items": {"type": "string", "enum": list(TABLES)}},
    )
    keep: int = Field(
        30, strict=True, ge=1, le=1_000, description="Files that are kept; older ones are deleted."
    )


class Schedule(NewSchedule):
    """An export that is repeated."""

    model_config = ConfigDict(extra="ignore", from_attributes=True, json_schema_extra={"example": _EXAMPLE})

    created_at: datetime = Field(description="When it was made.")
    last_run_at: datetime | None = Field(description="When a file was written last.")
    next_run_at: datetime | None = Field(
        description="When the next file is due, which is where the range ends that it covers; it is written a minute later."
    )
    last_error: str | None = Field(description="Why the last try failed; null where it did not.")
    last_file: str | None = Field(
        description="The file written last, below the folder `exports` of the data folder."
    )


class ScheduleList(BaseModel):
    """The exports that are repeated, by name."""

    model_config = ConfigDict(json_schema_extra={"example": {"items": [_EXAMPLE], "next_cursor": None}})

    items: list[Schedule] = Field(description="The schedules.")
    next_cursor: str | None = Field(description="For the next page; null at the end.")


_SHOWN: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The export, as a file.",
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "example": {
                    "start": "2026-01-05T10:00:00Z",
                    "stop": "2026-01-06T10:00:00Z",
                    "interval_seconds": 60.0,
                    "metrics": {
                        "errors": {
                            "columns": [
                                {
                                    "name": "time",
                                    "type": "time",
                                    "unit": "ns",
                                    "description": "start of the window",
                                }
                            ],
                            "items": [
                                {"time": "2026-01-05T10:00:00Z", "site": "indeed", "type": "403", "count": 3}
                            ],
                        }
                    },
                },
            },
            "text/csv": {
                "schema": {"type": "string"},
                "example": "metric,time,site,type,count\r\nerrors,2026-01-05T10:00:00Z,indeed,403,3\r\n",
            },
            "text/plain": {
                "schema": {"type": "string"},
                "example": '# TYPE scrapewatch_errors_count gauge\nscrapewatch_errors_count{site="indeed",type="403"} 3 1767607200000\n',
            },
            "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


def build_router(services: ApiServices) -> APIRouter:
    """The routes below ``/monitoring/export``."""
    router = APIRouter(
        prefix="/monitoring/export", tags=["exports"], route_class=services.telemetry.route_class()
    )
    records = services.patience["records"]

    @router.get(
        "/metrics",
        summary="Figures and records as a file",
        response_class=Response,
        responses={**_SHOWN, **problem_responses(422, 503)},
    )
    async def export(
        request: Request,
        format_: Annotated[FormatName, Query(alias="format", description="The format.")] = "json",
        timeframe: Annotated[Timeframe, Query(description="How far back; `from` goes before it.")] = "24h",
        from_: Annotated[
            AwareDatetime | None,
            Query(
                alias="from", description="Start of the range, RFC 3339.", examples=["2026-01-05T00:00:00Z"]
            ),
        ] = None,
        to: Annotated[
            AwareDatetime | None,
            Query(
                description="End of the range, RFC 3339; now by default.", examples=["2026-01-06T00:00:00Z"]
            ),
        ] = None,
        metrics: Annotated[
            str,
            Query(
                max_length=1_000,
                description=f"What to export, by commas: {', '.join(TABLES)}. Prometheus' format takes no records.",
                examples=["throughput,errors"],
            ),
        ] = ",".join(DEFAULT),
        interval: Annotated[
            Literal["1m", "5m", "1h", "1d"] | None,
            Query(description="Length of a figure's window; by default one that suits the range."),
        ] = None,
    ) -> Response:
        """Selected figures (questions, by window) and records (sessions, site executions, error groups, postings) of a range of time.

        It is made while it is read, and so may be as long as need be: a store that fails half way breaks the connection. Cells of CSV
        that a spreadsheet would take for formulas have a quote before them.
        """
        start, stop = _range(from_, to, TIMEFRAMES[timeframe])
        every = _INTERVALS[interval] if interval else window_of(stop - start)
        selection = Selection(tenant_of(request), tables_of(metrics), start, stop, every)
        made = FORMATS[format_]
        pieces = services.exports.pieces(made, selection)
        # What fails before the first piece is told as a problem.
        first = await anext(pieces, b"")
        return StreamingResponse(
            _all(first, pieces),
            media_type=made.media_type,
            headers={
                "Content-Disposition": f'attachment; filename="{file_name("scrapewatch", made, selection)}"'
            },
        )

    @router.get(
        "/schedules",
        summary="Exports that are repeated",
        response_model=ScheduleList,
        responses=problem_responses(422, 503),
    )
    async def list_schedules(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=MOST_SCHEDULES, description="Most schedules to answer.")] = 50,
        cursor: Annotated[
            str | None, Query(max_length=200, description="`next_cursor` of the page before.")
        ] = None,
    ) -> ScheduleList:
        """By name."""
        found = await records.call(
            services.schedules.of_tenant, tenant_of(request), after=cursor or "", limit=limit + 1
        )
        return ScheduleList(
            items=[Schedule.model_validate(schedule) for schedule in found[:limit]],
            next_cursor=found[limit - 1].name if len(found) > limit else None,
        )

    @router.post(
        "/schedules",
        summary="Repeat an export",
        status_code=201,
        response_model=Schedule,
        responses=problem_responses(409, 422, 503),
    )
    async def create_schedule(request: Request, wanted: NewSchedule) -> Schedule:
        """Files are written into the folder `exports` of the data folder, below the tenant's and the schedule's own.

        Their names hold the range of time they cover, in UTC. A file is there whole or not at all.
        """
        tables = tables_of(wanted.metrics)
        if wanted.format == "prometheus" and not all(table.figures for table in tables):
            raise InvalidInput("Prometheus takes figures only, no records", "body.metrics")
        now = now_ns()
        schedule = exports.Schedule(
            tenant=tenant_of(request),
            name=wanted.name,
            format=wanted.format,
            cadence=wanted.cadence,
            timeframe=wanted.timeframe,
            metrics=[table.name for table in tables],
            keep=wanted.keep,
            created_at=to_datetime(now),
            next_run_at=to_datetime(first_after(now, parse_interval(wanted.cadence))),
        )
        await records.call(services.schedules.create, schedule)
        return Schedule.model_validate(schedule)

    @router.delete(
        "/schedules/{name}",
        summary="Repeat an export no more",
        status_code=204,
        response_class=Response,
        responses=problem_responses(404, 422, 503),
    )
    async def delete_schedule(
        request: Request,
        name: Annotated[
            str,
            Path(
                min_length=1, max_length=64, description="Name of the schedule.", examples=["daily-figures"]
            ),
        ],
    ) -> Response:
        """The files that it wrote stay."""
        await records.call(services.schedules.delete, tenant_of(request), name)
        return Response(status_code=204)

    return router


def _range(start: datetime | None, stop: datetime | None, length: int) -> tuple[int, int]:
    until = now_ns() if stop is None else to_ns(stop)
    since = until - length if start is None else to_ns(start)
    if since >= until:
        raise InvalidInput("from must be before to", "query.from")
    if until - since > LONGEST:
        raise InvalidInput("from and to are more than 5 years apart", "query.from")
    if not 0 <= since < until < 2**62:
        raise InvalidInput("from and to must lie between 1970 and 2116", "query.from")
    return since, until


async def _all(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    try:
        yield first
        async for piece in rest:
            yield piece
    finally:
        await rest.aclose()
