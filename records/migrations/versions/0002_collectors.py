"""What the collectors keep: numbers, applied sources, dirty windows, leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "applied_sources",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=500), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "source", name=op.f("pk_applied_sources")),
    )

    op.create_table(
        "collectors",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("spool_id", sa.String(length=200), nullable=True),
        sa.Column("leased_at", sa.BigInteger(), nullable=False),
        sa.Column("last_flush", sa.BigInteger(), nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_collectors")),
        sa.UniqueConstraint("spool_id", name=op.f("uq_collectors_spool_id")),
    )

    op.create_table(
        "dirty_windows",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("tier", sa.String(length=32), nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("mark", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "tier", "start", name=op.f("pk_dirty_windows")),
    )
    op.create_index(op.f("ix_dirty_windows_start"), "dirty_windows", ["start"])

    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("holder", sa.String(length=200), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )


def downgrade() -> None:
    op.drop_table("leases")
    op.drop_table("dirty_windows")
    op.drop_table("collectors")
    op.drop_table("applied_sources")
