"""Companies are counted by the week, too: a quarter of them was too much to add up for each answer."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Those of postings that were counted on the way from an old version are there already.
    op.execute("DELETE FROM market_days WHERE kind = 'weekly'")
    op.execute(
        "INSERT INTO market_days (tenant, kind, day, value, n)"
        " SELECT tenant, 'weekly', day - day % 7, value, sum(n) FROM market_days WHERE kind = 'company'"
        " GROUP BY tenant, day - day % 7, value"
    )


def downgrade() -> None:
    op.execute("DELETE FROM market_days WHERE kind = 'weekly'")
