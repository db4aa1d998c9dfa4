"""How many files of a repeated export are kept, and the last one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "export_schedules", sa.Column("keep", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column("export_schedules", sa.Column("last_file", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("export_schedules", "last_file")
    op.drop_column("export_schedules", "keep")
