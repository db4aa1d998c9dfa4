WITH most AS (
    SELECT search_term
    FROM panels.sessions
    WHERE $__timeFilter(begun_at)
      AND panels.among(search_term, ARRAY[${search:sqlstring}]::text[])
    GROUP BY search_term
    ORDER BY sum(total_jobs_found) DESC, search_term
    LIMIT 10
)
SELECT to_timestamp($__timeGroup(session.begun_at,'$__interval')) AS "time", coalesce(session.search_term, 'none') AS metric,
       sum(session.total_jobs_found)::bigint AS jobs
FROM panels.sessions AS session
JOIN most ON most.search_term IS NOT DISTINCT FROM session.search_term
WHERE $__timeFilter(session.begun_at)
GROUP BY 1, 2
ORDER BY 1, 2
