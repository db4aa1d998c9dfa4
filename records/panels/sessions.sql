SELECT session.begun_at AS "time", session.session_id, session.status, session.verdict, session.source, session.search_term,
       session.location, array_to_string(session.sites, ', ') AS sites, session.duration_seconds,
       session.total_jobs_found, session.total_jobs_saved, session.duplicates_skipped, session.jobs_invalid,
       session.total_pages, session.pages_blocked::float8 / nullif(session.total_pages, 0) AS blocked_share,
       session.errors_count, session.failed_sites, session.verdict_evidence -> 0 ->> 'text' AS evidence
FROM panels.sessions AS session
WHERE ($__timeFilter(session.begun_at) OR session.status IN ('queued', 'running', 'paused'))
  AND panels.among(session.search_term, ARRAY[${search:sqlstring}]::text[])
  AND (panels.any_of(ARRAY[${site:sqlstring}]::text[])
       OR session.total_sites = 0
       OR session.sites && ARRAY[${site:sqlstring}]::text[]
       OR EXISTS (SELECT FROM panels.site_executions AS execution
                  WHERE execution.session_id = session.session_id AND execution.site_name = ANY (ARRAY[${site:sqlstring}]::text[])))
ORDER BY session.begun_at DESC
LIMIT 200
