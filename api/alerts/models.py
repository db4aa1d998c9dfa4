"""Alerts and silences as the API shows and takes them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from records import alerts as records
from scrapewatch.events import Moment, Name, Short, Text
from scrapewatch.time import LENGTH_PATTERN, parse_interval

Severity = Literal["info", "warning", "critical"]
AlertStatus = Literal["firing", "acknowledged", "resolved"]
SilenceState = Literal["active", "pending", "expired"]

_ALERT: JsonDict = {
    "id": 7,
    "fingerprint": "c6eadffa33fcdf37",
    "rule": "High Error Rate",
    "severity": "warning",
    "status": "acknowledged",
    "resource": "indeed",
    "message": "31 of 40 attempts failed within 5 minutes",
    "labels": {"alertname": "High Error Rate", "site": "indeed", "severity": "warning"},
    "value": 0.775,
    "count": 3,
    "started_at": "2026-01-05T10:01:00Z",
    "last_fired_at": "2026-01-05T10:11:00Z",
    "acknowledged_at": "2026-01-05T10:04:00Z",
    "acknowledged_by": "ann",
    "resolved_at": None,
    "resolved_by": None,
    "notes": "the proxies of acme are blocked",
    "silenced_by": None,
}
_SILENCE: JsonDict = {
    "id": 3,
    "state": "active",
    "matchers": [{"name": "resource", "value": "indeed", "negated": False}],
    "comment": "their site is down for maintenance",
    "created_by": "ann",
    "created_at": "2026-01-05T10:00:00Z",
    "starts_at": "2026-01-05T10:00:00Z",
    "ends_at": "2026-01-05T12:00:00Z",
}


class _Shown(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Alert(_Shown):
    """A rule that fired for one resource, from its first sign to its end."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": _ALERT})

    id: int = Field(description="Its id.")
    fingerprint: str = Field(description="What tells its rule and resource from all others.")
    rule: str = Field(description="The rule.")
    severity: str = Field(description="info, warning or critical.")
    status: str = Field(description="firing, acknowledged or resolved.")
    resource: str | None = Field(description="What is affected, such as a site or a machine.")
    message: str = Field(description="What is wrong.")
    labels: dict[str, str] = Field(description="Its labels.")
    value: float | None = Field(description="What the rule measured last, in the rule's own unit.")
    count: int = Field(description="How often it was told with something new.")
    started_at: datetime = Field(description="When it began.")
    last_fired_at: datetime = Field(description="When it was last said to fire.")
    acknowledged_at: datetime | None = Field(description="When somebody said to see to it.")
    acknowledged_by: str | None = Field(description="Who.")
    resolved_at: datetime | None = Field(description="When it was over.")
    resolved_by: str | None = Field(description="Who said so: a person, or what told of it.")
    notes: str | None = Field(description="What people noted.")
    silenced_by: int | None = Field(description="The silence that holds for it now.")


class AlertList(_Shown):
    """A page of alerts, those that started last first."""

    model_config = ConfigDict(
        from_attributes=True, json_schema_extra={"example": {"items": [_ALERT], "next_cursor": None}}
    )

    items: list[Alert] = Field(description="The alerts.")
    next_cursor: str | None = Field(description="For the next page; null at the end.")


class AlertGroup(_Shown):
    """Alerts that have something in common."""

    name: str = Field(description="What they have in common.")
    alerts: int = Field(description="How many.")
    told: int = Field(description="How often they were told in all.")
    open: int = Field(description="How many of them are not resolved.")


def _seconds(description: str) -> float | None:
    found: float | None = Field(description=description, json_schema_extra={"unit": "s"})
    return found


class AlertStatistics(_Shown):
    """Figures over the alerts of some days, and those from before that are still open."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "example": {
                "since": "2025-12-29T10:00:00Z",
                "total": 12,
                "told": 31,
                "by_status": {"firing": 1, "acknowledged": 1, "resolved": 10},
                "by_severity": {"info": 2, "warning": 7, "critical": 3},
                "open_by_severity": {"info": 0, "warning": 1, "critical": 1},
                "rules": [{"name": "High Error Rate", "alerts": 7, "told": 21, "open": 1}],
                "resources": [{"name": "indeed", "alerts": 6, "told": 18, "open": 1}],
                "mean_time_to_acknowledge": 240.0,
                "median_time_to_acknowledge": 180.0,
                "mean_time_to_resolve": 1800.0,
                "median_time_to_resolve": 1260.0,
                "by_day": {"2026-01-04": 4, "2026-01-05": 8},
            }
        },
    )

    since: datetime = Field(description="From when alerts are counted.")
    total: int = Field(description="Alerts.")
    told: int = Field(description="How often they were told in all.")
    by_status: dict[str, int] = Field(description="Alerts by status.")
    by_severity: dict[str, int] = Field(description="Alerts by severity.")
    open_by_severity: dict[str, int] = Field(description="Those that are not resolved, by severity.")
    rules: list[AlertGroup] = Field(description="The ten rules with most alerts.")
    resources: list[AlertGroup] = Field(description="The ten resources with most alerts.")
    mean_time_to_acknowledge: float | None = _seconds("From start to acknowledgement, mean, s.")
    median_time_to_acknowledge: float | None = _seconds("The same, median, s.")
    mean_time_to_resolve: float | None = _seconds("From start to end, mean, s.")
    median_time_to_resolve: float | None = _seconds("The same, median, s.")
    by_day: dict[str, int] = Field(description="Alerts by the UTC day on which they started.")


class Deed(BaseModel):
    """What somebody says with an acknowledgement or a resolution."""

    model_config = ConfigDict(json_schema_extra={"example": {"by": "ann", "notes": "proxies replaced"}})

    by: Name | None = Field(None, description="Who does it; whose credential it is, if not given.")
    notes: Text | None = Field(None, description="What to note beside it.")


class Matcher(_Shown):
    """A condition on an alert."""

    name: Name = Field(description="rule, severity, resource, or the name of a label.")
    value: Short = Field(description="What it is, exactly; what an alert does not have is the empty text.")
    negated: bool = Field(False, strict=True, description="Whether it must be anything but that.")


class NewSilence(BaseModel):
    """A silence to make: until ``ends_at``, or for as long as ``duration``."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "matchers": [{"name": "resource", "value": "indeed"}],
                "duration": "2h",
                "comment": "their site is down for maintenance",
            }
        }
    )

    matchers: list[Matcher] = Field(
        min_length=1, max_length=20, description="It holds for alerts that meet all of these."
    )
    starts_at: Moment | None = Field(None, description="When it begins; now, if not given.")
    ends_at: Moment | None = Field(None, description="When it ends.")
    duration: str | None = Field(
        None,
        max_length=10,
        description="How long it lasts, such as 30m, 2h or 1d, instead of `ends_at`.",
        json_schema_extra={"pattern": LENGTH_PATTERN},
    )
    comment: Text = Field("", description="Why.")
    by: Name | None = Field(None, description="Who makes it; whose credential it is, if not given.")

    @model_validator(mode="after")
    def _ends(self) -> NewSilence:
        if (self.ends_at is None) is (self.duration is None):
            raise ValueError("give either ends_at or duration")
        if self.duration is not None:
            parse_interval(self.duration)
        return self


class Silence(_Shown):
    """A time in which nobody is to be told of alerts that match; they are recorded all the same."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": _SILENCE})

    id: int = Field(description="Its id.")
    state: str = Field(description="active, pending (begins later) or expired.")
    matchers: list[Matcher] = Field(description="It holds for alerts that meet all of these.")
    comment: str = Field(description="Why.")
    created_by: str = Field(description="Who made it.")
    created_at: datetime = Field(description="When.")
    starts_at: datetime = Field(description="When it begins.")
    ends_at: datetime = Field(description="When it ends.")

    @classmethod
    def of(cls, found: records.Silence, now: datetime) -> Silence:
        """The silence as it is now."""
        return cls(
            id=found.id,
            state=found.state(now),
            matchers=[Matcher.model_validate(each) for each in found.matchers],
            comment=found.comment,
            created_by=found.created_by,
            created_at=found.created_at,
            starts_at=found.starts_at,
            ends_at=found.ends_at,
        )


class SilenceList(BaseModel):
    """A page of silences, those made last first."""

    model_config = ConfigDict(json_schema_extra={"example": {"items": [_SILENCE], "next_cursor": None}})

    items: list[Silence] = Field(description="The silences.")
    next_cursor: str | None = Field(description="For the next page; null at the end.")


class AlertsTold(_Shown):
    """What became of the alerts that were told."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "example": {"opened": 1, "repeated": 0, "reopened": 0, "resolved": 2, "unchanged": 4}
        },
    )

    opened: int = Field(description="New alerts.")
    repeated: int = Field(description="Alerts that go on and said something new.")
    reopened: int = Field(description="Alerts that a person had resolved, and that go on.")
    resolved: int = Field(description="Alerts that are over.")
    unchanged: int = Field(description="Those that said nothing new, such as a delivery that was repeated.")
