"""The routes of questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api.access import tenant_of
from api.services import ApiServices
from scrapewatch.answers import ask
from scrapewatch.http import problem_responses
from scrapewatch.ports import SeriesStore, Table, TimeRange
from scrapewatch.questions import QUESTIONS, Question
from scrapewatch.ranges import LAST, range_of
from scrapewatch.time import LENGTH_PATTERN, SECOND, now_ns, to_rfc3339

_TIME: dict[str, Any] = {"name": "time", "type": "time", "unit": "", "description": "start of the window"}
_SCRAPED: dict[str, Any] = {"name": "scraped", "type": "int", "unit": "1", "description": "postings found"}


# What the kernel reads by itself, whose reasons say more than a pattern could.
_LENGTH: dict[str, Any] = {"pattern": LENGTH_PATTERN}
_MOMENT: dict[str, Any] = {"format": "date-time"}


def _own_parameters() -> list[dict[str, Any]]:
    """The parameters of all questions, as those of the route."""
    takers: dict[str, list[str]] = {}
    for name in sorted(QUESTIONS):
        for parameter in QUESTIONS[name].parameters:
            takers.setdefault(parameter.name, []).append(name)
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "schema": {"type": "string"},
            "description": f"Of the questions {', '.join(questions)}.",
        }
        for name, questions in takers.items()
    ]


class Column(BaseModel):
    """A column of the rows."""

    name: str = Field(description="Its key in each row.")
    type: str = Field(description="`time` (RFC 3339), `string`, `int` or `float`.")
    unit: str = Field(description="Its unit in UCUM; empty for what has none, `1` for counts.")
    description: str = Field(description="What it is.")


class Parameter(BaseModel):
    """A parameter of a question."""

    name: str = Field(description="Its name in the query of the address.")
    required: bool = Field(description="Whether there is no answer without it.")
    description: str = Field(description="What it does.")


class Asked(BaseModel):
    """A question that can be asked."""

    name: str = Field(description="Its name.")
    description: str = Field(description="What it answers.")
    parameters: list[Parameter] = Field(description="What can be given with it.")
    columns: list[Column] = Field(description="The columns of its rows.")
    longest_range_seconds: float | None = Field(
        description="Length of the longest range that is answered at once, s; null where any is.",
        json_schema_extra={"unit": "s"},
    )

    @classmethod
    def of(cls, question: Question) -> Asked:
        """As the kernel declares it."""
        return cls(
            name=question.name,
            description=question.description,
            parameters=[
                Parameter(name=each.name, required=each.default is None, description=each.description)
                for each in question.parameters
            ],
            columns=_columns(question),
            longest_range_seconds=None if question.longest is None else question.longest / SECOND,
        )


class QuestionList(BaseModel):
    """All questions."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "items": [
                    {
                        "name": "throughput",
                        "description": "Job postings by site.",
                        "parameters": [{"name": "site", "required": False, "description": "only this site"}],
                        "columns": [_TIME, _SCRAPED],
                        "longest_range_seconds": None,
                    }
                ],
                "next_cursor": None,
            }
        }
    )

    items: list[Asked] = Field(description="The questions, by name.")
    next_cursor: str | None = Field(None, description="Always null: these are all.")


class Rows(BaseModel):
    """The answer to a question."""

    model_config = ConfigDict(
        populate_by_name=True,
        json_schema_extra={
            "example": {
                "question": "throughput",
                "from": "2026-01-05T10:00:00Z",
                "to": "2026-01-05T11:00:00Z",
                "every_seconds": 300.0,
                "columns": [_TIME, _SCRAPED],
                "items": [{"time": "2026-01-05T10:00:00Z", "scraped": 42}],
            }
        },
    )

    question: str = Field(description="Its name.")
    start: str = Field(alias="from", description="Start of the first window.")
    stop: str = Field(alias="to", description="End of the last window.")
    every_seconds: float = Field(description="Length of a window, s.")
    columns: list[Column] = Field(description="The columns of the rows, in their order.")
    items: list[dict[str, str | int | float | None]] = Field(
        description="The rows, by time and then by their other key columns; windows without points have none."
    )


def build_router(services: ApiServices) -> APIRouter:
    """The routes of questions."""
    router = APIRouter(
        prefix="/monitoring/questions", tags=["questions"], route_class=services.telemetry.route_class()
    )
    series = services.patience["series"]

    @router.get("", summary="The questions that can be asked", response_model=QuestionList)
    async def list_questions() -> QuestionList:
        """Their parameters, columns and units; docs/questions.md has the same to read."""
        return QuestionList(items=[Asked.of(QUESTIONS[name]) for name in sorted(QUESTIONS)])

    @router.get(
        "/{question}",
        summary="Ask a question",
        response_model=Rows,
        responses=problem_responses(422, 503),
        openapi_extra={"parameters": _own_parameters()},
    )
    async def ask_question(
        request: Request,
        question: Annotated[
            str,
            Path(
                max_length=100,
                description="Name of the question.",
                examples=["throughput"],
                json_schema_extra={"enum": sorted(QUESTIONS)},
            ),
        ],
        last: Annotated[
            str | None,
            Query(
                description=f"How far back, such as 24h or 7d; {LAST} where no range is named, or as far as the question reaches at once.",
                json_schema_extra=_LENGTH,
            ),
        ] = None,
        start: Annotated[
            str | None,
            Query(alias="from", description="Where the range begins, RFC 3339.", json_schema_extra=_MOMENT),
        ] = None,
        stop: Annotated[
            str | None,
            Query(
                alias="to",
                description="Where it ends, RFC 3339; now if not given.",
                json_schema_extra=_MOMENT,
            ),
        ] = None,
        every: Annotated[
            str | None,
            Query(
                description="Length of a window, such as 5m; up to about 200 windows if not given.",
                json_schema_extra=_LENGTH,
            ),
        ] = None,
    ) -> Response:
        """The question's own parameters go into the query of the address, too, such as `?site=indeed`.

        The range is widened to whole windows in UTC. For long ranges a coarser tier answers. What has rows for every session answers
        `longest_range_seconds` at once, and refuses more with a 422.
        """
        longest = QUESTIONS[question].longest if question in QUESTIONS else None
        time_range = range_of(last=last, start=start, stop=stop, every=every, longest=longest, now=now_ns())
        parameters = {
            name: value
            for name, value in request.query_params.items()
            if name not in ("last", "from", "to", "every")
        }
        body = await series.call(
            _answer, services.series, question, parameters, time_range, tenant_of(request)
        )
        return Response(body, media_type="application/json")

    return router


def _answer(
    series: SeriesStore, question: str, parameters: Mapping[str, str], time_range: TimeRange, tenant: str
) -> bytes:
    """:class:`Rows` as JSON. Not by way of the model: of thousands of rows it would take longer than the store, and hold up the loop."""
    table = ask(series, question, parameters, time_range, tenant=tenant)
    return orjson.dumps(
        {
            "question": question,
            "from": to_rfc3339(time_range.start),
            "to": to_rfc3339(time_range.stop),
            "every_seconds": time_range.every / 1e9,
            "columns": [column.model_dump() for column in _columns(QUESTIONS[question])],
            "items": rows_of(table),
        }
    )


def rows_of(table: Table) -> list[dict[str, Any]]:
    """The rows of ``table``, with times as RFC 3339."""
    times = [column.name for column in table.columns if column.type == "time"]
    rows = list(table.dicts())
    texts: dict[int, str] = {}  # rows of the same window are many
    for row in rows:
        for name in times:
            time = row[name]
            if time not in texts:
                texts[time] = to_rfc3339(time)
            row[name] = texts[time]
    return rows


def _columns(question: Question) -> list[Column]:
    return [
        Column(
            name=column.name,
            type=column.type,
            unit="" if column.type == "time" else column.unit,
            description=column.description,
        )
        for column in question.columns
    ]
