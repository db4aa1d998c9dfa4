"""Grafana's webhook as tellings of rules.

https://grafana.com/docs/grafana/latest/alerting/configure-notifications/manage-contact-points/integrations/webhook-notifier/
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from records.alerts import SEVERITIES, Telling
from scrapewatch.events import Id, Moment, Text

MOST_ALERTS = 1_000
TOLD_BY = "grafana"

_SEVERITIES = {
    **{name: name for name in SEVERITIES},
    **dict.fromkeys(("error", "crit", "high", "page", "fatal", "emergency"), "critical"),
    **dict.fromkeys(("low", "notice", "none", "ok"), "info"),
}
"""What people call a severity in a label; anything else, and nothing, is a warning."""

_RESOURCES = ("resource", "site", "session_id", "service", "provider", "collector", "host", "instance")
"""Labels that name what is affected, the first that is there counts."""


def _written(value: Any) -> Any:
    if value is not None and not isinstance(value, str):
        raise ValueError("is no RFC 3339 date and time in text")
    return value


def _never(value: Any) -> Any:
    # The zero time of Go stands for what has not happened.
    return None if isinstance(value, str) and value.startswith("0001-") else value


class GrafanaAlert(BaseModel):
    """One alert of a notification; what is not read here is passed over."""

    status: Literal["firing", "resolved"] = Field(description="Whether it fires or is over.")
    labels: dict[Id, Text] = Field(default_factory=dict, max_length=100, description="Its labels.")
    annotations: dict[Id, Text] = Field(default_factory=dict, max_length=100, description="Its annotations.")
    startsAt: Annotated[Moment, BeforeValidator(_written)] = Field(description="Since when it fires.")  # noqa: N815 - Grafana's name
    endsAt: Annotated[Moment | None, BeforeValidator(_never), BeforeValidator(_written)] = Field(  # noqa: N815
        None, description="Since when it is over."
    )
    values: dict[str, Any] | None = Field(None, description="Values of its queries and expressions.")
    fingerprint: Id | None = Field(None, description="What its labels are.")

    def telling(self) -> Telling:
        """It as the records take it."""
        rule = self.labels.get("alertname") or "alert of Grafana"
        said = self.annotations
        over = self.status == "resolved"
        labels = json.dumps(self.labels, sort_keys=True).encode()
        return Telling(
            fingerprint=self.fingerprint or hashlib.sha256(labels).hexdigest()[:16],
            rule=rule,
            severity=_SEVERITIES.get(self.labels.get("severity", "").lower(), "warning"),
            message=said.get("summary") or said.get("description") or said.get("message") or rule,
            started_at=self.startsAt,
            resolved_at=max(self.endsAt or self.startsAt, self.startsAt) if over else None,
            resource=next((self.labels[name] for name in _RESOURCES if self.labels.get(name)), None),
            labels=self.labels,
            value=_value(self.values),
        )


class GrafanaWebhook(BaseModel):
    """A notification of Grafana: a group of alerts."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "receiver": "scrapewatch",
                "status": "firing",
                "alerts": [
                    {
                        "status": "firing",
                        "labels": {"alertname": "High Error Rate", "site": "indeed", "severity": "warning"},
                        "annotations": {"summary": "31 of 40 attempts failed within 5 minutes"},
                        "startsAt": "2026-01-05T10:01:00Z",
                        "endsAt": "0001-01-01T00:00:00Z",
                        "values": {"B": 0.775, "C": 1},
                        "fingerprint": "c6eadffa33fcdf37",
                    }
                ],
                "groupLabels": {"alertname": "High Error Rate"},
                "truncatedAlerts": 0,
            }
        }
    )

    alerts: list[GrafanaAlert] = Field(max_length=MOST_ALERTS, description="The alerts of the group.")


def _value(values: dict[str, Any] | None) -> float | None:
    """What was measured: Grafana's rules reduce a query (A) to a number (B), and compare that with a threshold (C: 0 or 1)."""
    found = {
        name: float(value)
        for name, value in (values or {}).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return found.get("B", next(iter(found.values()), None))
