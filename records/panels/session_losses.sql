SELECT begun_at AS "time", session_id, verdict, search_term, total_jobs_found, total_jobs_saved, duplicates_skipped, jobs_dropped, jobs_invalid,
       jobs_invalid::float8 / total_jobs_found AS invalid_share, duplicates_skipped::float8 / total_jobs_found AS duplicate_share
FROM panels.sessions
WHERE $__timeFilter(begun_at)
  AND panels.among(search_term, ARRAY[${search:sqlstring}]::text[])
  AND total_jobs_found > 0 AND jobs_invalid + duplicates_skipped + jobs_dropped > 0
ORDER BY (jobs_invalid + jobs_dropped)::float8 / total_jobs_found DESC, duplicates_skipped::float8 / total_jobs_found DESC, begun_at DESC
LIMIT 50
