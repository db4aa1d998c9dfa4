-- Codes are those of records.panels.STATES; the last one ends a bar.
SELECT step."time", execution.site_name || ' #' || execution.attempt_number AS metric,
       1 + array_position(ARRAY['queued', 'running', 'paused', 'stalled', 'healthy', 'degraded', 'empty', 'truncated', 'blocked',
                                'missing', 'completed', 'failed', 'cancelled', 'over'], step.state::text) AS state
FROM panels.site_executions AS execution
CROSS JOIN LATERAL (
    SELECT execution.started_at AS "time",
           CASE WHEN execution.success THEN 'completed' WHEN NOT execution.success THEN 'failed' ELSE 'running' END AS state
    UNION ALL
    SELECT execution.completed_at, 'over'
) AS step
WHERE execution.session_id = ${session:sqlstring}
  AND panels.among(execution.site_name, ARRAY[${site:sqlstring}]::text[])
  AND step."time" IS NOT NULL
ORDER BY step."time"
