"""The tables of the records.

Times that people read are ``datetime`` in UTC, exact to the microsecond; what only the product itself compares is integer nanoseconds.
Every table that a tenant owns has its ``tenant``, as a part of the natural key. Counters that ``apply`` adds to are what was *seen*;
``*_reported`` are totals as the scraper counted them; the columns under "derived" follow from both (:mod:`records.settle`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    Dialect,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcDateTime(TypeDecorator[datetime]):
    """An aware ``datetime``, in UTC whatever the database or its session says."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """In UTC.

        Raises:
            ValueError: ``value`` names no time zone.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a time zone cannot be recorded")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """In UTC, also from SQLite, which keeps no time zones."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

# Lengths keep every key below the 2,704 bytes that a b-tree of PostgreSQL takes, at four bytes a character.
Id = Annotated[
    int, mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)
]
TenantName = Annotated[str, mapped_column(String(64))]
SessionId = Annotated[str, mapped_column(String(200))]
SiteName = Annotated[str, mapped_column(String(100))]
Label = Annotated[str, mapped_column(String(200))]
Fingerprint = Annotated[str, mapped_column(String(64))]
Word = Annotated[str, mapped_column(String(32))]
Short = Annotated[str, mapped_column(String(500))]
Count = Annotated[int, mapped_column(BigInteger, server_default=text("0"))]
Sum = Annotated[float, mapped_column(Double, server_default=text("0"))]
Flag = Annotated[bool, mapped_column(Boolean, server_default=text("true"))]
Nanoseconds = Annotated[int, mapped_column(BigInteger)]
Names = Annotated[list[Any], mapped_column(Json, server_default=text("'[]'"))]
Facts = Annotated[dict[str, Any], mapped_column(Json, server_default=text("'{}'"))]

FingerprintKey = Annotated[str, mapped_column(String(64), primary_key=True)]
TenantKey = Annotated[str, mapped_column(String(64), primary_key=True)]
SourceKey = Annotated[str, mapped_column(String(500), primary_key=True)]
NameKey = Annotated[str, mapped_column(String(200), primary_key=True)]
TierKey = Annotated[str, mapped_column(String(32), primary_key=True)]
StartKey = Annotated[int, mapped_column(BigInteger, primary_key=True, autoincrement=False)]
NumberKey = Annotated[int, mapped_column(Integer, primary_key=True, autoincrement=False)]


class Base(DeclarativeBase):
    """The root of the tables; names of constraints are fixed, so that a migration can name what it drops."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  # a class variable of SQLAlchemy's
        int: BigInteger,
        float: Double,
        str: Text,
        bool: Boolean,
        datetime: UtcDateTime,
        list[Any]: Json,
        dict[str, Any]: Json,
    }


class ScrapeSession(Base):
    """One scrape run over one or more sites."""

    __tablename__ = "scrape_sessions"
    __table_args__ = (
        UniqueConstraint("tenant", "session_id"),
        Index(None, "tenant", "begun_at", "id"),
        Index(None, "tenant", "status", "begun_at", "id"),
        Index(None, "tenant", "source", "begun_at", "id"),
        Index(None, "tenant", "search_term", "begun_at", "id"),
        Index(None, "tenant", "last_event_at"),
        Index(None, "status", "last_event_at"),
    )

    id: Mapped[Id]
    tenant: Mapped[TenantName]
    session_id: Mapped[SessionId]

    source: Mapped[SiteName | None]
    search_term: Mapped[Short | None]
    location: Mapped[Short | None]
    sites: Mapped[Names]
    max_jobs_per_site: Mapped[int | None]
    max_concurrency: Mapped[int | None]
    schedule: Mapped[Short | None]
    queued_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    last_event_at: Mapped[datetime | None]

    # Seen, and reported by the scraper.
    jobs_seen: Mapped[Count]
    total_jobs_saved: Mapped[Count]
    duplicates_skipped: Mapped[Count]
    jobs_dropped: Mapped[Count]
    jobs_invalid: Mapped[Count]
    pages_processed: Mapped[Count]
    pages_ok: Mapped[Count]
    pages_blocked: Mapped[Count]
    errors_seen: Mapped[Count]
    events: Mapped[Count]
    jobs_reported: Mapped[int | None]
    pages_reported: Mapped[int | None]
    errors_reported: Mapped[int | None]
    duration_reported: Mapped[float | None]

    # The last state that the scraper reported, and the latest ordinary event, which tells that a queued session runs.
    reported_status: Mapped[Word | None]
    reported_reason: Mapped[Short | None]
    status_at: Mapped[Nanoseconds | None]
    status_rank: Mapped[int | None]
    active_at: Mapped[Nanoseconds | None]

    # Derived.
    begun_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    duration_seconds: Mapped[float | None]
    total_jobs_found: Mapped[Count]
    total_pages: Mapped[Count]
    errors_count: Mapped[Count]
    total_sites: Mapped[Count]
    successful_sites: Mapped[Count]
    failed_sites: Mapped[Count]
    status: Mapped[Word]
    status_reason: Mapped[Short | None]
    stalled_at: Mapped[datetime | None]
    closed_by: Mapped[Word | None]
    verdict: Mapped[Word | None]
    verdict_evidence: Mapped[Names]

    latest_at: Mapped[Facts]


class SiteExecution(Base):
    """One attempt of a session at one site."""

    __tablename__ = "site_executions"
    __table_args__ = (
        UniqueConstraint("tenant", "session_id", "site_name", "attempt_number"),
        ForeignKeyConstraint(
            ["tenant", "session_id"],
            ["scrape_sessions.tenant", "scrape_sessions.session_id"],
            ondelete="CASCADE",
        ),
        Index(None, "tenant", "site_name", "session_id"),
    )

    id: Mapped[Id]
    tenant: Mapped[TenantName]
    session_id: Mapped[SessionId]
    site_name: Mapped[SiteName]
    attempt_number: Mapped[int]

    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    jobs_scraped: Mapped[Count]
    pages_processed: Mapped[Count]
    pages_ok: Mapped[Count]
    pages_blocked: Mapped[Count]
    page_load_sum: Mapped[Sum]
    page_load_count: Mapped[Count]
    errors_count: Mapped[Count]
    jobs_reported: Mapped[int | None]
    pages_reported: Mapped[int | None]
    errors_reported: Mapped[int | None]
    memory_usage_mb: Mapped[float | None]
    cpu_usage_percent: Mapped[float | None]
    success: Mapped[bool | None]
    error_message: Mapped[str | None]
    circuit_breaker_state: Mapped[Word | None]
    circuit_breaker_failures: Mapped[int | None]

    # Derived.
    duration_seconds: Mapped[float | None]

    latest_at: Mapped[Facts]

    @property
    def avg_page_load_time(self) -> float | None:
        """Mean time of a page in seconds, None while no page's time is known."""
        return self.page_load_sum / self.page_load_count if self.page_load_count else None


class ErrorGroup(Base):
    """Errors of a session at a site that are one error: how often, and a sample."""

    __tablename__ = "error_groups"
    __table_args__ = (
        UniqueConstraint("tenant", "session_id", "site_name", "fingerprint"),
        ForeignKeyConstraint(
            ["tenant", "session_id"],
            ["scrape_sessions.tenant", "scrape_sessions.session_id"],
            ondelete="CASCADE",
        ),
    )

    id: Mapped[Id]
    tenant: Mapped[TenantName]
    session_id: Mapped[SessionId]
    site_name: Mapped[SiteName]
    fingerprint: Mapped[Fingerprint]

    type: Mapped[SiteName | None]
    message: Mapped[str | None]
    url: Mapped[str | None]
    count: Mapped[Count]
    first_seen: Mapped[datetime | None]
    last_seen: Mapped[datetime | None]


class JobPosting(Base):
    """A posting, however often it was found."""

    __tablename__ = "job_postings"
    __table_args__ = (
        UniqueConstraint("tenant", "fingerprint"),
        Index(None, "tenant", "last_seen"),
        Index(None, "tenant", "site_name", "last_seen"),
        Index(None, "tenant", "session_id"),
        Index(None, "tenant", "first_seen", "id"),
        Index(None, "tenant", "search_key", "first_seen", "place"),
        Index(None, "tenant", "place", "first_seen"),
        # Panels alone ask for a company, and they read PostgreSQL.
        Index(None, "tenant", "company", "first_seen", info={"only": "postgresql"}),
    )

    id: Mapped[Id]
    tenant: Mapped[TenantName]
    fingerprint: Mapped[Fingerprint]

    site_name: Mapped[SiteName | None]
    session_id: Mapped[SessionId | None]
    title: Mapped[Short | None]
    company: Mapped[Short | None]
    location: Mapped[Short | None]
    salary_text: Mapped[Short | None]
    salary_min: Mapped[float | None]
    salary_max: Mapped[float | None]
    salary_interval: Mapped[Short | None]
    salary_currency: Mapped[Short | None]
    skills: Mapped[Names]
    posted_at: Mapped[datetime | None]
    url: Mapped[str | None]
    is_remote: Mapped[bool | None]
    job_type: Mapped[Short | None]
    description: Mapped[str | None]
    times_seen: Mapped[Count]
    first_seen: Mapped[datetime | None]
    last_seen: Mapped[datetime | None]

    # Derived. A salary is one a year of full-time work, in its own currency (records.salaries).
    search_key: Mapped[Short | None]
    place: Mapped[Label | None]
    yearly_min: Mapped[float | None]
    yearly_max: Mapped[float | None]
    yearly_currency: Mapped[Word | None]

    latest_at: Mapped[Facts]


class MarketDay(Base):
    """How many of the postings that first came on a day (UTC, days since 1970-01-01) have ``value`` as their ``kind``.

    Written in the transaction that writes the postings, so that a month of them is counted without reading it. Kinds and what stands in
    ``value`` for each: :mod:`records.market`.
    """

    __tablename__ = "market_days"
    __table_args__ = ({"sqlite_with_rowid": False},)

    tenant: Mapped[TenantKey]
    kind: Mapped[TierKey]
    day: Mapped[NumberKey]
    value: Mapped[NameKey]
    n: Mapped[Count]


class Alert(Base):
    """A rule that fired for one resource, from its first sign to its end."""

    __tablename__ = "alerts"
    __table_args__ = (
        UniqueConstraint("tenant", "fingerprint", "started_at"),
        Index(None, "tenant", "status", "started_at", "id"),
        Index(None, "tenant", "severity", "started_at", "id"),
        Index(None, "tenant", "started_at", "id"),
    )

    id: Mapped[Id]
    tenant: Mapped[TenantName]
    fingerprint: Mapped[Fingerprint]
    rule: Mapped[Short]
    severity: Mapped[Word]
    status: Mapped[Word]
    resource: Mapped[Short | None]
    message: Mapped[str]
    labels: Mapped[Facts]
    value: Mapped[float | None]
    count: Mapped[Count]
    started_at: Mapped[datetime]
    last_fired_at: Mapped[datetime]
    acknowledged_at: Mapped[datetime | None]
    acknowledged_by: Mapped[Short | None]
    resolved_at: Mapped[datetime | None]
    resolved_by: Mapped[Short | None]
    notes: Mapped[str | None]
    told: Mapped[Fingerprint | None]


class Silence(Base):
    """A time in which nobody is to be told of alerts that match."""

    __tablename__ = "silences"
    __table_args__ = (Index(None, "tenant", "created_at", "id"), Index(None, "tenant", "ends_at"))

    id: Mapped[Id]
    tenant: Mapped[TenantName]
    matchers: Mapped[Names]
    comment: Mapped[str]
    created_by: Mapped[Short]
    created_at: Mapped[datetime]
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]


class ApiKey(Base):
    """A credential: only the hash of its secret is kept."""

    __tablename__ = "api_keys"
    __table_args__ = (
        UniqueConstraint("key_hash"),
        UniqueConstraint("prefix"),
        UniqueConstraint("tenant", "name"),
    )

    id: Mapped[Id]
    tenant: Mapped[TenantName]
    name: Mapped[Label]
    prefix: Mapped[Word]
    key_hash: Mapped[Label]
    scopes: Mapped[Names]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class TokenKey(Base):
    """The public half of what a process signs its tokens with; the private one never leaves that process."""

    __tablename__ = "token_keys"

    id: Mapped[FingerprintKey]
    public_key: Mapped[Label]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class Tenant(Base):
    """Who owns data."""

    __tablename__ = "tenants"

    name: Mapped[TenantKey]
    title: Mapped[Short | None]
    settings: Mapped[Facts]
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]


class ExportSchedule(Base):
    """An export that is repeated."""

    __tablename__ = "export_schedules"
    __table_args__ = (UniqueConstraint("tenant", "name"), Index(None, "next_run_at"))

    id: Mapped[Id]
    tenant: Mapped[TenantName]
    name: Mapped[Label]
    format: Mapped[Word]
    cadence: Mapped[Short]
    timeframe: Mapped[Word]
    metrics: Mapped[Names]
    keep: Mapped[Count]
    destination: Mapped[str | None]
    enabled: Mapped[Flag]
    created_at: Mapped[datetime]
    last_run_at: Mapped[datetime | None]
    next_run_at: Mapped[datetime | None]
    last_error: Mapped[str | None]
    last_file: Mapped[str | None]


class Collector(Base):
    """A collector's number, the spool that holds it, and how far its flushes were applied."""

    __tablename__ = "collectors"
    __table_args__ = (UniqueConstraint("spool_id"),)

    number: Mapped[NumberKey]
    spool_id: Mapped[Label | None]
    leased_at: Mapped[Nanoseconds]
    last_flush: Mapped[Nanoseconds]
    last_seen: Mapped[Nanoseconds]


class AppliedSource(Base):
    """History that was applied, by the key it was sent under."""

    __tablename__ = "applied_sources"

    tenant: Mapped[TenantKey]
    source: Mapped[SourceKey]


class DirtyWindowRow(Base):
    """A window whose rollup must be computed again."""

    __tablename__ = "dirty_windows"
    __table_args__ = (Index(None, "start"),)

    tenant: Mapped[TenantKey]
    tier: Mapped[TierKey]
    start: Mapped[StartKey]
    mark: Mapped[int]


class SessionWish(Base):
    """What a user wishes a session to be: the latest wish, until it is fulfilled."""

    __tablename__ = "session_wishes"

    tenant: Mapped[TenantKey]
    session_id: Mapped[NameKey]
    wish: Mapped[Word]
    wished_at: Mapped[Nanoseconds]


class Lease(Base):
    """Who may do what only one process may do, and until when."""

    __tablename__ = "leases"

    name: Mapped[NameKey]
    holder: Mapped[Label]
    expires_at: Mapped[Nanoseconds]
