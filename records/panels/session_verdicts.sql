SELECT to_timestamp($__timeGroup(begun_at,'$__interval')) AS "time", coalesce(verdict, status) AS metric, count(*) AS sessions
FROM panels.sessions
WHERE $__timeFilter(begun_at)
  AND panels.among(search_term, ARRAY[${search:sqlstring}]::text[])
GROUP BY 1, 2
ORDER BY 1, 2
