"""The routes of alerts and silences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from api.access import actor_of, tenant_of
from api.alerts.grafana import TOLD_BY, GrafanaWebhook
from api.alerts.models import (
    Alert,
    AlertList,
    AlertStatistics,
    AlertStatus,
    AlertsTold,
    Deed,
    NewSilence,
    Severity,
    Silence,
    SilenceList,
    SilenceState,
)
from api.services import ApiServices
from records.alerts import Alert as RecordedAlert
from records.alerts import Matcher
from scrapewatch.http import problem_responses
from scrapewatch.live import alert_message
from scrapewatch.time import SECOND, parse_interval

Id = Annotated[int, Path(ge=1, le=2**63 - 1, description="Its id.", examples=[7])]
Limit = Annotated[int, Query(ge=1, le=200, description="Most to answer.")]
Cursor = Annotated[str | None, Query(max_length=1_000, description="`next_cursor` of the page before.")]


def build_router(services: ApiServices) -> APIRouter:
    """The routes below ``/monitoring/alerts`` and ``/monitoring/silences``."""
    router = APIRouter(prefix="/monitoring", tags=["alerts"], route_class=services.telemetry.route_class())
    records, alerts = services.patience["records"], services.alerts

    def publish(request: Request, changed: Sequence[RecordedAlert]) -> list[Alert]:
        """Tell those who listen what became of alerts; as the API shows them."""
        shown = [Alert.model_validate(found) for found in changed]
        tenant = tenant_of(request)
        services.hub.publish([alert_message(tenant, found.model_dump(mode="json")) for found in shown])
        return shown

    async def done(act: Callable[..., RecordedAlert], request: Request, alert_id: int, deed: Deed) -> Alert:
        """What became of an alert by a deed of somebody's."""
        by = deed.by or actor_of(request)
        found = await records.call(act, tenant_of(request), alert_id, by=by, notes=deed.notes, at=_now())
        return publish(request, [found])[0]

    @router.get(
        "/alerts",
        summary="Alerts, newest first",
        response_model=AlertList,
        responses=problem_responses(422, 503),
    )
    async def list_alerts(
        request: Request,
        severity: Annotated[Severity | None, Query(description="Only alerts of this severity.")] = None,
        status: Annotated[AlertStatus | None, Query(description="Only alerts in this state.")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> AlertList:
        """`next_cursor` leads to the next page: an alert that starts meanwhile neither repeats nor hides another."""
        page = await records.call(
            alerts.alerts,
            tenant_of(request),
            now=_now(),
            severity=severity,
            status=status,
            limit=limit,
            cursor=cursor,
        )
        return AlertList.model_validate(page)

    @router.get(
        "/alerts/statistics",
        summary="Figures over the alerts",
        response_model=AlertStatistics,
        responses=problem_responses(422, 503),
    )
    async def statistics(
        request: Request,
        days: Annotated[int, Query(ge=1, le=365, description="Alerts of so many days.")] = 30,
    ) -> AlertStatistics:
        """How many, of what, how often told, and how long people took to see to them."""
        since = _now() - timedelta(days=days)
        found = await records.call(alerts.statistics, tenant_of(request), since)
        return AlertStatistics.model_validate({"since": since, **asdict(found)})

    @router.post(
        "/alerts/grafana",
        summary="Grafana's webhook",
        response_model=AlertsTold,
        responses=problem_responses(400, 422, 503),
    )
    async def from_grafana(request: Request, notification: GrafanaWebhook) -> AlertsTold:
        """For a contact point of the type Webhook. The same notification sent again changes nothing."""
        told = await records.call(
            alerts.tell,
            tenant_of(request),
            [each.telling() for each in notification.alerts],
            by=TOLD_BY,
            at=_now(),
        )
        publish(request, told.news)
        return AlertsTold.model_validate(told)

    @router.get(
        "/alerts/{alert_id:int}",
        summary="One alert",
        response_model=Alert,
        responses=problem_responses(404, 422, 503),
    )
    async def show_alert(request: Request, alert_id: Id) -> Alert:
        """An alert as it is now."""
        found = await records.call(alerts.alert, tenant_of(request), alert_id, now=_now())
        return Alert.model_validate(found)

    @router.post(
        "/alerts/{alert_id:int}/acknowledge",
        summary="Say that somebody sees to an alert",
        response_model=Alert,
        responses=problem_responses(400, 404, 409, 422, 503),
    )
    async def acknowledge(request: Request, alert_id: Id, deed: Deed | None = None) -> Alert:
        """The first to say so is kept. An alert that is resolved already is a 409."""
        return await done(alerts.acknowledge, request, alert_id, deed or Deed())

    @router.post(
        "/alerts/{alert_id:int}/resolve",
        summary="Say that an alert is over",
        response_model=Alert,
        responses=problem_responses(400, 404, 422, 503),
    )
    async def resolve(request: Request, alert_id: Id, deed: Deed | None = None) -> Alert:
        """The first to say so is kept. If its rule goes on and says something new, the alert opens again."""
        return await done(alerts.resolve, request, alert_id, deed or Deed())

    @router.post(
        "/silences",
        status_code=201,
        summary="Tell nobody of some alerts for a while",
        response_model=Silence,
        responses=problem_responses(400, 422, 503),
    )
    async def create_silence(request: Request, wanted: NewSilence) -> Silence:
        """Alerts that match are recorded all the same."""
        now = _now()
        start = wanted.starts_at or now
        end = wanted.ends_at
        if end is None:
            end = start + timedelta(seconds=parse_interval(wanted.duration or "") / SECOND)
        found = await records.call(
            alerts.silence,
            tenant_of(request),
            [Matcher(each.name, each.value, each.negated) for each in wanted.matchers],
            comment=wanted.comment,
            by=wanted.by or actor_of(request),
            starts_at=start,
            ends_at=end,
            at=now,
        )
        return Silence.of(found, now)

    @router.get(
        "/silences",
        summary="Silences, newest first",
        response_model=SilenceList,
        responses=problem_responses(422, 503),
    )
    async def list_silences(
        request: Request,
        state: Annotated[SilenceState | None, Query(description="Only silences in this state.")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> SilenceList:
        """Those that are active, are to come, or are over."""
        now = _now()
        page = await records.call(
            alerts.silences, tenant_of(request), now=now, state=state, limit=limit, cursor=cursor
        )
        return SilenceList(
            items=[Silence.of(found, now) for found in page.items], next_cursor=page.next_cursor
        )

    @router.delete(
        "/silences/{silence_id:int}",
        status_code=204,
        summary="End a silence",
        response_class=Response,
        responses=problem_responses(404, 422, 503),
    )
    async def delete_silence(request: Request, silence_id: Id) -> Response:
        """From now on people are told again."""
        await records.call(alerts.delete_silence, tenant_of(request), silence_id)
        return Response(status_code=204)

    return router


def _now() -> datetime:
    return datetime.now(UTC)
