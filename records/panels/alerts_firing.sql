SELECT count(*) AS firing,
       count(*) FILTER (WHERE severity = 'critical') AS critical,
       count(*) FILTER (WHERE severity = 'warning') AS warning,
       count(*) FILTER (WHERE severity = 'info') AS info,
       count(*) FILTER (WHERE status = 'acknowledged') AS acknowledged
FROM panels.alerts
WHERE status IN ('firing', 'acknowledged')
