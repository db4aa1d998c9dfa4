SELECT started_at AS "time", resolved_at AS timeend, severity || ': ' || rule || coalesce(', ' || resource, '') AS text,
       'alert,' || severity AS tags
FROM panels.alerts
WHERE $__timeFilter(started_at)
ORDER BY started_at DESC
LIMIT 100
