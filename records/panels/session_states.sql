-- Codes are those of records.panels.STATES; the last one ends a bar.
WITH latest AS (
    SELECT session_id, status, verdict, queued_at, started_at, stalled_at, completed_at
    FROM panels.sessions
    WHERE begun_at <= $__timeTo()
      AND (completed_at IS NULL OR completed_at >= $__timeFrom())
      AND (status IN ('queued', 'running', 'paused') OR last_event_at >= $__timeFrom())
      AND panels.among(search_term, ARRAY[${search:sqlstring}]::text[])
    ORDER BY begun_at DESC
    LIMIT 30
)
SELECT step."time", latest.session_id AS metric,
       1 + array_position(ARRAY['queued', 'running', 'paused', 'stalled', 'healthy', 'degraded', 'empty', 'truncated', 'blocked',
                                'missing', 'completed', 'failed', 'cancelled', 'over'], step.state::text) AS state
FROM latest
CROSS JOIN LATERAL (
    SELECT latest.queued_at AS "time", 'queued' AS state
    UNION ALL
    SELECT latest.started_at, CASE WHEN latest.stalled_at IS NULL THEN coalesce(latest.verdict, latest.status) ELSE 'running' END
    UNION ALL
    SELECT latest.stalled_at, 'stalled'
    UNION ALL
    SELECT latest.completed_at, 'over'
) AS step
WHERE step."time" IS NOT NULL
ORDER BY step."time"
