"""Alerts over HTTP: Grafana's webhook, and what people do with them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from scrapewatch.time import HOUR, MINUTE, SECOND, now_ns, to_rfc3339
from tests.api.stacks import Stack

ALERTS = "/api/v1/monitoring/alerts"
SILENCES = "/api/v1/monitoring/silences"
STARTED = to_rfc3339((now_ns() - 10 * MINUTE) // SECOND * SECOND)


def of_grafana(rule: str = "High Error Rate", *, status: str = "firing", **changes: Any) -> dict[str, Any]:
    """An alert as Grafana sends it."""
    return {
        "status": status,
        "labels": {"alertname": rule, "site": "indeed", "severity": "critical", "grafana_folder": "x"},
        "annotations": {"summary": "31 of 40 attempts failed", "runbook_url": "https://example.com"},
        "startsAt": STARTED,
        "endsAt": "0001-01-01T00:00:00Z" if status == "firing" else to_rfc3339(now_ns() // SECOND * SECOND),
        "generatorURL": "https://grafana.example/alerting/1/edit",
        "fingerprint": "c6eadffa33fcdf37",
        "silenceURL": "https://grafana.example/alerting/silence/new",
        "dashboardURL": "",
        "panelURL": "",
        "values": {"A": 3, "B": 0.775, "C": 1},
        "valueString": "[ var='B' value=0.775 ]",
        **changes,
    }


def notification(*alerts: dict[str, Any]) -> dict[str, Any]:
    return {
        "receiver": "scrapewatch",
        "status": "firing",
        "orgId": 1,
        "alerts": list(alerts),
        "groupLabels": {"alertname": "High Error Rate"},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "https://grafana.example/",
        "version": "1",
        "groupKey": '{}:{alertname="High Error Rate"}',
        "truncatedAlerts": 0,
        "title": "[FIRING:1] High Error Rate",
        "state": "alerting",
        "message": "…",
    }


def send(client: TestClient, *alerts: dict[str, Any]) -> dict[str, int]:
    answer = client.post(f"{ALERTS}/grafana", json=notification(*alerts))
    assert answer.status_code == 200, answer.text
    return {name: count for name, count in answer.json().items() if count}


def only(client: TestClient, **query: Any) -> dict[str, Any]:
    [found] = client.get(ALERTS, params=query).json()["items"]
    return dict(found)


def test_what_grafana_sends_is_an_alert_from_its_first_sign_to_its_end(client: TestClient) -> None:
    assert send(client, of_grafana()) == {"opened": 1}
    found = only(client)
    assert {name: found[name] for name in ("rule", "severity", "status", "resource", "message", "value")} == {
        "rule": "High Error Rate",
        "severity": "critical",
        "status": "firing",
        "resource": "indeed",
        "message": "31 of 40 attempts failed",
        "value": 0.775,
    }
    assert found["started_at"] == STARTED and found["count"] == 1
    assert send(client, of_grafana()) == {"unchanged": 1}, "Grafana sends again what was not answered"
    assert send(client, of_grafana(values={"B": 0.9})) == {"repeated": 1}
    assert only(client)["count"] == 2
    assert send(client, of_grafana(status="resolved")) == {"resolved": 1}
    found = only(client, status="resolved")
    assert found["resolved_by"] == "grafana" and found["resolved_at"] > found["started_at"]
    assert client.get(ALERTS, params={"status": "firing"}).json()["items"] == []


def test_who_listens_is_told_of_what_changes_and_of_nothing_else(stack: Stack, client: TestClient) -> None:
    told: list[dict[str, Any]] = []
    stack.hub.publish = told.extend  # type: ignore[method-assign,assignment]
    send(client, of_grafana())
    send(client, of_grafana())
    known = only(client)["id"]
    client.post(f"{ALERTS}/{known}/acknowledge", json={"by": "ann"})
    send(client, of_grafana(status="resolved"))
    assert [(each["tenant"], each["metric"], each["value"]["status"]) for each in told] == [
        ("default", "alert", status) for status in ("firing", "acknowledged", "resolved")
    ]
    assert told[-1]["value"] == only(client)
    stack.services.feed.activity("default").see(told, now_ns())
    assert stack.services.feed.activity("default").last_event is None, "that is no sign of life of a scraper"


def test_a_group_is_counted_alert_by_alert(client: TestClient) -> None:
    group = [
        of_grafana(fingerprint=f"f{k}", status=status)
        for k, status in enumerate(("firing", "firing", "resolved"))
    ]
    assert send(client, *group) == {"opened": 3}
    assert send(client, *group, of_grafana(fingerprint="f9")) == {"unchanged": 3, "opened": 1}


@pytest.mark.parametrize(
    ("labels", "severity", "resource"),
    [
        ({"severity": "page", "provider": "acme"}, "critical", "acme"),
        ({"severity": "INFO", "instance": "web-1"}, "info", "web-1"),
        ({"severity": "odd"}, "warning", None),
        ({}, "warning", None),
    ],
)
def test_labels_tell_severity_and_resource(
    client: TestClient, labels: dict[str, str], severity: str, resource: str | None
) -> None:
    send(client, of_grafana(labels=labels, annotations={}, values=None, fingerprint=None))
    found = only(client)
    assert (found["severity"], found["resource"], found["value"]) == (severity, resource, None)
    assert found["message"] == found["rule"] == "alert of Grafana"
    assert found["fingerprint"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "odd"},
        {"startsAt": "yesterday"},
        {"startsAt": "0001-01-01T00:00:00+14:00"},
        {"labels": {"a": 1}},
        {"labels": {"a": "x" * 20_000}},
        {"fingerprint": "x" * 300},
    ],
)
def test_what_is_no_notification_is_refused_as_a_whole_and_not_repeated(
    client: TestClient, wrong: dict[str, Any]
) -> None:
    answer = client.post(f"{ALERTS}/grafana", json=notification(of_grafana(), of_grafana(**wrong)))
    assert answer.status_code == 422
    assert "x" * 100 not in answer.text
    assert client.get(ALERTS).json()["items"] == []


def test_somebody_sees_to_an_alert_and_ends_it(client: TestClient) -> None:
    send(client, of_grafana())
    known = only(client)["id"]
    answer = client.post(f"{ALERTS}/{known}/acknowledge", json={"by": "ann", "notes": "looking"})
    assert answer.json()["status"] == "acknowledged" and answer.json()["acknowledged_by"] == "ann"
    answer = client.post(f"/monitoring/alerts/{known}/resolve")
    found = answer.json()
    assert found["status"] == "resolved" and found["resolved_by"] == "local admin"
    assert found["notes"] == "looking" and found["resolved_at"].endswith("Z")
    assert client.get(f"{ALERTS}/{known}").json() == found
    answer = client.post(f"{ALERTS}/{known}/acknowledge")
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["999", str(2**63 - 1)])
@pytest.mark.parametrize("deed", ["acknowledge", "resolve"])
def test_an_alert_that_is_none_is_a_404(client: TestClient, path: str, deed: str) -> None:
    assert client.post(f"{ALERTS}/{path}/{deed}").status_code == 404
    assert client.get(f"{ALERTS}/{path}").status_code == 404


@pytest.mark.parametrize(("path", "status"), [("0", 422), (str(2**63), 422), ("-1", 404), ("x", 404)])
def test_what_can_be_no_id_is_refused(client: TestClient, path: str, status: int) -> None:
    assert client.post(f"{ALERTS}/{path}/resolve").status_code == status


def test_what_is_only_told_cannot_be_read(client: TestClient) -> None:
    answer = client.get(f"{ALERTS}/grafana")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST"), "it is no alert of that id"


def test_alerts_come_in_pages(client: TestClient) -> None:
    send(
        client,
        *(of_grafana(fingerprint=f"f{k}", startsAt=f"2026-01-05T10:0{k}:00Z") for k in range(5)),
    )
    first = client.get(ALERTS, params={"limit": 3}).json()
    rest = client.get(ALERTS, params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [found["fingerprint"] for found in first["items"] + rest["items"]] == [
        "f4",
        "f3",
        "f2",
        "f1",
        "f0",
    ]
    assert rest["next_cursor"] is None
    assert client.get(ALERTS, params={"cursor": "odd"}).status_code == 422


def test_the_statistics_count_what_was_told(client: TestClient) -> None:
    send(client, of_grafana(), of_grafana("Stall", fingerprint="f2", status="resolved"))
    found = client.get(f"{ALERTS}/statistics").json()
    assert (found["total"], found["told"]) == (2, 2)
    assert found["open_by_severity"]["critical"] == 1
    over = only(client, status="resolved")
    took = datetime.fromisoformat(over["resolved_at"]) - datetime.fromisoformat(over["started_at"])
    assert found["mean_time_to_resolve"] == took.total_seconds()
    assert {group["name"] for group in found["rules"]} == {"High Error Rate", "Stall"}
    assert client.get(f"{ALERTS}/statistics", params={"days": 0}).status_code == 422


def test_a_silence_is_made_shown_beside_what_it_silences_and_ended(client: TestClient) -> None:
    send(client, of_grafana())
    body = {"matchers": [{"name": "resource", "value": "indeed"}], "duration": "2h", "comment": "maintenance"}
    answer = client.post(SILENCES, json=body)
    assert answer.status_code == 201
    made = answer.json()
    assert made["state"] == "active" and made["created_by"] == "local admin"
    assert only(client)["silenced_by"] == made["id"]
    assert [found["id"] for found in client.get(SILENCES, params={"state": "active"}).json()["items"]] == [
        made["id"]
    ]
    assert client.delete(f"{SILENCES}/{made['id']}").status_code == 204
    assert only(client)["silenced_by"] is None
    assert client.delete(f"{SILENCES}/{made['id']}").status_code == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"matchers": []},
        {"matchers": [{"name": "rule", "value": "x"}]},
        {"matchers": [{"name": "rule", "value": "x"}], "duration": "soon"},
        {"matchers": [{"name": "rule", "value": "x"}], "duration": "1h", "ends_at": "2030-01-01T00:00:00Z"},
        {"matchers": [{"name": "rule", "value": "x"}], "ends_at": "2020-01-01T00:00:00Z"},
        {"matchers": [{"name": "rule", "value": "x"}], "ends_at": "2199-01-01T00:00:00Z"},
        {"matchers": [{"name": "rule", "value": "x"}], "duration": "99999d"},
        {"matchers": [{"name": "", "value": "x"}], "duration": "1h"},
    ],
)
def test_a_silence_that_makes_no_sense_is_refused(client: TestClient, wrong: dict[str, Any]) -> None:
    answer = client.post(SILENCES, json=wrong)
    assert answer.status_code == 422
    assert client.get(SILENCES).json()["items"] == []


def test_a_silence_may_begin_later(client: TestClient) -> None:
    later = to_rfc3339(now_ns() + HOUR)
    body = {"matchers": [{"name": "rule", "value": "x"}], "starts_at": later, "duration": "1h", "by": "ann"}
    made = client.post(SILENCES, json=body).json()
    assert (made["state"], made["created_by"]) == ("pending", "ann")


def test_without_its_database_the_answer_is_a_problem(stack: Stack, client: TestClient) -> None:
    with stack.records.engine.begin() as db:
        db.exec_driver_sql("DROP TABLE alerts")
    for answer in (client.get(ALERTS), client.post(f"{ALERTS}/grafana", json=notification(of_grafana()))):
        assert answer.status_code == 503
