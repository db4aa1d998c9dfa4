WITH counted AS (
    SELECT resource, severity, status, count, started_at, resolved_at
    FROM panels.alerts
    WHERE $__timeFilter(started_at)
    UNION ALL
    SELECT resource, severity, status, count, started_at, resolved_at
    FROM panels.alerts
    WHERE status IN ('firing', 'acknowledged') AND started_at < $__timeFrom()
)
SELECT resource, count(*) AS alerts, sum(count)::bigint AS told, count(*) FILTER (WHERE status <> 'resolved') AS open,
       avg(extract(epoch FROM resolved_at - started_at))::float8 AS mean_time_to_resolve, max(started_at) AS latest_at
FROM counted
WHERE resource IS NOT NULL
GROUP BY resource
ORDER BY alerts DESC, resource COLLATE "C"
LIMIT 10
