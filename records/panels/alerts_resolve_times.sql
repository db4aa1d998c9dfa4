SELECT to_timestamp($__timeGroup(started_at,'$__interval')) AS "time", severity AS metric,
       avg(extract(epoch FROM resolved_at - started_at))::float8 AS mean_time_to_resolve
FROM panels.alerts
WHERE $__timeFilter(started_at) AND resolved_at IS NOT NULL
GROUP BY 1, 2
ORDER BY 1, 2
