-- Those that started in the range, and those from before that are still open.
WITH counted AS (
    SELECT severity, status, count
    FROM panels.alerts
    WHERE $__timeFilter(started_at)
    UNION ALL
    SELECT severity, status, count
    FROM panels.alerts
    WHERE status IN ('firing', 'acknowledged') AND started_at < $__timeFrom()
), timed AS (
    SELECT extract(epoch FROM acknowledged_at - started_at)::float8 AS acknowledge_seconds,
           extract(epoch FROM resolved_at - started_at)::float8 AS resolve_seconds
    FROM panels.alerts
    WHERE $__timeFilter(started_at)
    ORDER BY started_at DESC, id DESC
    LIMIT 2000
), times AS (
    SELECT avg(acknowledge_seconds) AS mean_time_to_acknowledge,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY acknowledge_seconds) AS median_time_to_acknowledge,
           avg(resolve_seconds) AS mean_time_to_resolve,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY resolve_seconds) AS median_time_to_resolve
    FROM timed
), totals AS (
    SELECT count(*) AS total, coalesce(sum(count), 0)::bigint AS told,
           count(*) FILTER (WHERE status <> 'resolved') AS open,
           count(*) FILTER (WHERE severity = 'critical') AS critical,
           count(*) FILTER (WHERE severity = 'warning') AS warning,
           count(*) FILTER (WHERE severity = 'info') AS info
    FROM counted
)
SELECT totals.*, times.*
FROM totals CROSS JOIN times
