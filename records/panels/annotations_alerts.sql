-- Of a range of more than two days only critical ones: so many marks that none can be told from another help nobody.
SELECT started_at AS "time", resolved_at AS timeend, severity || ': ' || rule || coalesce(', ' || resource, '') AS text,
       'alert,' || severity AS tags
FROM panels.alerts
WHERE $__timeFilter(started_at)
  AND ($__unixEpochTo() - $__unixEpochFrom() <= 172800 OR severity = 'critical')
ORDER BY started_at DESC
LIMIT 25
