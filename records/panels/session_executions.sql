SELECT site_name, attempt_number, started_at, completed_at, duration_seconds, success, error_message, jobs_scraped, pages_processed,
       pages_ok, pages_blocked, errors_count, avg_page_load_time, circuit_breaker_state, circuit_breaker_failures,
       memory_usage_mb, cpu_usage_percent
FROM panels.site_executions
WHERE session_id = ${session:sqlstring}
  AND panels.among(site_name, ARRAY[${site:sqlstring}]::text[])
ORDER BY site_name, attempt_number
