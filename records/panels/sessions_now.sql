SELECT count(*) AS active,
       count(*) FILTER (WHERE status = 'running' AND stalled_at IS NULL) AS running,
       count(*) FILTER (WHERE status = 'queued') AS queued,
       count(*) FILTER (WHERE status = 'paused') AS paused,
       count(*) FILTER (WHERE status = 'running' AND stalled_at IS NOT NULL) AS stalled
FROM panels.sessions
WHERE status IN ('queued', 'running', 'paused')
