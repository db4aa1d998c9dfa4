SELECT alert.started_at AS "time", alert.severity, alert.status, alert.rule, alert.resource, alert.message, alert.value, alert.count,
       extract(epoch FROM now() - alert.started_at)::float8 AS open_seconds, alert.acknowledged_by,
       silence.id IS NOT NULL AS silenced, alert.labels ->> 'session_id' AS session_id, alert.id
FROM panels.alerts AS alert
LEFT JOIN LATERAL (
    SELECT held.id
    FROM panels.silences AS held
    WHERE held.starts_at <= now() AND now() < held.ends_at
      AND NOT EXISTS (
          SELECT
          FROM jsonb_to_recordset(held.matchers) AS matcher (name text, value text, negated boolean)
          WHERE (coalesce(CASE matcher.name WHEN 'rule' THEN alert.rule
                                            WHEN 'severity' THEN alert.severity
                                            WHEN 'resource' THEN alert.resource
                                            ELSE alert.labels ->> matcher.name END, '') = matcher.value) = matcher.negated)
    ORDER BY held.id
    LIMIT 1
) AS silence ON true
WHERE alert.status IN ('firing', 'acknowledged')
ORDER BY array_position(ARRAY['critical', 'warning', 'info'], alert.severity::text), alert.started_at DESC
LIMIT 200
