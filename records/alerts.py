"""Alerts and silences: what rules say becomes records here, whoever evaluates them, and people acknowledge, resolve and silence.

Everything blocks, and is of one tenant only: what is another's does not exist. All raise
:class:`~scrapewatch.problems.StoreUnavailable` when the database does not answer.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from statistics import median
from typing import Any, Literal

import orjson
from sqlalchemy import (
    Connection,
    Engine,
    and_,
    delete,
    func,
    insert,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from records.engine import reading, writing
from records.merge import clean
from records.models import Alert as AlertRow
from records.models import Base
from records.models import Silence as SilenceRow
from records.paging import behind, cursor_at
from records.queries import MOST_ITEMS
from scrapewatch.problems import Conflict, InvalidInput, NotFound

SEVERITIES = ("info", "warning", "critical")
OPEN_STATUSES = ("firing", "acknowledged")
STATUSES = (*OPEN_STATUSES, "resolved")
SILENCE_STATES = ("active", "pending", "expired")

MOST_TIMED = 2_000
"""So many of the newest alerts are looked at for the times that people took."""
MOST_SILENCES = 1_000
"""Silences of a tenant that count at once."""
LONGEST_SILENCE = timedelta(days=366)
_TOP = 10

_ALERTS, _SILENCES = (Base.metadata.tables[model.__tablename__] for model in (AlertRow, SilenceRow))


@dataclass(frozen=True, slots=True)
class Telling:
    """What a rule says of one resource: that it fires since ``started_at``, or with ``resolved_at`` that this is over.

    ``fingerprint`` tells the rule and the resource from all others (up to 64 characters); one fingerprint and ``started_at`` are one
    alert. ``severity`` is one of :data:`SEVERITIES`; ``value`` is what the rule measured.
    """

    fingerprint: str
    rule: str
    severity: str
    message: str
    started_at: datetime
    resolved_at: datetime | None = None
    resource: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert. ``count``: how often it was told with something new; ``silenced_by``: a silence that holds for it now."""

    id: int
    fingerprint: str
    rule: str
    severity: str
    status: str
    resource: str | None
    message: str
    labels: dict[str, str]
    value: float | None
    count: int
    started_at: datetime
    last_fired_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    resolved_at: datetime | None
    resolved_by: str | None
    notes: str | None
    silenced_by: int | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What became of tellings: alerts opened, told again with something new, opened again, resolved; and tellings without news.

    ``news`` are the alerts that changed, as they are now.
    """

    opened: int = 0
    repeated: int = 0
    reopened: int = 0
    resolved: int = 0
    unchanged: int = 0
    news: tuple[Alert, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Matcher:
    """A condition on an alert: ``name`` is rule, severity, resource or a label, which equals ``value`` or, with ``negated``, does not."""

    name: str
    value: str
    negated: bool = False

    def holds(self, alert: Alert | Telling) -> bool:
        """Whether ``alert`` meets it; what it does not have is the empty text."""
        own = {"rule": alert.rule, "severity": alert.severity, "resource": alert.resource}
        found = own.get(self.name, alert.labels.get(self.name)) or ""
        return (found == self.value) is not self.negated


@dataclass(frozen=True, slots=True)
class Silence:
    """From ``starts_at`` to ``ends_at`` nobody is to be told of alerts that meet all ``matchers``."""

    id: int
    matchers: tuple[Matcher, ...]
    comment: str
    created_by: str
    created_at: datetime
    starts_at: datetime
    ends_at: datetime

    def holds(self, alert: Alert | Telling, now: datetime) -> bool:
        """Whether it holds for ``alert`` now."""
        return self.starts_at <= now < self.ends_at and all(each.holds(alert) for each in self.matchers)

    def state(self, now: datetime) -> str:
        """One of :data:`SILENCE_STATES`."""
        if now < self.starts_at:
            return "pending"
        return "active" if now < self.ends_at else "expired"


@dataclass(frozen=True, slots=True)
class AlertPage:
    """Some alerts of a list; ``next_cursor`` leads to those after them, None at the end."""

    items: list[Alert]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class SilencePage:
    """Some silences of a list; ``next_cursor`` leads to those after them, None at the end."""

    items: list[Silence]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """Alerts that have something in common: how many, how often they were told, how many are not resolved."""

    name: str
    alerts: int
    told: int
    open: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """Alerts that started since a time, and those from before that are still open.

    ``rules`` and ``resources`` are the ten with most alerts. Times are in seconds, None where nothing was acknowledged or resolved by
    then; ``by_day`` has the alerts that started on each UTC day (ISO 8601) on which any did.
    """

    total: int
    told: int
    by_status: dict[str, int]
    by_severity: dict[str, int]
    open_by_severity: dict[str, int]
    rules: list[Group]
    resources: list[Group]
    mean_time_to_acknowledge: float | None
    median_time_to_acknowledge: float | None
    mean_time_to_resolve: float | None
    median_time_to_resolve: float | None
    by_day: dict[str, int]


class AlertRecords:
    """The alerts and silences behind ``engine`` (that of :class:`records.store.SqlRecords`)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # --- what rules say

    def tell(self, tenant: str, tellings: Sequence[Telling], *, by: str, at: datetime) -> Told:
        """Record what ``by`` (an evaluator, such as ``grafana``) says ``at`` a time, all of it or nothing.

        The same said again changes no count: whoever got no answer may say it again. What comes after the end of its alert is late and
        changes nothing, unless a person had ended it: then it is open again.

        Raises:
            InvalidInput: a severity is none.
        """
        counted: Counter[str] = Counter()
        changed: list[int] = []
        for telling in tellings:
            if telling.severity not in SEVERITIES:
                raise InvalidInput(f"severity is none of {', '.join(SEVERITIES)}", "severity")
        with writing(self._engine) as db:
            # In one order, so that two that say the same never wait for each other.
            for telling in sorted(tellings, key=lambda found: (found.fingerprint, found.started_at)):
                outcome, row_id = _tell(db, clean(tenant), telling, clean(by, 500), at)
                counted[outcome] += 1
                if outcome != "unchanged":
                    changed.append(row_id)
            held = _active(db, tenant, at) if changed else []
            of_tenant = _ALERTS.c.tenant == clean(tenant)
            rows = db.execute(
                select(_ALERTS).where(of_tenant, _ALERTS.c.id.in_(changed)).order_by(_ALERTS.c.id)
            )
            return Told(**counted, news=tuple(_alert(dict(row), held, at) for row in rows.mappings()))

    def silencing(self, tenant: str, alert: Alert | Telling, now: datetime) -> Silence | None:
        """The silence that holds for ``alert`` now, for who is about to notify somebody."""
        with reading(self._engine) as db:
            held = _active(db, tenant, now)
        return next((silence for silence in held if silence.holds(alert, now)), None)

    # --- what people ask and do

    def alerts(
        self,
        tenant: str,
        *,
        now: datetime,
        severity: str | None = None,
        status: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> AlertPage:
        """Alerts by the given values, those that started last first.

        Raises:
            InvalidInput: no such severity or status, a ``limit`` outside 1–1,000, or a cursor that no list gave out.
        """
        _check(severity, SEVERITIES, "severity")
        _check(status, STATUSES, "status")
        _check_limit(limit)
        columns = _ALERTS.c
        query = select(_ALERTS).where(columns.tenant == clean(tenant))
        for column, value in ((columns.severity, severity), (columns.status, status)):
            if value is not None:
                query = query.where(column == value)
        if cursor is not None:
            query = query.where(behind(cursor, columns.started_at, columns.id))
        query = query.order_by(columns.started_at.desc(), columns.id.desc()).limit(limit + 1)
        with reading(self._engine) as db:
            rows = [dict(row) for row in db.execute(query).mappings()]
            held = _active(db, tenant, now)
        items = [_alert(row, held, now) for row in rows[:limit]]
        more = len(rows) > limit
        return AlertPage(items, cursor_at(items[-1].started_at, items[-1].id) if more else None)

    def alert(self, tenant: str, alert_id: int, *, now: datetime) -> Alert:
        """One alert.

        Raises:
            NotFound: ``tenant`` has none of that id.
        """
        with reading(self._engine) as db:
            return _alert(_row(db, tenant, alert_id), _active(db, tenant, now), now)

    def acknowledge(self, tenant: str, alert_id: int, *, by: str, notes: str | None, at: datetime) -> Alert:
        """Say that somebody sees to an alert; the first to say so counts, ``notes`` are added to those that are there.

        Raises:
            NotFound: ``tenant`` has none of that id.
            Conflict: it is resolved already.
        """
        with writing(self._engine) as db:
            row = _row(db, tenant, alert_id, lock=True)
            if row["status"] == "resolved":
                raise Conflict("this alert is resolved already")
            changes = _noted(row, notes)
            if row["status"] == "firing":
                changes |= {
                    "status": "acknowledged",
                    "acknowledged_at": at,
                    "acknowledged_by": clean(by, 500),
                }
            return _changed(db, row, changes, at)

    def resolve(self, tenant: str, alert_id: int, *, by: str, notes: str | None, at: datetime) -> Alert:
        """Say that an alert is over; the first to say so counts, ``notes`` are added to those that are there.

        Raises:
            NotFound: ``tenant`` has none of that id.
        """
        with writing(self._engine) as db:
            row = _row(db, tenant, alert_id, lock=True)
            changes = _noted(row, notes)
            if row["status"] != "resolved":
                changes |= {"status": "resolved", "resolved_at": at, "resolved_by": clean(by, 500)}
            return _changed(db, row, changes, at)

    def statistics(self, tenant: str, since: datetime) -> Statistics:
        """Figures over the alerts that started ``since``, and those from before that are still open."""
        columns = _ALERTS.c
        of_tenant = columns.tenant == clean(tenant)
        shown = (columns.severity, columns.status, columns.rule, columns.resource, columns.count)
        # Two ways to the rows, each by an index of its own: with one condition for both every alert would be read.
        counted = union_all(
            select(*shown).where(of_tenant, columns.started_at >= since),
            select(*shown).where(of_tenant, columns.status.in_(OPEN_STATUSES), columns.started_at < since),
        ).subquery()
        day = func.date(columns.started_at)
        with reading(self._engine) as db:
            kinds = (counted.c.severity, counted.c.status, counted.c.rule, counted.c.resource)
            groups = db.execute(
                select(*kinds, func.count(), func.sum(counted.c.count)).group_by(*kinds)
            ).all()
            by_day = db.execute(
                select(day, func.count())
                .where(of_tenant, columns.started_at >= since)
                .group_by(day)
                .order_by(day)
            ).all()
            timed = db.execute(
                select(columns.started_at, columns.acknowledged_at, columns.resolved_at)
                .where(of_tenant, columns.started_at >= since)
                .order_by(columns.started_at.desc(), columns.id.desc())
                .limit(MOST_TIMED)
            ).all()
        by_status, by_severity, open_by_severity = Counter[str](), Counter[str](), Counter[str]()
        for severity, status, _, _, alerts, _ in groups:
            by_status[status] += alerts
            by_severity[severity] += alerts
            if status != "resolved":
                open_by_severity[severity] += alerts
        seen = [(seen - started).total_seconds() for started, seen, _ in timed if seen is not None]
        ended = [(over - started).total_seconds() for started, _, over in timed if over is not None]
        return Statistics(
            total=by_status.total(),
            told=sum(int(told) for *_, told in groups),
            by_status=_in_order(by_status, STATUSES),
            by_severity=_in_order(by_severity, SEVERITIES),
            open_by_severity=_in_order(open_by_severity, SEVERITIES),
            rules=_top((rule, status, alerts, told) for _, status, rule, _, alerts, told in groups),
            resources=_top(
                (resource, status, alerts, told) for _, status, _, resource, alerts, told in groups
            ),
            mean_time_to_acknowledge=_mean(seen),
            median_time_to_acknowledge=median(seen) if seen else None,
            mean_time_to_resolve=_mean(ended),
            median_time_to_resolve=median(ended) if ended else None,
            by_day={str(date): alerts for date, alerts in by_day},
        )

    # --- silences

    def silence(
        self,
        tenant: str,
        matchers: Sequence[Matcher],
        *,
        comment: str,
        by: str,
        starts_at: datetime,
        ends_at: datetime,
        at: datetime,
    ) -> Silence:
        """Make a silence.

        Raises:
            InvalidInput: it ends before it starts, is over already or lasts for years, matches everything, or there are too many.
        """
        if ends_at <= max(starts_at, at):
            raise InvalidInput("a silence ends after it starts, and in the future", "ends_at")
        if ends_at - at > LONGEST_SILENCE:
            raise InvalidInput("a silence ends within a year", "ends_at")
        if not matchers:
            raise InvalidInput("a silence needs a matcher: without one it would hide every alert", "matchers")
        values = {
            "tenant": clean(tenant),
            "matchers": [
                {"name": clean(each.name), "value": clean(each.value), "negated": each.negated}
                for each in matchers
            ],
            "comment": clean(comment),
            "created_by": clean(by, 500),
            "created_at": at,
            "starts_at": starts_at,
            "ends_at": ends_at,
        }
        columns = _SILENCES.c
        with writing(self._engine) as db:
            to_come = and_(columns.tenant == clean(tenant), columns.ends_at > at)
            if (db.scalar(select(func.count()).where(to_come)) or 0) >= MOST_SILENCES:
                raise InvalidInput(f"there are {MOST_SILENCES} silences already: delete some", "matchers")
            row_id = db.execute(insert(_SILENCES).values(values).returning(columns.id)).scalar_one()
            made = select(_SILENCES).where(columns.tenant == clean(tenant), columns.id == row_id)
            return _silence(dict(db.execute(made).mappings().one()))

    def silences(
        self,
        tenant: str,
        *,
        now: datetime,
        state: Literal["active", "pending", "expired"] | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> SilencePage:
        """Silences, those made last first.

        Raises:
            InvalidInput: a ``limit`` outside 1–1,000, or a cursor that no list gave out.
        """
        _check_limit(limit)
        columns = _SILENCES.c
        query = select(_SILENCES).where(columns.tenant == clean(tenant))
        if state == "expired":
            query = query.where(columns.ends_at <= now)
        elif state == "pending":
            query = query.where(columns.ends_at > now, columns.starts_at > now)
        elif state == "active":
            query = query.where(columns.ends_at > now, columns.starts_at <= now)
        if cursor is not None:
            query = query.where(behind(cursor, columns.created_at, columns.id))
        query = query.order_by(columns.created_at.desc(), columns.id.desc()).limit(limit + 1)
        with reading(self._engine) as db:
            found = [_silence(dict(row)) for row in db.execute(query).mappings()]
        items = found[:limit]
        more = len(found) > limit
        return SilencePage(items, cursor_at(items[-1].created_at, items[-1].id) if more else None)

    def delete_silence(self, tenant: str, silence_id: int) -> None:
        """Forget a silence.

        Raises:
            NotFound: ``tenant`` has none of that id.
        """
        columns = _SILENCES.c
        with writing(self._engine) as db:
            gone = db.execute(
                delete(_SILENCES).where(columns.tenant == clean(tenant), columns.id == silence_id)
            )
            if not gone.rowcount:
                raise NotFound(f"there is no silence {silence_id}")


def _tell(db: Connection, tenant: str, telling: Telling, by: str, at: datetime) -> tuple[str, int]:
    """What became of a telling, as the name of a field of :class:`Told`, and the alert's id."""
    columns = _ALERTS.c
    said: dict[str, Any] = {
        "rule": clean(telling.rule, 500),
        "severity": telling.severity,
        "resource": None if telling.resource is None else clean(telling.resource, 500),
        "message": clean(telling.message),
        "labels": {clean(name): clean(value) for name, value in telling.labels.items()},
        "value": telling.value,
    }
    over = telling.resolved_at is not None
    digest = hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()
    key = {
        "tenant": tenant,
        "fingerprint": clean(telling.fingerprint, 64),
        "started_at": telling.started_at,
    }
    ending = {"status": "resolved", "resolved_at": telling.resolved_at, "resolved_by": by}
    dialect = postgresql if db.dialect.name == "postgresql" else sqlite
    opened = db.execute(
        dialect.insert(_ALERTS)
        .values(
            **key,
            **said,
            **(ending if over else {"status": "firing"}),
            told=digest,
            count=1,
            last_fired_at=max(telling.started_at, telling.resolved_at) if telling.resolved_at else at,
        )
        .on_conflict_do_nothing()
        .returning(columns.id)
    ).first()
    if opened is not None:
        return "opened", opened.id
    row = (
        db.execute(
            select(columns.id, columns.status, columns.resolved_at, columns.resolved_by, columns.told)
            .where(*(columns[name] == value for name, value in key.items()))
            .with_for_update()
        )
        .mappings()
        .one()
    )
    was_over, is_new = row["status"] == "resolved", row["told"] != digest
    if over:
        changes: dict[str, Any] = {} if was_over else {**ending}
        outcome = "unchanged" if was_over else "resolved"
    elif was_over and (row["resolved_by"] == by or not is_new or at <= row["resolved_at"]):
        return "unchanged", row["id"]
    else:
        changes = {"last_fired_at": at}
        outcome = "reopened" if was_over else "repeated" if is_new else "unchanged"
        if outcome == "reopened":
            changes |= {"status": "firing", "resolved_at": None, "resolved_by": None}
            changes |= {"acknowledged_at": None, "acknowledged_by": None}
        if is_new:
            changes |= {**said, "told": digest, "count": columns.count + 1}
    if changes:
        db.execute(update(_ALERTS).where(columns.tenant == tenant, columns.id == row["id"]).values(changes))
    return outcome, int(row["id"])


def _row(db: Connection, tenant: str, alert_id: int, *, lock: bool = False) -> dict[str, Any]:
    query = select(_ALERTS).where(_ALERTS.c.tenant == clean(tenant), _ALERTS.c.id == alert_id)
    found = db.execute(query.with_for_update() if lock else query).mappings().first()
    if found is None:
        raise NotFound(f"there is no alert {alert_id}")
    return dict(found)


def _changed(db: Connection, row: dict[str, Any], changes: Mapping[str, Any], now: datetime) -> Alert:
    if changes:
        db.execute(
            update(_ALERTS)
            .where(_ALERTS.c.tenant == row["tenant"], _ALERTS.c.id == row["id"])
            .values(changes)
        )
    return _alert({**row, **changes}, _active(db, row["tenant"], now), now)


def _noted(row: Mapping[str, Any], notes: str | None) -> dict[str, Any]:
    if not notes or not notes.strip():
        return {}
    known, added = row["notes"], clean(notes.strip())
    if known is None:
        return {"notes": added}
    # Who got no answer says it again.
    return {} if known == added or known.endswith(f"\n{added}") else {"notes": f"{known}\n{added}"}


def _alert(row: Mapping[str, Any], silences: Sequence[Silence], now: datetime) -> Alert:
    shown = {each.name: row[each.name] for each in fields(Alert) if each.name != "silenced_by"}
    found = Alert(**shown)
    if found.status == "resolved":
        return found
    held = next((silence.id for silence in silences if silence.holds(found, now)), None)
    return found if held is None else Alert(**shown, silenced_by=held)


def _silence(row: Mapping[str, Any]) -> Silence:
    shown = {each.name: row[each.name] for each in fields(Silence)}
    return Silence(**{**shown, "matchers": tuple(Matcher(**each) for each in row["matchers"])})


def _active(db: Connection, tenant: str, now: datetime) -> list[Silence]:
    columns = _SILENCES.c
    query = (
        select(_SILENCES)
        .where(columns.tenant == clean(tenant), columns.ends_at > now, columns.starts_at <= now)
        .order_by(columns.id)
        .limit(MOST_SILENCES)
    )
    return [_silence(dict(row)) for row in db.execute(query).mappings()]


def _top(groups: Iterable[tuple[str | None, str, int, int]]) -> list[Group]:
    """The names with most alerts. A group has a name, the status of its alerts, their number, and how often they were told."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, status, alerts, told in groups:
        if name is not None:
            found[name].update(alerts=alerts, told=int(told), open=alerts if status != "resolved" else 0)
    top = sorted(found.items(), key=lambda item: (-item[1]["alerts"], item[0]))[:_TOP]
    return [Group(name, counts["alerts"], counts["told"], counts["open"]) for name, counts in top]


def _check(value: str | None, choices: Sequence[str], field_: str) -> None:
    if value is not None and value not in choices:
        raise InvalidInput(f"{field_} is none of {', '.join(choices)}", field_)


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MOST_ITEMS:
        raise InvalidInput(f"limit is from 1 to {MOST_ITEMS}", "limit")


def _in_order(counts: Mapping[str, int], names: Sequence[str]) -> dict[str, int]:
    return {name: counts.get(name, 0) for name in names}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
