"""Alerts: told by rules, seen to and ended by people, silenced."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from records.alerts import Alert, AlertRecords, Matcher, Telling, Told
from records.store import SqlRecords
from scrapewatch.problems import Conflict, InvalidInput, NotFound
from scrapewatch.time import now_ns

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def telling(
    rule: str = "High Error Rate",
    *,
    severity: str = "warning",
    resource: str | None = "indeed",
    started: float = 0,
    resolved: float | None = None,
    value: float | None = 0.2,
    message: str = "too many errors",
    **labels: str,
) -> Telling:
    return Telling(
        fingerprint=f"{rule}/{resource}",
        rule=rule,
        severity=severity,
        message=message,
        started_at=after(started),
        resolved_at=None if resolved is None else after(resolved),
        resource=resource,
        labels=labels,
        value=value,
    )


@pytest.fixture
def alerts(records: SqlRecords) -> AlertRecords:
    return AlertRecords(records.engine)


def tell(alerts: AlertRecords, *tellings: Telling, at: float = 1, tenant: str = "t") -> Told:
    return alerts.tell(tenant, tellings, by="grafana", at=after(at))


def listed(alerts: AlertRecords, **parameters: object) -> list[Alert]:
    return alerts.alerts("t", now=after(60), **parameters).items  # type: ignore[arg-type]


def only(alerts: AlertRecords) -> Alert:
    [found] = listed(alerts)
    return found


def test_an_alert_is_kept_as_it_was_told(alerts: AlertRecords) -> None:
    assert tell(alerts, telling(team="data")) == Told(opened=1)
    found = only(alerts)
    assert replace(found, id=0) == Alert(
        id=0,
        fingerprint="High Error Rate/indeed",
        rule="High Error Rate",
        severity="warning",
        status="firing",
        resource="indeed",
        message="too many errors",
        labels={"team": "data"},
        value=0.2,
        count=1,
        started_at=NOON,
        last_fired_at=after(1),
        acknowledged_at=None,
        acknowledged_by=None,
        resolved_at=None,
        resolved_by=None,
        notes=None,
    )
    assert alerts.alert("t", found.id, now=after(2)) == found


def test_what_changed_is_told_as_it_is_now(alerts: AlertRecords) -> None:
    told = tell(alerts, telling(resource="b"), telling(resource="a"))
    assert sorted(told.news, key=lambda found: found.resource or "") == sorted(
        listed(alerts), key=lambda found: found.resource or ""
    )
    assert tell(alerts, telling(resource="a"), at=2).news == ()
    [found] = tell(alerts, telling(resource="a", resolved=5), telling(resource="b"), at=6).news
    assert (found.resource, found.status) == ("a", "resolved")


def test_the_same_said_again_counts_once_and_something_new_counts(alerts: AlertRecords) -> None:
    tell(alerts, telling())
    assert tell(alerts, telling(), at=2) == Told(unchanged=1)
    assert (only(alerts).count, only(alerts).last_fired_at) == (1, after(2))
    assert tell(alerts, telling(value=0.5, message="more"), at=3) == Told(repeated=1)
    found = only(alerts)
    assert (found.count, found.value, found.message, found.last_fired_at) == (2, 0.5, "more", after(3))


def test_an_end_resolves_and_what_comes_late_changes_nothing(alerts: AlertRecords) -> None:
    tell(alerts, telling())
    assert tell(alerts, telling(resolved=30), at=31) == Told(resolved=1)
    assert tell(alerts, telling(resolved=30), at=32) == Told(unchanged=1)
    assert tell(alerts, telling(value=0.9), at=33) == Told(unchanged=1)
    found = only(alerts)
    assert (found.status, found.resolved_at, found.resolved_by) == ("resolved", after(30), "grafana")
    assert found.count == 1


def test_an_end_that_comes_first_is_an_alert_that_is_over(alerts: AlertRecords) -> None:
    assert tell(alerts, telling(resolved=30), at=31) == Told(opened=1)
    assert tell(alerts, telling(), at=32) == Told(unchanged=1)
    assert only(alerts).status == "resolved"


def test_a_rule_that_fires_anew_is_another_alert(alerts: AlertRecords) -> None:
    tell(alerts, telling(), telling(resolved=30), at=31)
    assert tell(alerts, telling(started=40), at=41) == Told(opened=1)
    assert [found.status for found in listed(alerts)] == ["firing", "resolved"]


def test_what_a_person_ended_opens_again_when_its_rule_says_something_new(alerts: AlertRecords) -> None:
    tell(alerts, telling())
    alerts.resolve("t", only(alerts).id, by="ann", notes="proxies replaced", at=after(10))
    assert tell(alerts, telling(), at=20) == Told(unchanged=1), "the same as before may be a repetition"
    assert only(alerts).status == "resolved"
    assert tell(alerts, telling(value=0.7), at=30) == Told(reopened=1)
    found = only(alerts)
    assert (found.status, found.resolved_at, found.resolved_by) == ("firing", None, None)
    assert found.notes == "proxies replaced", "what was tried is still worth knowing"


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.builds(
            telling,
            resource=st.sampled_from(("a", "b")),
            started=st.sampled_from((0, 50)),
            resolved=st.sampled_from((None, 60)),
            value=st.sampled_from((None, 0.5)),
        ),
        max_size=6,
    )
)
def test_a_delivery_that_is_repeated_leaves_the_same_alerts(
    alerts: AlertRecords, tellings: Sequence[Telling]
) -> None:
    tenant = f"tenant {now_ns()}"
    for each in tellings:
        tell(alerts, each, tenant=tenant)
        once = alerts.alerts(tenant, now=NOON).items
        tell(alerts, each, tenant=tenant)
        assert alerts.alerts(tenant, now=NOON).items == once
    by_alert = {(found.fingerprint, found.started_at) for found in tellings}
    assert len(alerts.alerts(tenant, now=NOON).items) == len(by_alert)


def test_deliveries_at_once_make_one_alert(alerts: AlertRecords) -> None:
    both = [telling(resource=name) for name in ("a", "b", "c")]
    told: list[Told] = []

    def run(order: int) -> None:
        told.append(tell(alerts, *both[::order]))

    threads = [threading.Thread(target=run, args=(order,)) for order in (1, -1, 1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(listed(alerts)) == 3
    assert sum(each.opened for each in told) == 3
    assert [found.count for found in listed(alerts)] == [1, 1, 1]


def test_a_severity_that_is_none_is_refused_with_all_that_came_with_it(alerts: AlertRecords) -> None:
    with pytest.raises(InvalidInput):
        tell(alerts, telling(), telling(severity="dire", resource="b"))
    assert listed(alerts) == []


def test_alerts_come_newest_first_in_pages_that_new_ones_do_not_shift(alerts: AlertRecords) -> None:
    tell(alerts, *(telling(resource=f"r{k}", started=k // 2) for k in range(5)))
    page = alerts.alerts("t", now=NOON, limit=2)
    tell(alerts, telling(resource="new", started=100), telling(resource="old", started=-100))
    rest = alerts.alerts("t", now=NOON, limit=10, cursor=page.next_cursor)
    assert [found.resource for found in [*page.items, *rest.items]] == ["r4", "r3", "r2", "r1", "r0", "old"]
    assert rest.next_cursor is None


def test_alerts_are_found_by_severity_and_status(alerts: AlertRecords) -> None:
    tell(
        alerts,
        telling(resource="a"),
        telling(resource="b", severity="critical", started=1),
        telling(resource="c", severity="critical", started=2, resolved=5),
    )
    assert [found.resource for found in listed(alerts, severity="critical")] == ["c", "b"]
    assert [found.resource for found in listed(alerts, status="firing")] == ["b", "a"]
    assert [found.resource for found in listed(alerts, severity="critical", status="firing")] == ["b"]
    for wrong in ({"severity": "dire"}, {"status": "open"}, {"limit": 0}, {"cursor": "x"}):
        with pytest.raises(InvalidInput):
            listed(alerts, **wrong)


def test_who_sees_to_an_alert_first_is_kept_and_notes_are_added(alerts: AlertRecords) -> None:
    tell(alerts, telling())
    known = only(alerts).id
    found = alerts.acknowledge("t", known, by="ann", notes="looking", at=after(5))
    assert (found.status, found.acknowledged_by, found.acknowledged_at) == ("acknowledged", "ann", after(5))
    assert alerts.acknowledge("t", known, by="ann", notes="looking", at=after(6)) == found
    found = alerts.acknowledge("t", known, by="bob", notes="me too", at=after(7))
    assert (found.acknowledged_by, found.notes) == ("ann", "looking\nme too")
    assert tell(alerts, telling(value=1.0), at=8) == Told(repeated=1)
    assert only(alerts).status == "acknowledged", "that it goes on is no news for who sees to it"


def test_a_resolved_alert_stays_as_it_was_resolved(alerts: AlertRecords) -> None:
    tell(alerts, telling())
    known = only(alerts).id
    found = alerts.resolve("t", known, by="ann", notes="done", at=after(9))
    assert (found.status, found.resolved_by, found.resolved_at) == ("resolved", "ann", after(9))
    assert alerts.resolve("t", known, by="bob", notes=None, at=after(10)) == found
    with pytest.raises(Conflict):
        alerts.acknowledge("t", known, by="bob", notes=None, at=after(11))


def test_tenants_never_meet_each_others_alerts_and_silences(alerts: AlertRecords) -> None:
    tell(alerts, telling())
    known = only(alerts).id
    held = alerts.silence(
        "t", [Matcher("rule", "x")], comment="", by="ann", starts_at=NOON, ends_at=after(99), at=NOON
    )
    assert alerts.alerts("u", now=NOON).items == []
    assert alerts.silences("u", now=NOON).items == []
    for act in (
        lambda: alerts.alert("u", known, now=NOON),
        lambda: alerts.acknowledge("u", known, by="eve", notes=None, at=NOON),
        lambda: alerts.resolve("u", known, by="eve", notes=None, at=NOON),
        lambda: alerts.delete_silence("u", held.id),
    ):
        with pytest.raises(NotFound):
            act()
    assert tell(alerts, telling(), tenant="u") == Told(opened=1)


def test_the_statistics_are_what_the_alerts_add_up_to(alerts: AlertRecords) -> None:
    tell(
        alerts,
        telling("old", started=-9e6, resolved=-8e6),
        telling("old but open", started=-9e6, severity="critical"),
        telling(resource="a", started=0),
        telling(resource="b", started=0, resolved=100),
        telling(resource=None, started=90_000, resolved=90_300, severity="info"),
    )
    tell(alerts, telling(resource="a", started=0, value=0.9), at=2)
    [a] = [found for found in listed(alerts) if found.resource == "a"]
    alerts.acknowledge("t", a.id, by="ann", notes=None, at=after(40))
    found = alerts.statistics("t", after(-1_000))
    assert (found.total, found.told) == (4, 5)
    assert found.by_status == {"firing": 1, "acknowledged": 1, "resolved": 2}
    assert found.by_severity == {"info": 1, "warning": 2, "critical": 1}
    assert found.open_by_severity == {"info": 0, "warning": 1, "critical": 1}
    assert [(group.name, group.alerts, group.told, group.open) for group in found.rules] == [
        ("High Error Rate", 3, 4, 1),
        ("old but open", 1, 1, 1),
    ]
    assert [(group.name, group.alerts) for group in found.resources] == [("a", 1), ("b", 1), ("indeed", 1)]
    assert (found.mean_time_to_acknowledge, found.median_time_to_acknowledge) == (40, 40)
    assert (found.mean_time_to_resolve, found.median_time_to_resolve) == (200, 200)
    assert found.by_day == {"2026-01-05": 2, "2026-01-06": 1}
    nothing = alerts.statistics("nobody", NOON)
    assert (nothing.total, nothing.mean_time_to_resolve, nothing.rules) == (0, None, [])


def test_a_silence_holds_for_what_meets_all_of_its_matchers_while_it_lasts(alerts: AlertRecords) -> None:
    tell(alerts, telling(team="data"), telling(resource="linkedin", team="data", started=-1))
    held = alerts.silence(
        "t",
        [Matcher("team", "data"), Matcher("resource", "linkedin", negated=True)],
        comment="maintenance",
        by="ann",
        starts_at=after(10),
        ends_at=after(100),
        at=NOON,
    )

    def silenced(at: float) -> dict[str | None, int | None]:
        return {found.resource: found.silenced_by for found in alerts.alerts("t", now=after(at)).items}

    assert silenced(5) == {"indeed": None, "linkedin": None}
    assert silenced(10) == {"indeed": held.id, "linkedin": None}
    assert silenced(100) == {"indeed": None, "linkedin": None}
    assert alerts.silencing("t", telling(team="data"), after(50)) == held
    assert alerts.silencing("t", telling(team="web"), after(50)) is None
    assert held.state(after(5)) == "pending"
    alerts.delete_silence("t", held.id)
    assert silenced(50) == {"indeed": None, "linkedin": None}
    with pytest.raises(NotFound):
        alerts.delete_silence("t", held.id)


def test_silences_are_listed_by_state_in_pages(alerts: AlertRecords) -> None:
    spans = {"expired": (0, 10), "active": (0, 100), "pending": (60, 100)}
    for k, (name, (start, stop)) in enumerate(spans.items()):
        alerts.silence(
            "t",
            [Matcher("rule", name)],
            comment=name,
            by="ann",
            starts_at=after(start),
            ends_at=after(stop),
            at=after(-k),
        )
    for name in ("active", "pending", "expired"):
        [found] = alerts.silences("t", now=after(50), state=name).items  # type: ignore[arg-type]
        assert (found.comment, found.state(after(50))) == (name, name)
    page = alerts.silences("t", now=after(50), limit=2)
    rest = alerts.silences("t", now=after(50), limit=2, cursor=page.next_cursor)
    assert [found.comment for found in [*page.items, *rest.items]] == ["expired", "active", "pending"]
    assert rest.next_cursor is None


def test_a_silence_that_hides_everything_or_nothing_is_refused(alerts: AlertRecords) -> None:
    one = [Matcher("rule", "x")]
    for matchers, start, stop in (([], 0, 10), (one, 10, 10), (one, -20, -10)):
        with pytest.raises(InvalidInput):
            alerts.silence(
                "t", matchers, comment="", by="", starts_at=after(start), ends_at=after(stop), at=NOON
            )


def test_hostile_text_is_only_text(alerts: AlertRecords) -> None:
    for text in ("' OR 1=1 --", "a\0b", "\ud800", "x" * 5_000, "🦆"):
        assert tell(alerts, telling(text, resource=text, message=text, label=text)) == Told(opened=1)
    assert len(listed(alerts)) == 5
