SELECT started_at AS "time", severity, status, rule, resource, message, value, count, last_fired_at, acknowledged_by, resolved_at,
       resolved_by, extract(epoch FROM resolved_at - started_at)::float8 AS resolve_seconds, notes,
       labels ->> 'session_id' AS session_id, id
FROM panels.alerts
WHERE $__timeFilter(started_at)
ORDER BY started_at DESC, id DESC
LIMIT 200
