WITH counted AS (
    SELECT rule, severity, status, count, started_at, resolved_at
    FROM panels.alerts
    WHERE $__timeFilter(started_at)
    UNION ALL
    SELECT rule, severity, status, count, started_at, resolved_at
    FROM panels.alerts
    WHERE status IN ('firing', 'acknowledged') AND started_at < $__timeFrom()
)
SELECT rule, count(*) AS alerts, sum(count)::bigint AS told, count(*) FILTER (WHERE status <> 'resolved') AS open,
       avg(extract(epoch FROM resolved_at - started_at))::float8 AS mean_time_to_resolve, max(started_at) AS latest_at
FROM counted
WHERE rule IS NOT NULL
GROUP BY rule
ORDER BY alerts DESC, rule COLLATE "C"
LIMIT 10
