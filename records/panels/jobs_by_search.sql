SELECT search_term, count(*) AS sessions, sum(total_jobs_found)::bigint AS total_jobs_found,
       sum(total_jobs_saved)::bigint AS total_jobs_saved,
       sum(total_jobs_saved)::float8 / nullif(sum(total_jobs_found), 0) AS saved_share,
       count(*) FILTER (WHERE verdict = 'healthy')::float8 / nullif(count(verdict), 0) AS healthy_share,
       avg(duration_seconds) AS mean_duration_seconds, max(begun_at) AS latest_at
FROM panels.sessions
WHERE $__timeFilter(begun_at)
  AND panels.among(search_term, ARRAY[${search:sqlstring}]::text[])
GROUP BY search_term
ORDER BY total_jobs_found DESC, search_term
LIMIT 100
