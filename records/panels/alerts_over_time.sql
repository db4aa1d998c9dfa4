SELECT to_timestamp($__timeGroup(started_at,'$__interval',0)) AS "time", severity AS metric, count(*) AS alerts
FROM panels.alerts
WHERE $__timeFilter(started_at)
GROUP BY 1, 2
ORDER BY 1, 2
