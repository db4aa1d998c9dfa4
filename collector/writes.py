"""``/api/v2/write``: line protocol as clients of InfluxDB 2 send it, such as Telegraf's ``outputs.influxdb_v2``.

Whose the lines are says the credential, never ``org`` or ``bucket``: they go to the bucket ``external`` of the tenant, and both parameters
are taken and ignored, so that a client that was set up for an InfluxDB needs another URL and token, and nothing else. Answers are as those
clients know them: 204 once all lines are durable; 400 where some were not taken, with which, while the others are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs

from pydantic import BaseModel, Field
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from collector.bodies import Bodies, refusal_of
from collector.external import PRECISIONS
from collector.fairness import Admission
from collector.ingest import MalformedBody
from collector.service import Collector, LinesReceipt
from scrapewatch.http import Problem, problem
from scrapewatch.problems import InvalidInput, ScrapewatchError
from scrapewatch.settings import Settings

PATH: Final = "/api/v2/write"

EXAMPLE: Final = "cpu,host=crawler-1 usage_user=12.5,usage_idle=80.1 1767607200000000000\n"

_MOST_NAMED: Final = 1_000


class RejectedLine(BaseModel):
    """A line that was not taken."""

    line: int = Field(description="its number in the body, from 1")
    reason: str = Field(description="what is wrong with it")


class LinesProblem(Problem):
    """A problem as clients of InfluxDB read it, too."""

    code: str = Field(description="InfluxDB's word for it: `invalid`")
    message: str = Field(description="the same as `detail`, where those clients look for it")
    line: int | None = Field(None, description="the first line that was not taken")
    accepted: int | None = Field(None, description="lines that are durable all the same")
    rejected: list[RejectedLine] | None = Field(
        None, description=f"the lines that were not taken, up to {_MOST_NAMED}"
    )


class Writes:
    """ASGI: one ``POST`` of lines, answered once they are durable. ``admission`` is that of the way of events."""

    def __init__(
        self,
        collector: Collector,
        settings: Settings,
        tenant_of: Callable[[Mapping[str, Any]], str],
        admission: Admission,
    ) -> None:
        self._collector = collector
        self._tenant_of = tenant_of
        self._observed = collector.observed
        self._admission = admission
        self._bodies = Bodies(settings, collector.observed, admission)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        self._observed.requests += 1
        try:
            receipt = await self._take(scope, receive)
        except MalformedBody as error:
            self._observed.refused["not-lines"] += 1
            answer = _invalid("The body is not line protocol", str(error), "not-lines")
        except InvalidInput as error:
            if error.field != "query.precision":
                answer = refusal_of(error, self._observed.refused)
            else:
                self._observed.refused["invalid-input"] += 1
                answer = _invalid("The input cannot be used", str(error), "invalid-input")
        except ScrapewatchError as error:
            answer = refusal_of(error, self._observed.refused)
        else:
            answer = _answer(receipt) if receipt.rejected else Response(status_code=204)
            if receipt.rejected and not receipt.accepted:
                self._observed.refused["no-line"] += 1
        await answer(scope, receive, send)

    async def _take(self, scope: Scope, receive: Receive) -> LinesReceipt:
        factor = _factor(scope["query_string"])
        tenant = self._tenant_of(scope)
        async with self._bodies.read(dict(scope["headers"]), receive, tenant) as body:
            receipt = await self._collector.accept_lines(tenant, body, factor=factor)
        self._admission.charge(tenant, receipt.accepted + len(receipt.rejected))
        return receipt


def _factor(query: bytes) -> int:
    """The nanoseconds of the unit that the query says times are in.

    Raises:
        InvalidInput: it is none that is known.
    """
    given = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("precision", ["ns"])[-1]
    try:
        return PRECISIONS[given]
    except KeyError:
        raise InvalidInput(f"precision must be one of {', '.join(PRECISIONS)}", "query.precision") from None


def _answer(receipt: LinesReceipt) -> Response:
    rejected = receipt.rejected
    first = rejected[0]
    said = f"line {first.line} {first.reason}" + (f"; and {len(rejected) - 1} more" if rejected[1:] else "")
    return _invalid(
        "Some lines were not taken" if receipt.accepted else "No line was taken",
        f"partial write: {said}; {receipt.accepted} lines are kept",
        "lines-rejected",
        line=first.line,
        accepted=receipt.accepted,
        rejected=[{"line": bad.line, "reason": bad.reason} for bad in rejected[:_MOST_NAMED]],
    )


def _invalid(title: str, detail: str, kind: str, **extra: Any) -> Response:
    return problem(400, title, detail, kind=kind, code="invalid", message=detail, **extra)
