"""What follows from postings: their salary a year, the search that found them, and counts by day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from records.market import count_days, counts_of, search_key, settle_posting
from records.merge import as_text, moment
from scrapewatch.time import to_ns

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_AT_ONCE = 2_000
_READ = (
    *("id", "tenant", "site_name", "company", "location", "skills", "is_remote", "first_seen"),
    *("salary_text", "salary_min", "salary_max", "salary_interval", "salary_currency"),
)


def upgrade() -> None:
    op.add_column("job_postings", sa.Column("search_key", sa.String(length=500), nullable=True))
    op.add_column("job_postings", sa.Column("place", sa.String(length=200), nullable=True))
    op.add_column("job_postings", sa.Column("yearly_min", sa.Double(), nullable=True))
    op.add_column("job_postings", sa.Column("yearly_max", sa.Double(), nullable=True))
    op.add_column("job_postings", sa.Column("yearly_currency", sa.String(length=32), nullable=True))
    op.create_table(
        "market_days",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("value", sa.String(length=200), nullable=False),
        sa.Column("n", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "kind", "day", "value", name=op.f("pk_market_days")),
        sqlite_with_rowid=False,
    )
    _derive(op.get_bind())
    op.create_index(
        op.f("ix_job_postings_tenant_first_seen_id"), "job_postings", ["tenant", "first_seen", "id"]
    )
    op.create_index(
        op.f("ix_job_postings_tenant_search_key_first_seen_place"),
        "job_postings",
        ["tenant", "search_key", "first_seen", "place"],
    )
    op.create_index(
        op.f("ix_job_postings_tenant_place_first_seen"),
        "job_postings",
        ["tenant", "place", "first_seen"],
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_job_postings_tenant_place_first_seen"), table_name="job_postings")
    op.drop_index(op.f("ix_job_postings_tenant_search_key_first_seen_place"), table_name="job_postings")
    op.drop_index(op.f("ix_job_postings_tenant_first_seen_id"), table_name="job_postings")
    op.drop_table("market_days")
    for column in ("yearly_currency", "yearly_max", "yearly_min", "place", "search_key"):
        op.drop_column("job_postings", column)


def _derive(db: sa.Connection) -> None:
    """Derive for the postings that are there what is derived for new ones when they are written."""
    columns = ", ".join(f"p.{name}" for name in _READ)
    query = sa.text(
        f"SELECT {columns}, s.search_term FROM job_postings p LEFT JOIN scrape_sessions s"  # noqa: S608
        " ON s.tenant = p.tenant AND s.session_id = p.session_id WHERE p.id > :last ORDER BY p.id LIMIT :most"
    )
    put = sa.text(
        "UPDATE job_postings SET search_key = :search_key, place = :place, yearly_min = :yearly_min, yearly_max = :yearly_max,"
        " yearly_currency = :yearly_currency WHERE id = :id"
    )
    last = -1
    while rows := [dict(row) for row in db.execute(query, {"last": last, "most": _AT_ONCE}).mappings()]:
        for row in rows:
            # As SQLite gives them.
            if row["first_seen"] is not None and not isinstance(row["first_seen"], str):
                row["first_seen"] = moment(to_ns(row["first_seen"]))
            if not isinstance(row["skills"], str):
                row["skills"] = as_text(row["skills"])
            row["search_key"] = search_key(row["search_term"])
            settle_posting(row)
        db.execute(put, rows)
        count_days(db, [((), counts_of(row)) for row in rows])
        last = rows[-1]["id"]
