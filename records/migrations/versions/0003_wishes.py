"""What users wish scrapers to do with a session."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "session_wishes",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("session_id", sa.String(length=200), nullable=False),
        sa.Column("wish", sa.String(length=32), nullable=False),
        sa.Column("wished_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "session_id", name=op.f("pk_session_wishes")),
    )


def downgrade() -> None:
    op.drop_table("session_wishes")
