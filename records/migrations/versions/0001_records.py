"""The records: sessions, executions, errors, postings, and what later parts fill."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("rule", sa.String(length=500), nullable=False),
        sa.Column("severity", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("resource", sa.String(length=500), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("labels", JSON, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_fired_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_by", sa.String(length=500), nullable=True),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolved_by", sa.String(length=500), nullable=True),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
        sa.UniqueConstraint(
            "tenant", "fingerprint", "started_at", name=op.f("uq_alerts_tenant_fingerprint_started_at")
        ),
    )
    op.create_index(op.f("ix_alerts_tenant_started_at_id"), "alerts", ["tenant", "started_at", "id"])
    op.create_index(
        op.f("ix_alerts_tenant_status_started_at_id"), "alerts", ["tenant", "status", "started_at", "id"]
    )

    op.create_table(
        "api_keys",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("prefix", sa.String(length=32), nullable=False),
        sa.Column("key_hash", sa.String(length=200), nullable=False),
        sa.Column("scopes", JSON, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_api_keys_key_hash")),
        sa.UniqueConstraint("tenant", "name", name=op.f("uq_api_keys_tenant_name")),
    )

    op.create_table(
        "export_schedules",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("format", sa.String(length=32), nullable=False),
        sa.Column("cadence", sa.String(length=500), nullable=False),
        sa.Column("timeframe", sa.String(length=32), nullable=False),
        sa.Column("metrics", JSON, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("destination", sa.Text(), nullable=True),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_run_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_run_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_export_schedules")),
        sa.UniqueConstraint("tenant", "name", name=op.f("uq_export_schedules_tenant_name")),
    )
    op.create_index(op.f("ix_export_schedules_next_run_at"), "export_schedules", ["next_run_at"])

    op.create_table(
        "job_postings",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("site_name", sa.String(length=100), nullable=True),
        sa.Column("session_id", sa.String(length=200), nullable=True),
        sa.Column("title", sa.String(length=500), nullable=True),
        sa.Column("company", sa.String(length=500), nullable=True),
        sa.Column("location", sa.String(length=500), nullable=True),
        sa.Column("salary_text", sa.String(length=500), nullable=True),
        sa.Column("salary_min", sa.Double(), nullable=True),
        sa.Column("salary_max", sa.Double(), nullable=True),
        sa.Column("salary_interval", sa.String(length=500), nullable=True),
        sa.Column("salary_currency", sa.String(length=500), nullable=True),
        sa.Column("skills", JSON, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("posted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("is_remote", sa.Boolean(), nullable=True),
        sa.Column("job_type", sa.String(length=500), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("times_seen", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("first_seen", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=True),
        sa.Column("latest_at", JSON, server_default=sa.text("'{}'"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_postings")),
        sa.UniqueConstraint("tenant", "fingerprint", name=op.f("uq_job_postings_tenant_fingerprint")),
    )
    op.create_index(op.f("ix_job_postings_tenant_last_seen"), "job_postings", ["tenant", "last_seen"])
    op.create_index(op.f("ix_job_postings_tenant_session_id"), "job_postings", ["tenant", "session_id"])
    op.create_index(
        op.f("ix_job_postings_tenant_site_name_last_seen"),
        "job_postings",
        ["tenant", "site_name", "last_seen"],
    )

    op.create_table(
        "scrape_sessions",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("session_id", sa.String(length=200), nullable=False),
        sa.Column("source", sa.String(length=100), nullable=True),
        sa.Column("search_term", sa.String(length=500), nullable=True),
        sa.Column("location", sa.String(length=500), nullable=True),
        sa.Column("sites", JSON, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("max_jobs_per_site", sa.BigInteger(), nullable=True),
        sa.Column("max_concurrency", sa.BigInteger(), nullable=True),
        sa.Column("schedule", sa.String(length=500), nullable=True),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_event_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("jobs_seen", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("total_jobs_saved", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("duplicates_skipped", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("jobs_dropped", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("jobs_invalid", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("pages_processed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("pages_ok", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("pages_blocked", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("errors_seen", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("events", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("jobs_reported", sa.BigInteger(), nullable=True),
        sa.Column("pages_reported", sa.BigInteger(), nullable=True),
        sa.Column("errors_reported", sa.BigInteger(), nullable=True),
        sa.Column("duration_reported", sa.Double(), nullable=True),
        sa.Column("reported_status", sa.String(length=32), nullable=True),
        sa.Column("reported_reason", sa.String(length=500), nullable=True),
        sa.Column("status_at", sa.BigInteger(), nullable=True),
        sa.Column("status_rank", sa.BigInteger(), nullable=True),
        sa.Column("active_at", sa.BigInteger(), nullable=True),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("duration_seconds", sa.Double(), nullable=True),
        sa.Column("total_jobs_found", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("total_pages", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("errors_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("total_sites", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("successful_sites", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("failed_sites", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("status_reason", sa.String(length=500), nullable=True),
        sa.Column("stalled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_by", sa.String(length=32), nullable=True),
        sa.Column("verdict", sa.String(length=32), nullable=True),
        sa.Column("verdict_evidence", JSON, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("latest_at", JSON, server_default=sa.text("'{}'"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scrape_sessions")),
        sa.UniqueConstraint("tenant", "session_id", name=op.f("uq_scrape_sessions_tenant_session_id")),
    )
    op.create_index(
        op.f("ix_scrape_sessions_status_last_event_at"), "scrape_sessions", ["status", "last_event_at"]
    )
    op.create_index(
        op.f("ix_scrape_sessions_tenant_begun_at_id"), "scrape_sessions", ["tenant", "begun_at", "id"]
    )
    op.create_index(
        op.f("ix_scrape_sessions_tenant_last_event_at"), "scrape_sessions", ["tenant", "last_event_at"]
    )
    op.create_index(
        op.f("ix_scrape_sessions_tenant_search_term_begun_at_id"),
        "scrape_sessions",
        ["tenant", "search_term", "begun_at", "id"],
    )
    op.create_index(
        op.f("ix_scrape_sessions_tenant_source_begun_at_id"),
        "scrape_sessions",
        ["tenant", "source", "begun_at", "id"],
    )
    op.create_index(
        op.f("ix_scrape_sessions_tenant_status_begun_at_id"),
        "scrape_sessions",
        ["tenant", "status", "begun_at", "id"],
    )

    op.create_table(
        "tenants",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("title", sa.String(length=500), nullable=True),
        sa.Column("settings", JSON, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_tenants")),
    )

    op.create_table(
        "error_groups",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("session_id", sa.String(length=200), nullable=False),
        sa.Column("site_name", sa.String(length=100), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=100), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("first_seen", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "session_id"],
            ["scrape_sessions.tenant", "scrape_sessions.session_id"],
            name=op.f("fk_error_groups_scrape_sessions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_error_groups")),
        sa.UniqueConstraint(
            "tenant",
            "session_id",
            "site_name",
            "fingerprint",
            name=op.f("uq_error_groups_tenant_session_id_site_name_fingerprint"),
        ),
    )

    op.create_table(
        "site_executions",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("session_id", sa.String(length=200), nullable=False),
        sa.Column("site_name", sa.String(length=100), nullable=False),
        sa.Column("attempt_number", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("jobs_scraped", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("pages_processed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("pages_ok", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("pages_blocked", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("page_load_sum", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("page_load_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("errors_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("jobs_reported", sa.BigInteger(), nullable=True),
        sa.Column("pages_reported", sa.BigInteger(), nullable=True),
        sa.Column("errors_reported", sa.BigInteger(), nullable=True),
        sa.Column("memory_usage_mb", sa.Double(), nullable=True),
        sa.Column("cpu_usage_percent", sa.Double(), nullable=True),
        sa.Column("success", sa.Boolean(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("circuit_breaker_state", sa.String(length=32), nullable=True),
        sa.Column("circuit_breaker_failures", sa.BigInteger(), nullable=True),
        sa.Column("duration_seconds", sa.Double(), nullable=True),
        sa.Column("latest_at", JSON, server_default=sa.text("'{}'"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "session_id"],
            ["scrape_sessions.tenant", "scrape_sessions.session_id"],
            name=op.f("fk_site_executions_scrape_sessions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_site_executions")),
        sa.UniqueConstraint(
            "tenant",
            "session_id",
            "site_name",
            "attempt_number",
            name=op.f("uq_site_executions_tenant_session_id_site_name_attempt_number"),
        ),
    )
    op.create_index(
        op.f("ix_site_executions_tenant_site_name_session_id"),
        "site_executions",
        ["tenant", "site_name", "session_id"],
    )


def downgrade() -> None:
    op.drop_table("site_executions")
    op.drop_table("error_groups")
    op.drop_table("tenants")
    op.drop_table("scrape_sessions")
    op.drop_table("job_postings")
    op.drop_table("export_schedules")
    op.drop_table("api_keys")
    op.drop_table("alerts")
