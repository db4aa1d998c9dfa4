"""The job market as the postings show it: what follows from a posting, and how postings are counted by day.

Three things are settled in the transaction that writes a posting: its salary a year, the search that found it, and the counts of its
day in ``market_days``, by the difference between the row before and after. So the counts are always those of the postings, whatever
order flushes come in, and a month is answered from some thousand counts instead of a hundred thousand postings.

======== ============================================ =======================================
kind     value                                        counts
======== ============================================ =======================================
posting  empty                                        every posting
site     the site                                     postings of it
company  the company                                  its postings
weekly   the company                                  its postings of seven days from that one on
location the place, with single spaces                 postings there
skill    a skill in lower case                        postings that ask for it
remote   ``yes`` or ``no``                            postings that say so
salary   currency (or nothing), space, amount a year  postings whose middle salary that is
======== ============================================ =======================================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    String,
    and_,
    any_,
    func,
    literal,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects import postgresql

from records.engine import reading
from records.merge import Row, as_text, clean, names_in
from records.models import Base, JobPosting, MarketDay
from records.salaries import Salary, normalise
from scrapewatch.problems import InvalidInput
from scrapewatch.time import DAY, to_datetime

WEEK = 7
"""Days whose companies are counted together, too: there are thousands of them on any day, and the same ones on the next."""

KINDS = ("posting", "site", "company", "location", "skill", "remote", "salary")

MOST_READ = 2_000
"""So many of the newest postings of a period are looked at where a search or a place is asked for; all are counted."""

MOST_PLACES = 500
"""Of the places that a location matches, so many of those with most postings are looked at."""

_POSTINGS, _DAYS = (Base.metadata.tables[model.__tablename__] for model in (JobPosting, MarketDay))
_EPOCH = date(1970, 1, 1)
_LONGEST = 200

Count = tuple[str, str, int, str]
"""Tenant, kind, day and value of a count."""


def search_key(term: str | None) -> str | None:
    """A search term as postings are found by it: in lower case, with single spaces; None where there is none."""
    key = " ".join((term or "").split()).casefold()
    return clean(key, 500) or None


stated = itemgetter(
    *("tenant", "site_name", "company", "location", "skills", "is_remote", "first_seen"),
    *("salary_text", "salary_min", "salary_max", "salary_interval", "salary_currency"),
)
"""What a posting's counts and derived columns follow from: while this stays the same, so do they. All but the search that found it."""


def settle_posting(row: Row) -> None:
    """Set the derived columns of a posting, all but the search that found it."""
    row["place"] = _name(row["location"]) or None
    salary = normalise(
        row["salary_text"],
        row["salary_min"],
        row["salary_max"],
        row["salary_interval"],
        row["salary_currency"],
    )
    row["yearly_min"] = salary.minimum if salary else None
    row["yearly_max"] = salary.maximum if salary else None
    row["yearly_currency"] = salary.currency if salary else None


def counts_of(row: Mapping[str, Any]) -> set[Count]:
    """The counts that a settled posting is one of; none before it was first seen."""
    if row["first_seen"] is None:
        return set()
    day = (date.fromisoformat(row["first_seen"][:10]) - _EPOCH).days
    found = facts_of(
        row["site_name"],
        row["company"],
        row["place"],
        names_in(row["skills"]),
        row["is_remote"],
        row["yearly_min"],
        row["yearly_max"],
        row["yearly_currency"],
    )
    counts = {(row["tenant"], kind, day, value) for kind, value in found}
    weekly = {
        (row["tenant"], "weekly", day - day % WEEK, value) for kind, value in found if kind == "company"
    }
    return counts | weekly


def count_days(db: Connection, changed: Iterable[tuple[Iterable[Count], Iterable[Count]]]) -> None:
    """Bring the counts up to date with postings, of each of which the counts before and after are given."""
    delta: Counter[Count] = Counter()
    for before, after in changed:
        delta.subtract(before)
        delta.update(after)
    # In the order of their keys, so that two flushes cannot wait for each other.
    rows = [(*key, number) for key, number in sorted(delta.items()) if number]
    if not rows:
        return
    clash = "ON CONFLICT (tenant, kind, day, value) DO UPDATE SET n = market_days.n + excluded.n"
    into = "INSERT INTO market_days (tenant, kind, day, value, n)"
    if db.dialect.name == "postgresql":
        names = ("tenant", "kind", "day", "value", "n")
        given = as_text([dict(zip(names, row, strict=True)) for row in rows])
        columns = "tenant varchar, kind varchar, day int, value varchar, n bigint"
        statement = f"{into} SELECT tenant, kind, day, value, n FROM json_to_recordset(%s::json) AS given ({columns}) {clash}"  # noqa: S608
        db.exec_driver_sql(statement, (given,))
    else:
        db.exec_driver_sql(f"{into} VALUES (?, ?, ?, ?, ?) {clash}", rows)


def facts_of(
    site: str | None,
    company: str | None,
    place: str | None,
    skills: Iterable[Any],
    remote: Any,
    yearly_min: float | None,
    yearly_max: float | None,
    currency: str | None,
) -> set[tuple[str, str]]:
    """What is counted of a posting that has these columns: kind and value of each."""
    found = {("posting", "")}
    for kind, text in (("site", site), ("company", company), ("location", place)):
        if named := _name(text):
            found.add((kind, named))
    found.update([("skill", named) for skill in skills if (named := _skill(str(skill)))])
    if remote is not None:
        found.add(("remote", "yes" if remote else "no"))
    if yearly_min is not None and yearly_max is not None:
        middle = Salary(yearly_min, yearly_max, currency).middle
        found.add(("salary", f"{currency or ''} {middle:.10g}"))
    return found


# Names come again and again.
@lru_cache(maxsize=20_000)
def _name(text: str | None) -> str:
    return " ".join((text or "").split())[:_LONGEST]


@lru_cache(maxsize=20_000)
def _skill(text: str) -> str:
    return _name(text).casefold()[:_LONGEST]


@dataclass(slots=True)
class Period:
    """The postings that first came in some days. Numbers are of the ``looked_at`` ones, all but ``days`` and ``postings``.

    ``days``: day → postings. ``salaries``: currency (None: not named) → middle salary a year → postings.
    """

    days: dict[date, int] = field(default_factory=dict)
    looked_at: int = 0
    sites: Counter[str] = field(default_factory=Counter)
    companies: Counter[str] = field(default_factory=Counter)
    locations: Counter[str] = field(default_factory=Counter)
    skills: Counter[str] = field(default_factory=Counter)
    remote: Counter[str] = field(default_factory=Counter)
    salaries: dict[str | None, Counter[float]] = field(default_factory=dict)

    @property
    def postings(self) -> int:
        """All of them."""
        return sum(self.days.values())

    def add(self, kind: str, value: str, n: int) -> None:
        """Count ``n`` postings that have ``value``."""
        if kind == "salary":
            currency, _, amount = value.rpartition(" ")
            self.salaries.setdefault(currency or None, Counter())[float(amount)] += n
        elif kind == "posting":
            self.looked_at += n
        else:
            counters = {
                "site": self.sites,
                "company": self.companies,
                "location": self.locations,
                "skill": self.skills,
                "remote": self.remote,
            }
            counters[kind][value] += n


@dataclass(frozen=True, slots=True)
class Market:
    """A period and the one of the same length before it."""

    now: Period
    before: Period


class MarketQueries:
    """What the API asks of the postings behind ``engine``.

    All raise :class:`~scrapewatch.problems.StoreUnavailable` when the database does not answer.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def market(
        self,
        tenant: str,
        *,
        until: date,
        days: int,
        search_term: str | None = None,
        location: str | None = None,
        most: int = 50,
    ) -> Market:
        """The postings of ``days`` days up to and with ``until`` (UTC), and of as many before.

        With ``search_term`` only those that a search for it, whatever its case, found last; with ``location`` only those whose place has
        this in it, whatever its case. Without both, of companies, places and skills ``most`` are answered, those with most postings, and
        of the days before the same skills.

        Raises:
            InvalidInput: ``days`` is not positive.
        """
        if days < 1:
            raise InvalidInput("days is 1 or more", "days")
        tenant = clean(tenant)
        last = (until - _EPOCH).days
        now, before = (last - days + 1, last), (last - 2 * days + 1, last - days)
        with reading(self.engine) as db:
            if not search_key(search_term) and not _name(location):
                found = _counted(db, tenant, now, most)
                return Market(found, _counted_before(db, tenant, before, found))
            places = None
            if place := _name(location):
                places = _places(db, tenant, (before[0], now[1]), place)
            wanted = _Wanted(tenant, search_key(search_term), places)
            return Market(*(_read(db, wanted, period) for period in (now, before)))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which postings are asked for: those of a search (None: any), at some places (None: anywhere); one of both is given."""

    tenant: str
    search: str | None
    places: list[str] | None

    def between(self, db: Connection, start: datetime, stop: datetime) -> ColumnElement[bool]:
        """The condition of those that first came from ``start`` to before ``stop``."""
        columns = _POSTINGS.c
        return and_(
            columns.tenant == self.tenant,
            true() if self.search is None else columns.search_key == self.search,
            true() if self.places is None else _one_of(db, columns.place, self.places),
            columns.first_seen >= start,
            columns.first_seen < stop,
        )


def _counted(db: Connection, tenant: str, days: tuple[int, int], most: int) -> Period:
    period = Period(_days(db, tenant, days))
    for kind in KINDS:
        top = _sums(db, tenant, kind, days, most=None if kind in ("salary", "site") else most)
        for value, n in top:
            period.add(kind, value, n)
    return period


def _counted_before(db: Connection, tenant: str, days: tuple[int, int], later: Period) -> Period:
    period = Period(_days(db, tenant, days))
    for kind in ("posting", "site", "remote", "salary"):
        for value, n in _sums(db, tenant, kind, days):
            period.add(kind, value, n)
    for value, n in _sums(db, tenant, "skill", days, among=list(later.skills)):
        period.add("skill", value, n)
    return period


def _days(db: Connection, tenant: str, days: tuple[int, int]) -> dict[date, int]:
    columns = _DAYS.c
    query = (
        select(columns.day, columns.n)
        .where(columns.tenant == tenant, columns.kind == "posting", columns.day.between(*days))
        .order_by(columns.day)
    )
    return {_date(day): int(n) for day, n in db.execute(query) if n > 0}


def _sums(
    db: Connection,
    tenant: str,
    kind: str,
    days: tuple[int, int],
    *,
    most: int | None = None,
    among: list[str] | None = None,
) -> list[tuple[str, int]]:
    columns = _DAYS.c
    counted = union_all(
        *(
            select(columns.value, columns.n).where(
                columns.tenant == tenant,
                columns.kind == kept,
                columns.day.between(*part),
                true() if among is None else _one_of(db, columns.value, among),
            )
            for kept, part in _kept(kind, days)
        )
    ).subquery()
    total = func.sum(counted.c.n)
    query = (
        select(counted.c.value, total)
        .group_by(counted.c.value)
        .having(total > 0)
        .order_by(total.desc(), counted.c.value)
        .limit(most)
    )
    return [(value, int(n)) for value, n in db.execute(query)]


def _kept(kind: str, days: tuple[int, int]) -> list[tuple[str, tuple[int, int]]]:
    """By what kinds, and of which days, ``kind`` of ``days`` is counted: companies by the week, but for the days at both ends."""
    first, last = days
    begin, end = -(-first // WEEK) * WEEK, (last + 1) // WEEK * WEEK
    if kind != "company" or begin >= end:
        return [(kind, days)]
    parts = [(kind, (first, begin - 1)), ("weekly", (begin, end - 1)), (kind, (end, last))]
    return [(kept, part) for kept, part in parts if part[0] <= part[1]]


def _places(db: Connection, tenant: str, days: tuple[int, int], wanted: str) -> list[str]:
    """The places with ``wanted`` in them, as the sites write them."""
    found = [
        value for value, _ in _sums(db, tenant, "location", days) if wanted.casefold() in value.casefold()
    ]
    return found[:MOST_PLACES]


def _read(db: Connection, wanted: _Wanted, days: tuple[int, int]) -> Period:
    columns = _POSTINGS.c
    start, stop = (to_datetime(day * DAY) for day in (days[0], days[1] + 1))
    if wanted.search is None:
        period = Period(_days_at(db, wanted, days))
    else:
        day = func.date(columns.first_seen)
        counted = select(day, func.count()).where(wanted.between(db, start, stop)).group_by(day).order_by(day)
        period = Period({date.fromisoformat(str(found)): int(n) for found, n in db.execute(counted)})
    # By an expression, or databases would go through all postings in this order, instead of an index of those that are wanted.
    newest = func.coalesce(columns.first_seen, columns.first_seen).desc()
    facts = (
        select(
            columns.site_name,
            columns.company,
            columns.place,
            columns.skills,
            columns.is_remote,
            columns.yearly_min,
            columns.yearly_max,
            columns.yearly_currency,
        )
        .where(wanted.between(db, _newest_days(period, start), stop))
        .order_by(newest)
        .limit(MOST_READ)
    )
    found = Counter(chain.from_iterable(facts_of(*row) for row in db.execute(facts)))
    for (kind, value), n in sorted(found.items()):
        period.add(kind, value, n)
    return period


def _newest_days(period: Period, start: datetime) -> datetime:
    """The start of the last days that have :data:`MOST_READ` postings, or ``start`` where all have fewer."""
    reached = 0
    for day in sorted(period.days, reverse=True):
        reached += period.days[day]
        if reached >= MOST_READ:
            return datetime.combine(day, time(), UTC)
    return start


def _days_at(db: Connection, wanted: _Wanted, days: tuple[int, int]) -> dict[date, int]:
    columns = _DAYS.c
    query = (
        select(columns.day, func.sum(columns.n))
        .where(
            columns.tenant == wanted.tenant,
            columns.kind == "location",
            columns.day.between(*days),
            _one_of(db, columns.value, wanted.places or []),
        )
        .group_by(columns.day)
        .order_by(columns.day)
    )
    return {_date(day): int(n) for day, n in db.execute(query) if n > 0}


def _one_of(db: Connection, column: ColumnElement[str], values: list[str]) -> ColumnElement[bool]:
    """Whether ``column`` is one of ``values``, which are one parameter."""
    if db.dialect.name == "postgresql":
        return column == any_(literal(values, postgresql.ARRAY(String)))
    each = func.json_each(literal(as_text(values), String)).table_valued("value")
    return column.in_(select(each.c.value))


def _date(day: int) -> date:
    return to_datetime(day * DAY).date()
