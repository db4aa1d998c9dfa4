"""The panels over records on a real PostgreSQL, as the role of a data source sees it: their SQL as Grafana expands it, against what the API
answers of the same records."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from api.analytics.market import MarketInsights
from api.analytics.roi import OwnFigures
from collector.decode import from_model
from collector.fold import Memory, Request, fold
from records.alerts import AlertRecords, Matcher, Telling
from records.market import MarketQueries
from records.panels import ANNOTATIONS, CHOICES, PANELS, STATES, VARIABLES, Panel
from records.queries import RecordQueries
from records.store import SqlRecords
from scrapewatch.answers import success_rate
from scrapewatch.events import validate
from scrapewatch.time import DAY, SECOND, now_ns, to_datetime
from tests.grafana.expansion import Range, Variable, expand_sql
from tests.postgres import Postgres

FOLDER = Path(__file__).parents[2] / "records" / "panels"
READER = Path(__file__).parents[2] / "tools" / "postgres" / "reader.sql"
EVERY = {panel.name: panel for panel in (*PANELS.values(), *ANNOTATIONS.values(), *CHOICES.values())}

DAYS = 12
OURS = "Acme"
SITES = ("indeed", "linkedin")
SEARCHES = {"s0": "Python", "s1": "data engineer", "s2": "O'Reilly \\ %"}
_TYPES: Mapping[str, tuple[type, ...]] = {
    "time": (datetime,),
    "string": (str,),
    "int": (int,),
    "float": (float,),
    "bool": (bool,),
}


@dataclass(frozen=True)
class Filled:
    """A database with records of two tenants, and the roles by which each is read."""

    records: SqlRecords
    urls: Mapping[str, str]
    now: datetime

    @property
    def shown(self) -> Range:
        """Whole days: today, and those before it."""
        midnight = self.now.replace(hour=0, minute=0, second=0, microsecond=0)
        return Range(midnight - timedelta(days=DAYS - 1), midnight + timedelta(hours=23, minutes=59))

    def ask(self, name: str, tenant: str = "default", **chosen: Variable) -> list[dict[str, Any]]:
        """The rows of a panel, with all sites and any search unless something is chosen."""
        variables = {
            "site": Variable(options=SITES, everything=True, multi=True, include_all=True),
            "search": Variable("", multi=True),
            "session": Variable("s1"),
            "company": Variable(""),
            "competitor_price": Variable("4.5"),
            "monthly_return": Variable("125"),
            "investment": Variable("1000"),
            **chosen,
        }
        return rows(self.urls[tenant], expand_sql(EVERY[name].sql, variables, self.shown))

    def one(self, name: str, **chosen: Variable) -> dict[str, Any]:
        """The only row of a panel."""
        (row,) = self.ask(name, "default", **chosen)
        return row


def rows(url: str, statement: str) -> list[dict[str, Any]]:
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        connection.execute("SET timezone TO 'UTC'")
        return connection.execute(statement.encode()).fetchall()


def admitted(postgres: Postgres, url: str, role: str, tenant: str) -> tuple[str, str]:
    """The URL and the password of a role that reads ``tenant``, as operators make it."""
    made = subprocess.run(
        [
            shutil.which("psql") or postgres.programs / "psql",
            *(
                "--no-psqlrc",
                "--quiet",
                "--dbname",
                url,
                "--set",
                f"role={role}",
                "--set",
                f"tenant={tenant}",
            ),
            *("--file", READER),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    found = re.fullmatch(
        rf"the password of {role}, which reads the tenant {tenant}, is ([0-9a-f]{{64}})\n", made.stdout
    )
    assert found is not None
    return url.replace("postgres@", f"{role}@"), found[1]


def events(tenant: str, now: int) -> list[dict[str, Any]]:
    """What the scrapers of a tenant told: ended sessions, one that goes on, and postings of two periods."""
    chance = random.Random(tenant)
    told: list[dict[str, Any]] = []

    def tell(session: str, metric: str, at: int, **value: Any) -> None:
        found = validate({"session_id": session, "metric": metric, "value": value})
        found["time"] = at
        told.append(found)

    for session, search in SEARCHES.items():
        begun = now - 2 * DAYS * DAY + chance.randrange(DAY)
        tell(
            session,
            "session_started",
            begun,
            search_term=search,
            location="Berlin",
            sites=list(SITES),
            source="scrapy",
        )
    tell("s3", "session_queued", now - DAY, source="node")
    tell("s5", "session_started", now - 2 * DAY, search_term="nurse")
    for k in range(5):
        at = now - 2 * DAY + k * SECOND
        tell("s5", "page_processed", at, site="indeed", attempt=2, status=403, duration=0.5, blocked=True)
    tell("s5", "session_finished", now - 2 * DAY + 60 * SECOND, status="completed")
    tell("s4", "session_started", now - 3_600 * SECOND, search_term="Python")
    tell(
        "s4",
        "job_scraped",
        now - 3_500 * SECOND,
        site="indeed",
        count=10,
        saved=6,
        duplicate=2,
        dropped=1,
        invalid=1,
    )
    for k in range(600):
        session = chance.choice(tuple(SEARCHES))
        job = {
            "url": f"https://example.org/{tenant}/{k}",
            "title": f"title {k}",
            "company": chance.choice((OURS, "Umbrella  Corp", f"small {k % 40}", None)),
            "location": chance.choice(("Berlin", "Berlin,  Germany", "Paris", None)),
            "salary": chance.choice(
                ("$100k", "$50/hr", "€4.000 - €5.000 pro Monat", "60,250 EUR", "$100,500", None)
            ),
            "skills": chance.sample(["Python", "SQL", " rust ", "python"], chance.randint(0, 3)),
            "is_remote": chance.choice((True, False, None)),
        }
        at = now - chance.randrange(2 * DAYS * DAY)
        tell(session, "job_scraped", at, site=chance.choice(SITES), job=job, saved=1)
    for session in ("s1", "s4"):
        for k in range(40):
            at = now - 3_600 * SECOND + k * SECOND
            site = SITES[k % 2]
            tell(
                session,
                "page_processed",
                at,
                site=site,
                status=403 if k % 5 == 0 else 200,
                duration=0.5 + k / 100,
                blocked=k % 5 == 0,
            )
            if k % 5 == 0:
                tell(
                    session,
                    "error_occurred",
                    at,
                    site=site,
                    type="403",
                    message=f"Forbidden by {tenant}",
                    url="https://x/",
                )
    tell(
        "s1",
        "site_finished",
        now - 600 * SECOND,
        site="indeed",
        success=False,
        error_message="blocked",
        jobs=999,
    )
    tell("s1", "site_finished", now - 600 * SECOND, site="linkedin", success=True)
    tell("s1", "session_finished", now - 500 * SECOND, status="completed")
    tell("s2", "session_finished", now - 400 * SECOND, status="failed", reason="killed")
    tell("s4", "circuit_breaker", now - 3_000 * SECOND, site="indeed", state="open", failures=5)
    return told


@pytest.fixture(scope="module")
def filled(postgres: Postgres, migrated_postgres: str) -> Iterator[Filled]:
    url = postgres.database(migrated_postgres)
    records = SqlRecords(url)
    now = now_ns()
    number = 0
    for tenant in ("default", "acme"):
        memory: Memory = {}
        told = events(tenant, now)
        for k in range(0, len(told), 200):
            part = told[k : k + 200]
            number += 1
            request = Request(tenant, None, now, [e["time"] for e in part], [from_model(e) for e in part])
            folded = fold([request], memory, collector_no=1, number=number)
            memory |= folded.memory
            assert records.apply(1, number, folded.changes)
        alert(AlertRecords(records.engine), tenant, to_datetime(now))
    roles = {tenant: f"grafana_{tenant}" for tenant in ("default", "acme")}
    urls = {tenant: admitted(postgres, url, role, tenant)[0] for tenant, role in roles.items()}
    yield Filled(records, urls, to_datetime(now))
    records.close()
    postgres.drop(url)
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        for role in roles.values():
            connection.execute(f"DROP ROLE {role}".encode())


def alert(alerts: AlertRecords, tenant: str, now: datetime) -> None:
    """Alerts of all kinds, from before the range, too; and silences."""
    for k in range(30):
        started = now - timedelta(hours=20 * k)
        ended = started + timedelta(minutes=10 + k) if k % 3 else None
        telling = Telling(
            fingerprint=f"{k:0>64}",
            rule=f"rule {k % 4}",
            severity=("info", "warning", "critical")[k % 3],
            message=f"{k} at {tenant}",
            started_at=started,
            resolved_at=ended,
            resource=None if k % 5 == 0 else f"site {k % 2}",
            labels={"site": "indeed", "team": "a" if k % 2 else "b"},
            value=k / 4,
        )
        alerts.tell(tenant, [telling], by="grafana", at=max(started, ended or started))
    page = alerts.alerts(tenant, now=now, status="firing", limit=100)
    alerts.acknowledge(tenant, page.items[0].id, by="me", notes="on it", at=now)
    for matchers in (
        [Matcher("team", "a"), Matcher("rule", "rule 1")],
        [Matcher("resource", "", negated=True), Matcher("severity", "info"), Matcher("rule", "rule 2")],
    ):
        alerts.silence(
            tenant,
            matchers,
            comment="known",
            by="me",
            starts_at=now - timedelta(1),
            ends_at=now + timedelta(1),
            at=now,
        )


# --- what all panels keep to


def test_every_file_is_a_panel_and_every_panel_a_file() -> None:
    assert {path.stem for path in FOLDER.glob("*.sql")} == set(EVERY)


@pytest.mark.parametrize("panel", EVERY.values(), ids=lambda panel: panel.name)
def test_a_panel_writes_every_variable_in_quotes(panel: Panel) -> None:
    assert panel.variables <= set(VARIABLES)
    assert not set(re.findall(r"\$\{\w+[^}]*\}", panel.sql)) - {
        f"${{{name}:sqlstring}}" for name in VARIABLES
    }
    assert all(column.description for column in panel.columns)


@pytest.mark.parametrize("name", EVERY)
def test_a_panel_answers_its_columns(filled: Filled, name: str) -> None:
    ours = Variable(OURS)
    found = filled.ask(name, company=ours)
    assert found, "nothing to compare"
    for column in EVERY[name].columns:
        values = [row[column.name] for row in found if row[column.name] is not None]
        assert all(isinstance(value, _TYPES[column.type]) for value in values), column
    assert list(found[0]) == [column.name for column in EVERY[name].columns]
    if EVERY[name].over_time:
        assert [row["time"] for row in found] == sorted(row["time"] for row in found)


@pytest.mark.parametrize("chosen", [(), ("",), ("nothing",), ("'); DROP TABLE x; --", "\\'", "$__x")])
def test_whatever_is_chosen_a_panel_takes_it_literally(
    postgres: Postgres, migrated_postgres: str, chosen: tuple[str, ...]
) -> None:
    url = postgres.database(migrated_postgres)
    several = Variable(chosen, multi=True)
    everything = Variable(options=chosen, everything=True, include_all=True)
    text = Variable("".join(chosen))
    now = datetime.now(UTC)
    shown = Range(now - timedelta(days=90), now)
    for variables in (
        dict.fromkeys(("site", "search"), several),
        dict.fromkeys(("site", "search"), everything),
        dict.fromkeys(("site", "search"), text),
    ):
        given = {**dict.fromkeys(VARIABLES, text), **variables}
        for panel in EVERY.values():
            found = rows(url, expand_sql(panel.sql, given, shown))
            # Totals of nothing are a row all the same.
            assert len(found) <= 1 or panel.name == "market_postings_per_day"
    postgres.drop(url)


# --- the same numbers as the API's


def test_sessions_are_those_of_the_list(filled: Filled) -> None:
    page = RecordQueries(filled.records.engine).sessions("default", limit=200)
    wanted = [s for s in page.items if s.begun_at >= filled.shown.start or s.completed_at is None]
    found = filled.ask("sessions")
    assert [row["session_id"] for row in found] == [session.session_id for session in wanted]
    for row, session in zip(found, wanted, strict=True):
        for field in fields(session):
            if field.name in row and field.name != "sites":
                assert row[field.name] == getattr(session, field.name), field.name
        assert (row["sites"] or "") == ", ".join(session.sites)
        assert row["blocked_share"] == (
            session.pages_blocked / session.total_pages if session.total_pages else None
        )


@pytest.mark.parametrize("site", SITES)
def test_sessions_of_a_site_are_those_of_the_list_and_those_of_which_no_site_is_known(
    filled: Filled, site: str
) -> None:
    queries = RecordQueries(filled.records.engine)
    shown = {s.session_id for s in queries.sessions("default", limit=200).items}
    named = {s.session_id for s in queries.sessions("default", site=site, limit=200).items}
    unknown = {s.session_id for s in queries.sessions("default", limit=200).items if not s.total_sites}
    found = {row["session_id"] for row in filled.ask("sessions", site=Variable((site,), multi=True))}
    assert found == (named | unknown) & {row["session_id"] for row in filled.ask("sessions")} < shown | {""}


@pytest.mark.parametrize("search", SEARCHES.values())
def test_sessions_of_a_search_are_those_of_the_list(filled: Filled, search: str) -> None:
    page = RecordQueries(filled.records.engine).sessions("default", search_term=search, limit=200)
    wanted = [s.session_id for s in page.items if s.begun_at >= filled.shown.start or s.completed_at is None]
    chosen = Variable((search,), multi=True)
    assert [row["session_id"] for row in filled.ask("sessions", search=chosen)] == wanted


def test_a_session_with_its_attempts_errors_and_evidence_is_that_of_the_api(filled: Filled) -> None:
    detail = RecordQueries(filled.records.engine).session("default", "s1")
    row, session = filled.one("session"), detail.session
    for field in fields(session):
        if field.name in row and field.name != "sites":
            assert row[field.name] == getattr(session, field.name), field.name
    assert row["success_rate"] == success_rate(session.pages_ok, session.total_pages, session.errors_count)
    executions = filled.ask("session_executions")
    assert [list(execution.values()) for execution in executions] == [
        [getattr(execution, column.name) for column in PANELS["session_executions"].columns]
        for execution in detail.executions
    ]
    assert executions[0]["jobs_scraped"] == 999
    assert [(e["fingerprint"], e["count"], e["message"]) for e in filled.ask("session_errors")] == [
        (e.fingerprint, e.count, e.message) for e in detail.errors
    ]
    assert filled.ask("session_evidence") == [
        {"rule": piece["rule"], "evidence": piece["text"]} for piece in detail.evidence
    ]


def test_errors_of_one_cause_are_added_up_over_sessions(filled: Filled) -> None:
    found = filled.ask("error_groups")
    assert {row["site_name"] for row in found} == set(SITES)
    assert sum(row["count"] for row in found) == 16
    assert {(row["sessions"], row["type"], row["message"]) for row in found} == {
        (2, "403", "Forbidden by default")
    }
    assert {row["latest_session_id"] for row in found} <= {"s1", "s4"}


def test_timelines_begin_and_end_with_sessions_and_attempts(filled: Filled) -> None:
    names = {(row["metric"], STATES[row["state"]]) for row in filled.ask("session_states")}
    verdict = RecordQueries(filled.records.engine).session("default", "s1").session.verdict
    assert {("s1", verdict), ("s1", "over"), ("s3", "queued")} <= names
    assert ("s3", "over") not in names
    attempts = {(row["metric"], STATES[row["state"]]) for row in filled.ask("session_site_states")}
    assert attempts == {
        ("indeed #1", "failed"),
        ("indeed #1", "over"),
        ("linkedin #1", "completed"),
        ("linkedin #1", "over"),
    }


def test_sessions_are_counted_as_the_summary_counts_them(filled: Filled) -> None:
    numbers = RecordQueries(filled.records.engine).session_numbers("default", filled.shown.start, filled.now)
    counted = Counter[str]()
    for row in filled.ask("session_verdicts"):
        counted[row["metric"]] += row["sessions"]
    without_verdict = sum(numbers.by_status.values()) - sum(numbers.by_verdict.values())
    assert {name: counted[name] for name in numbers.by_verdict} == numbers.by_verdict
    assert counted.total() - sum(numbers.by_verdict.values()) == without_verdict
    totals = filled.one("session_totals")
    assert totals["sessions"] == counted.total()
    assert totals["failed"] == numbers.by_status.get("failed", 0)


@pytest.mark.parametrize("search", [None, "Python", "DATA  engineer", "none such"])
def test_the_market_is_that_of_the_api(filled: Filled, search: str | None) -> None:
    last_day = filled.now.date()
    market = MarketQueries(filled.records.engine).market(
        "default", until=last_day, days=DAYS, search_term=search
    )
    insights = MarketInsights.of(market, last_day, DAYS, search_term=search, location=None)
    chosen = Variable((search,) if search else (), multi=True)

    totals = filled.one("market_totals", search=chosen)
    assert totals == {
        "postings": insights.total_postings,
        "previous_postings": insights.trend.previous_postings,
        "postings_change_percent": pytest.approx(insights.trend.postings_change_percent),
        "days_with_postings": insights.trust.days_with_postings,
        "looked_at": insights.trust.looked_at,
        "remote_share": insights.remote_share,
        "previous_remote_share": insights.trend.previous_remote_share,
        "salary_share": insights.trust.salary_share,
    }
    per_day = {
        row["time"].date(): row["postings"] for row in filled.ask("market_postings_per_day", search=chosen)
    }
    assert per_day == {day.date: day.postings for day in insights.postings_per_day}
    for row, level in zip(filled.ask("market_salaries", search=chosen), insights.salaries, strict=True):
        assert row["change_percent"] == pytest.approx(level.change_percent)
        wanted = level.model_dump(exclude={"change_percent"})
        assert {name: row[name] for name in wanted} == wanted
    for name, listed in (
        ("market_skills", insights.skills),
        ("market_companies", insights.companies),
        ("market_locations", insights.locations),
    ):
        found = [tuple(row.values()) for row in filled.ask(name, search=chosen)]
        assert found == [pytest.approx(tuple(each.model_dump().values())) for each in listed]
    sites = {row["site"]: row["postings"] for row in filled.ask("market_sites", search=chosen)}
    assert sites == insights.trust.sites


@pytest.mark.parametrize("days", [1, 6, 7, 8, 13, 20])
def test_companies_are_counted_whole_however_weeks_lie_in_the_days(filled: Filled, days: int) -> None:
    last_day = filled.now.date()
    market = MarketQueries(filled.records.engine).market("default", until=last_day, days=days)
    midnight = filled.shown.stop.replace(hour=0, minute=0)
    shown = Range(midnight - timedelta(days=days - 1), filled.shown.stop)
    sql = expand_sql(PANELS["market_companies"].sql, {"search": Variable(())}, shown)
    found = {row["company"]: row["postings"] for row in rows(filled.urls["default"], sql)}
    assert found == dict(sorted(market.now.companies.items(), key=lambda item: (-item[1], item[0]))[:20])


def test_what_goes_over_time_adds_up_to_the_totals(filled: Filled) -> None:
    totals = filled.one("market_totals")
    assert sum(row["postings"] for row in filled.ask("market_postings_per_day")) == totals["postings"]
    bands = filled.ask("market_salary_bands")
    (most, *_) = filled.ask("market_salaries")
    assert {row["currency"] for row in bands} == {most["currency"]}
    assert sum(row["postings"] for row in bands) == most["postings"]
    weeks = filled.ask("market_salaries_over_time")
    assert all(row["time"].weekday() == 3 for row in weeks)
    assert min(row["p50"] for row in weeks) <= most["p50"] <= max(row["p50"] for row in weeks)


def test_ours_are_the_postings_of_our_company_and_the_market_is_all(filled: Filled) -> None:
    sides = {row["side"]: row for row in filled.ask("market_ours", company=Variable(OURS))}
    (acme,) = [row for row in filled.ask("market_companies") if row["company"] == OURS]
    totals = filled.one("market_totals")
    assert sides["ours"]["postings"] == acme["postings"]
    assert sides["the market"]["postings"] == totals["postings"]
    assert sides["the market"]["remote_share"] == totals["remote_share"]
    (most, *_) = filled.ask("market_salaries")
    assert {name: sides["the market"][name] for name in ("currency", "p25", "p50", "p75")} == {
        name: most[name] for name in ("currency", "p25", "p50", "p75")
    }
    assert sides["ours"]["p25"] <= sides["ours"]["p50"] <= sides["ours"]["p75"]
    market = {row["skill"]: row["share"] for row in filled.ask("market_skills")}
    for row in filled.ask("market_ours_skills", company=Variable(OURS)):
        assert row["the_market"] == pytest.approx(market[row["skill"]])
        assert 0 < row["ours"] <= 1


def test_without_a_company_of_ours_only_the_market_is_shown(filled: Filled) -> None:
    assert [row["side"] for row in filled.ask("market_ours")] == ["the market"]
    assert filled.ask("market_ours_skills") == []


def test_statistics_of_alerts_are_those_of_the_api(filled: Filled) -> None:
    wanted = AlertRecords(filled.records.engine).statistics("default", filled.shown.start)
    found = filled.one("alerts_statistics")
    assert (found["total"], found["told"]) == (wanted.total, wanted.told)
    assert {name: found[name] for name in wanted.by_severity} == wanted.by_severity
    assert found["open"] == sum(wanted.open_by_severity.values())
    for name in (
        *("mean_time_to_acknowledge", "median_time_to_acknowledge"),
        *("mean_time_to_resolve", "median_time_to_resolve"),
    ):
        assert found[name] == pytest.approx(getattr(wanted, name))
    for name, column, groups in (
        ("alerts_by_rule", "rule", wanted.rules),
        ("alerts_by_resource", "resource", wanted.resources),
    ):
        assert [(r[column], r["alerts"], r["told"], r["open"]) for r in filled.ask(name)] == [
            (group.name, group.alerts, group.told, group.open) for group in groups
        ]
    firing = filled.one("alerts_firing")
    assert {name: firing[name] for name in wanted.open_by_severity} == wanted.open_by_severity
    by_day = Counter[date]()
    for row in filled.ask("alerts_over_time"):
        by_day[row["time"].date()] += row["alerts"]
    assert {str(day): n for day, n in by_day.items()} == wanted.by_day


def test_open_alerts_are_those_of_the_api_with_their_silences(filled: Filled) -> None:
    alerts = AlertRecords(filled.records.engine)
    wanted = {
        each.id: (each.severity, each.status, each.silenced_by is not None)
        for each in alerts.alerts("default", now=filled.now, limit=100).items
        if each.status != "resolved"
    }
    found = {
        row["id"]: (row["severity"], row["status"], row["silenced"]) for row in filled.ask("alerts_open")
    }
    assert found == wanted
    assert {silenced for *_, silenced in wanted.values()} == {True, False}


def test_the_return_on_investment_is_that_of_the_api(filled: Filled) -> None:
    wanted = OwnFigures.of(1_000, 125)
    found = filled.one("return_on_investment")
    assert (found["roi"], found["payback_months"]) == (wanted.roi, wanted.payback_months)
    for text in ("", "much", "1e9", "1; DROP TABLE x"):
        assert filled.ask("return_on_investment", investment=Variable(text)) == []
        assert filled.one("economic_impact", competitor_price=Variable(text))["competitor_cost"] is None


# --- who reads what


def test_a_role_sees_the_rows_of_its_tenant_alone(filled: Filled) -> None:
    for tenant, other in (("default", "acme"), ("acme", "default")):
        for view in (
            "sessions",
            "site_executions",
            "error_groups",
            "postings",
            "market_days",
            "alerts",
            "silences",
        ):
            found = rows(filled.urls[tenant], f"SELECT * FROM panels.{view}")
            assert found
            assert other not in str(found)
        assert filled.ask("sessions", tenant)
        assert {row["message"] for row in filled.ask("error_groups", tenant)} == {f"Forbidden by {tenant}"}


def test_a_role_without_a_tenant_sees_nothing(postgres: Postgres, filled: Filled) -> None:
    owner = filled.records.engine.url.render_as_string(hide_password=False).replace("+psycopg", "")
    for view in ("sessions", "postings", "market_days", "alerts"):
        assert rows(owner, f"SELECT * FROM panels.{view}") == []


def test_a_condition_that_fails_on_a_value_is_not_tried_on_another_tenants_rows(filled: Filled) -> None:
    loud = (
        "SELECT * FROM panels.alerts WHERE CASE WHEN message LIKE '%acme%' THEN 1 / (id - id) ELSE 1 END = 1"
    )
    assert rows(filled.urls["default"], loud)
    with pytest.raises(psycopg.errors.DivisionByZero):
        rows(filled.urls["acme"], loud)


def test_a_role_reads_no_table_and_changes_nothing(filled: Filled) -> None:
    with psycopg.connect(filled.urls["acme"], autocommit=True) as connection:
        tables = connection.execute(
            "SELECT quote_ident(nspname) || '.' || quote_ident(relname) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE relkind IN ('r', 'p', 'S') AND nspname IN ('public', 'panels')"
        ).fetchall()
        assert len(tables) > 20
        connection.execute("SET default_transaction_read_only = off")
        for (table,) in tables:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT * FROM {table}".encode())
        for statement in (
            "DELETE FROM panels.alerts",
            "UPDATE panels.sessions SET status = 'failed'",
            "INSERT INTO panels.readers VALUES ('grafana_acme', 'default')",
            "UPDATE panels.readers SET tenant = 'default'",
            "CREATE VIEW panels.own AS SELECT 1",
            "SET ROLE postgres",
            "ALTER VIEW panels.alerts RESET (security_barrier)",
        ):
            with pytest.raises(psycopg.Error) as refused:
                connection.execute(statement.encode())
            assert isinstance(refused.value, psycopg.errors.InsufficientPrivilege), statement


def test_a_role_made_again_has_another_password_and_may_read_another_tenant(
    postgres: Postgres, migrated_postgres: str
) -> None:
    url = postgres.database(migrated_postgres)
    first = admitted(postgres, url, "grafana_again", "one")
    second = admitted(postgres, url, "grafana_again", "two")
    assert first[1] != second[1]
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT role, tenant FROM panels.readers ORDER BY role").fetchall()
    assert found == [("grafana", "default"), ("grafana_again", "two")]
    postgres.drop(url)
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("DROP ROLE grafana_again")
