WITH newest AS (
    SELECT *
    FROM panels.sessions AS session
    WHERE ($__timeFilter(session.begun_at) OR session.status IN ('queued', 'running', 'paused'))
      AND panels.among(session.search_term, ARRAY[${search:sqlstring}]::text[])
      AND (panels.any_of(ARRAY[${site:sqlstring}]::text[])
           OR session.total_sites = 0
           OR session.sites ?| ARRAY[${site:sqlstring}]::text[]
           OR EXISTS (SELECT FROM panels.site_executions AS execution
                      WHERE execution.session_id = session.session_id
                        AND execution.site_name = ANY (ARRAY[${site:sqlstring}]::text[])))
    ORDER BY session.begun_at DESC
    LIMIT 200
)
SELECT begun_at AS "time", session_id, status, verdict, source, search_term, location,
       (SELECT string_agg(site, ', ') FROM jsonb_array_elements_text(sites) AS site) AS sites, duration_seconds,
       total_jobs_found, total_jobs_saved, duplicates_skipped, jobs_invalid, total_pages,
       pages_blocked::float8 / nullif(total_pages, 0) AS blocked_share, errors_count, failed_sites,
       verdict_evidence -> 0 ->> 'text' AS evidence
FROM newest
ORDER BY begun_at DESC
