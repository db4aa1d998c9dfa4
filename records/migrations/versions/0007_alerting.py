"""Alerts know what they were last told, and can be silenced."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("alerts", sa.Column("told", sa.String(length=64), nullable=True))
    op.create_index(
        op.f("ix_alerts_tenant_severity_started_at_id"), "alerts", ["tenant", "severity", "started_at", "id"]
    )

    op.create_table(
        "silences",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("matchers", JSON, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("created_by", sa.String(length=500), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_silences")),
    )
    op.create_index(op.f("ix_silences_tenant_created_at_id"), "silences", ["tenant", "created_at", "id"])
    op.create_index(op.f("ix_silences_tenant_ends_at"), "silences", ["tenant", "ends_at"])


def downgrade() -> None:
    op.drop_table("silences")
    op.drop_index(op.f("ix_alerts_tenant_severity_started_at_id"), table_name="alerts")
    op.drop_column("alerts", "told")
