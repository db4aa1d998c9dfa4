"""What schemathesis must know of the API that no schema says; it loads this file by itself (``SCHEMATHESIS_HOOKS``)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import orjson
import schemathesis
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.openapi.checks import RejectedPositiveData

OWN_KEY: Final = os.environ["CONTRACT_KEY"]
"""The prefix of the key that the run asks with."""

MAY_REFUSE: Final[Mapping[str, str]] = {
    "POST /api/v1/monitoring/metrics": "times are judged by the clock: not a week old, not 5 minutes ahead",
    "POST /api/v1/data-quality-metrics": "the same",
    "GET /api/v1/monitoring/sessions": "a cursor is good where a list gave it out",
    "GET /api/v1/monitoring/alerts": "the same",
    "GET /api/v1/monitoring/silences": "the same",
    "POST /api/v1/monitoring/silences": "a silence has an end or a length, and its end is to come",
    "POST /api/v1/monitoring/alerts/grafana": "years that no store can hold",
    "GET /api/v1/monitoring/questions/{question}": "a range has a length or ends, in order and with not too many windows; "
    "each question has parameters of its own",
    "GET /api/v1/monitoring/export/metrics": "a range begins before it ends, and no longer ago than anything is kept",
    "POST /api/v1/monitoring/export/schedules": "Prometheus' format takes figures, and no records",
    "GET /api/v1/analytics/roi": "an investment is told with what it brings",
    "POST /api/v1/admin/keys": "a key ends in the future",
}
"""Operations that may answer 422 to what their schema allows, and why."""

TAKES_SOME: Final = ("POST /api/v1/monitoring/metrics", "POST /api/v1/data-quality-metrics")
"""Operations that take the good items of a list and name the others: their 202 is no approval of all."""


NEEDS_MORE: Final = {"POST /api/v2/write": "needs InfluxDB, which the stack of this test does without"}
"""Operations that answer 501 there."""


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Whether it is one."""
    operation = case.operation.label
    if response.status_code == 501 and operation in NEEDS_MORE:
        return False
    if isinstance(failure, RejectedPositiveData) and response.status_code == 422:
        return operation not in MAY_REFUSE
    return not (isinstance(failure, AcceptedNegativeData) and operation in TAKES_SOME)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Spare the key of the run, which it finds in a list, and whose it is."""
    placed = case.path_parameters or {}
    if case.method == "DELETE" and placed.get("prefix") == OWN_KEY:
        placed["prefix"] = "00000000"
    if case.method == "PATCH" and placed.get("name") == "default":
        placed["name"] = "acme"


@schemathesis.serializer("application/x-ndjson")
def lines(context: Any, value: Any) -> bytes:
    """A body as lines of JSON."""
    return b"\n".join(map(orjson.dumps, value if isinstance(value, list) else [value]))
