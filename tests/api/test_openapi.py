"""The OpenAPI document: what it shows is what the routes answer."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel
from starlette.testclient import TestClient

from api.alerts.models import Alert, AlertList, AlertStatistics, AlertsTold, Silence, SilenceList
from api.analytics.market import MarketInsights
from api.analytics.performance import PerformanceSummary, PerformanceTrend, SitesComparison
from api.analytics.roi import Roi
from api.dashboard.routes import DashboardData
from api.exports.routes import NewSchedule, Schedule, ScheduleList
from api.health.models import ServiceList, SystemHealth
from api.health.overview import SystemOverview
from api.jobs.routes import Job, JobList
from api.performance.routes import PerformanceReport
from api.proxies.routes import ProxyReport
from api.resources.routes import Utilization
from api.sessions.models import Session, SessionDetail, SessionList, SessionMetrics, Wished

MODELS = [
    *(Session, SessionDetail, SessionList, SessionMetrics, Wished),
    *(SystemHealth, ServiceList, SystemOverview),
    *(Alert, AlertList, AlertStatistics, AlertsTold, Silence, SilenceList),
    *(DashboardData, Job, JobList, PerformanceReport, ProxyReport, Utilization),
    *(PerformanceSummary, PerformanceTrend, SitesComparison, MarketInsights, Roi),
    *(NewSchedule, Schedule, ScheduleList),
]


def test_every_answer_of_every_route_has_an_example(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    without = [
        f"{method} {path} {status}"
        for path, routes in document["paths"].items()
        for method, route in routes.items()
        for status, answer in route["responses"].items()
        if status != "204"  # which has no body
        and not any(_has_example(shown, schemas) for shown in answer.get("content", {}).values())
    ]
    assert document["paths"]
    assert without == []


def _has_example(shown: dict[str, Any], schemas: dict[str, Any]) -> bool:
    name = shown.get("schema", {}).get("$ref", "").rpartition("/")[2]
    return "example" in shown or "example" in schemas.get(name, {})


@pytest.mark.parametrize("model", MODELS)
def test_every_field_says_what_it_is(model: type[BaseModel]) -> None:
    schema = model.model_json_schema()
    without = [
        f"{name}.{field}"
        for name, part in {model.__name__: schema, **schema.get("$defs", {})}.items()
        for field, described in part.get("properties", {}).items()
        # What is described by its own type needs no more.
        if not described.get("description") and "$ref" not in described
    ]
    assert without == []


@pytest.mark.parametrize("model", MODELS)
def test_an_example_has_the_fields_of_what_it_is_an_example_of(model: type[BaseModel]) -> None:
    example = model.model_json_schema()["example"]
    assert model.model_validate(example).model_dump(mode="json") == example


def test_a_schema_is_named_as_a_reader_would_name_it(client: TestClient) -> None:
    names = client.get("/openapi.json").json()["components"]["schemas"]
    assert [name for name in names if "__" in name] == [], "two models of one name"
