SELECT count(*) AS sessions,
       count(*) FILTER (WHERE status IN ('queued', 'running', 'paused')) AS active,
       count(*) FILTER (WHERE stalled_at IS NOT NULL AND status = 'running') AS stalled,
       count(*) FILTER (WHERE status = 'completed') AS completed,
       count(*) FILTER (WHERE status = 'failed') AS failed,
       count(*) FILTER (WHERE verdict = 'healthy')::float8 / nullif(count(verdict), 0) AS healthy_share,
       sum(total_jobs_found)::bigint AS total_jobs_found,
       sum(total_jobs_saved)::bigint AS total_jobs_saved,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_seconds) AS median_duration_seconds
FROM panels.sessions
WHERE $__timeFilter(begun_at)
  AND panels.among(search_term, ARRAY[${search:sqlstring}]::text[])
