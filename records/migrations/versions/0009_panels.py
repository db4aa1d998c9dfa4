"""What panels read: views and functions in a schema of their own, which show a role the rows of one tenant. PostgreSQL alone.

Who may look at panels in Grafana can send any SQL by its data source, so what that role can read is the boundary. A role reads nothing of
the tables themselves; the views show it the rows of the tenant that ``panels.readers`` gives it, and none where it gives none. They are
barriers: a condition that fails loudly on a value is never tried on a row of somebody else's.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_INDEX = "ix_job_postings_tenant_company_first_seen"

# The role that tools/postgres/roles.sql makes used to read every table.
_TAKE_BACK = """
DO $$ BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'grafana') THEN
        REVOKE ALL ON ALL TABLES IN SCHEMA public FROM grafana;
        ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON TABLES FROM grafana;
    END IF;
END $$
"""

_OWN = "tenant = (SELECT reader.tenant FROM panels.readers AS reader WHERE reader.role = session_user)"

_SESSIONS = """
SELECT session_id, source, search_term, location,
       sites, schedule, max_jobs_per_site, max_concurrency, status, status_reason, verdict, verdict_evidence,
       begun_at, queued_at, started_at, completed_at, last_event_at, stalled_at, closed_by, duration_seconds,
       total_jobs_found, total_jobs_saved, duplicates_skipped, jobs_dropped, jobs_invalid,
       total_pages, pages_ok, pages_blocked, errors_count, total_sites, successful_sites, failed_sites, events
FROM public.scrape_sessions
"""

# Totals are reconciled as records.queries does it: the greater of what was seen and what the scraper reported.
_EXECUTIONS = """
SELECT session_id, site_name, attempt_number, started_at, completed_at, duration_seconds,
       greatest(jobs_scraped, jobs_reported) AS jobs_scraped,
       greatest(pages_processed, pages_reported) AS pages_processed,
       pages_ok, pages_blocked,
       greatest(errors_count, errors_reported) AS errors_count,
       success, error_message, circuit_breaker_state, circuit_breaker_failures,
       page_load_sum / nullif(page_load_count, 0) AS avg_page_load_time,
       memory_usage_mb, cpu_usage_percent
FROM public.site_executions
"""

_ERRORS = """
SELECT session_id, site_name, fingerprint, type, message, url, count, first_seen, last_seen
FROM public.error_groups
"""

# The middle of a salary has three significant digits, rounded as Salary.middle rounds it.
_POSTINGS = """
SELECT id, session_id, site_name, search_key, title, company, place, skills, is_remote, job_type, url,
       salary_text, yearly_min, yearly_max, yearly_currency,
       to_char((yearly_min + yearly_max) / 2, '9.99EEEE')::float8 AS yearly_middle,
       posted_at, times_seen, first_seen, last_seen,
       (first_seen AT TIME ZONE 'UTC')::date - date '1970-01-01' AS day
FROM public.job_postings
"""

_MARKET_DAYS = """
SELECT kind, day, value, n
FROM public.market_days
"""

_ALERTS = """
SELECT id, fingerprint, rule, severity, status, resource, message, labels, value, count,
       started_at, last_fired_at, acknowledged_at, acknowledged_by, resolved_at, resolved_by, notes
FROM public.alerts
"""

_SILENCES = """
SELECT id, matchers, comment, created_by, created_at, starts_at, ends_at
FROM public.silences
"""

_VIEWS = {
    "sessions": _SESSIONS,
    "site_executions": _EXECUTIONS,
    "error_groups": _ERRORS,
    "postings": _POSTINGS,
    "market_days": _MARKET_DAYS,
    "alerts": _ALERTS,
    "silences": _SILENCES,
}

_FUNCTIONS = (
    # Nothing chosen, or the empty text among it, means any.
    """
    CREATE FUNCTION panels.any_of(chosen text[]) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT cardinality(chosen) = 0 OR '' = ANY (chosen)
    $$
    """,
    """
    CREATE FUNCTION panels.among(value text, chosen text[]) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT panels.any_of(chosen) OR value = ANY (chosen)
    $$
    """,
    # A name as market_days has it; None where there is none.
    """
    CREATE FUNCTION panels.plain(name text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT nullif(left(btrim(regexp_replace(name, '\\s+', ' ', 'g')), 200), '')
    $$
    """,
    # Search terms as postings are found by them.
    """
    CREATE FUNCTION panels.search_keys(terms text[]) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT ARRAY(SELECT coalesce(lower(panels.plain(term)), '') FROM unnest(terms) AS term)
    $$
    """,
    # Of the postings that first came from the day first_day to last_day (days since 1970-01-01) the newest, at most "most", of some searches
    # and companies. Nothing that a reader says is tried within, so it needs no barrier, beyond which PostgreSQL would not see the order.
    """
    CREATE FUNCTION panels.newest_postings(first_day int, last_day int, searches text[], companies text[], most bigint)
    RETURNS SETOF panels.postings LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog AS $$
    DECLARE
        own text := (SELECT reader.tenant FROM panels.readers AS reader WHERE reader.role = session_user);
        start timestamptz := to_timestamp(first_day * 86400::float8);
        stop timestamptz := to_timestamp((last_day + 1) * 86400::float8);
        keys text[] := panels.search_keys(searches);
    BEGIN
        IF NOT panels.any_of(companies) THEN
            RETURN QUERY
                SELECT found.* FROM unnest(companies) AS chosen (name) CROSS JOIN LATERAL (
                    {postings} WHERE tenant = own AND company = chosen.name AND first_seen >= start AND first_seen < stop
                      AND (panels.any_of(keys) OR search_key = ANY (keys))
                    ORDER BY first_seen DESC LIMIT most
                ) AS found ORDER BY found.first_seen DESC LIMIT most;
        ELSIF NOT panels.any_of(keys) THEN
            RETURN QUERY
                SELECT found.* FROM unnest(keys) AS chosen (key) CROSS JOIN LATERAL (
                    {postings} WHERE tenant = own AND search_key = chosen.key AND first_seen >= start AND first_seen < stop
                    ORDER BY first_seen DESC LIMIT most
                ) AS found ORDER BY found.first_seen DESC LIMIT most;
        ELSE
            RETURN QUERY
                {postings} WHERE tenant = own AND first_seen >= start AND first_seen < stop ORDER BY first_seen DESC LIMIT most;
        END IF;
    END
    $$
    """.replace("{postings}", _POSTINGS),
    # What counts of the postings that first came from first_day to last_day: of all postings the counts that are kept; of a search or a
    # company those of its newest postings, at most "most" of them. All parts are of the same types, or a condition on the kind would
    # only be tried on what was read of all kinds.
    """
    CREATE FUNCTION panels.market(first_day int, last_day int, searches text[], companies text[], most bigint DEFAULT 2000)
    RETURNS TABLE (kind text, day int, value text, n bigint) LANGUAGE sql STABLE PARALLEL SAFE AS $$
        SELECT counted.kind::text, counted.day, counted.value::text, counted.n
        FROM panels.market_days AS counted
        WHERE panels.any_of(searches) AND panels.any_of(companies)
          AND counted.kind NOT IN ('company', 'weekly') AND counted.day BETWEEN first_day AND last_day
        UNION ALL
        -- Companies are kept by the week, too: there are thousands on any day.
        SELECT 'company'::text, counted.day, counted.value::text, counted.n
        FROM panels.market_days AS counted
        WHERE panels.any_of(searches) AND panels.any_of(companies)
          AND counted.kind = 'weekly' AND counted.day BETWEEN first_day AND last_day - 6
        UNION ALL
        SELECT 'company'::text, counted.day, counted.value::text, counted.n
        FROM panels.market_days AS counted
        WHERE panels.any_of(searches) AND panels.any_of(companies)
          AND counted.kind = 'company'
          AND (counted.day BETWEEN first_day AND least((first_day + 6) / 7 * 7 - 1, last_day)
               OR counted.day BETWEEN greatest((last_day + 1) / 7 * 7, (first_day + 6) / 7 * 7) AND last_day)
        UNION ALL
        SELECT fact.kind, found.day, fact.value, 1::bigint
        FROM panels.newest_postings(first_day, last_day, searches, companies, most) AS found
        CROSS JOIN LATERAL (
            SELECT 'posting'::text AS kind, ''::text AS value
            UNION ALL SELECT 'site'::text, panels.plain(found.site_name)
            UNION ALL SELECT 'company'::text, panels.plain(found.company)
            UNION ALL SELECT 'location'::text, panels.plain(found.place)
            UNION ALL
            SELECT 'remote'::text, CASE WHEN found.is_remote THEN 'yes' ELSE 'no' END WHERE found.is_remote IS NOT NULL
            UNION ALL
            SELECT 'salary'::text, coalesce(found.yearly_currency, '') || ' ' || found.yearly_middle
            WHERE found.yearly_middle IS NOT NULL
            UNION ALL
            SELECT DISTINCT 'skill'::text, lower(panels.plain(skill)) FROM jsonb_array_elements_text(found.skills) AS skill
        ) AS fact
        WHERE NOT (panels.any_of(searches) AND panels.any_of(companies)) AND fact.value IS NOT NULL
    $$
    """,
    # All postings by the day they first came.
    """
    CREATE FUNCTION panels.postings_by_day(first_day int, last_day int, searches text[], companies text[])
    RETURNS TABLE (day int, n bigint) LANGUAGE sql STABLE PARALLEL SAFE AS $$
        SELECT counted.day, counted.n
        FROM panels.market_days AS counted
        WHERE panels.any_of(searches) AND panels.any_of(companies)
          AND counted.kind = 'posting' AND counted.day BETWEEN first_day AND last_day AND counted.n > 0
        UNION ALL
        SELECT posting.day, count(*)
        FROM panels.postings AS posting
        WHERE NOT (panels.any_of(searches) AND panels.any_of(companies))
          AND posting.first_seen >= to_timestamp(first_day * 86400::float8)
          AND posting.first_seen < to_timestamp((last_day + 1) * 86400::float8)
          AND panels.among(posting.search_key, panels.search_keys(searches))
          AND panels.among(posting.company, companies)
        GROUP BY posting.day
    $$
    """,
)


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.create_index(_INDEX, "job_postings", ["tenant", "company", "first_seen"])
    op.execute("CREATE SCHEMA panels")
    op.execute("CREATE TABLE panels.readers (role name PRIMARY KEY, tenant text NOT NULL)")
    op.execute("INSERT INTO panels.readers (role, tenant) VALUES ('grafana', 'default')")
    for name, query in _VIEWS.items():
        op.execute(f"CREATE VIEW panels.{name} WITH (security_barrier) AS {query} WHERE {_OWN}")
        op.execute(f"GRANT SELECT ON panels.{name} TO PUBLIC")
    for statement in _FUNCTIONS:
        op.execute(sa.text(statement.replace(":", "\\:")))
    op.execute("GRANT USAGE ON SCHEMA panels TO PUBLIC")
    op.execute(_TAKE_BACK)


def downgrade() -> None:
    # What was taken from the role stays taken: at that revision no panel needs it.
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("DROP SCHEMA panels CASCADE")
    op.drop_index(_INDEX, table_name="job_postings")
