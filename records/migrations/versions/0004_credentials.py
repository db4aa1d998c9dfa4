"""Credentials: prefixes of keys are unique, tokens can be checked, and Grafana sees no keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# The role that tools/postgres/roles.sql makes gets to read every new table by default: not this one.
_HIDE = """
DO $$ BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'grafana') THEN
        REVOKE ALL ON TABLE api_keys, token_keys FROM grafana;
    END IF;
END $$
"""


def upgrade() -> None:
    with op.batch_alter_table("api_keys") as table:
        table.create_unique_constraint(op.f("uq_api_keys_prefix"), ["prefix"])
    op.create_table(
        "token_keys",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("public_key", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token_keys")),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_HIDE)


def downgrade() -> None:
    # What was taken from the role stays taken: it needs no keys, whatever the revision.
    op.drop_table("token_keys")
    with op.batch_alter_table("api_keys") as table:
        table.drop_constraint(op.f("uq_api_keys_prefix"), type_="unique")
