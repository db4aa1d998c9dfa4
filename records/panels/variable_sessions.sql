-- Always a row: Grafana 9.4 stumbles over none, and what stays undefined breaks every panel of a session.
(
    SELECT session_id || coalesce(', ' || search_term, '') || ', ' || to_char(begun_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')
               AS "__text",
           session_id AS "__value"
    FROM panels.sessions
    ORDER BY begun_at DESC
    LIMIT 200
)
UNION ALL
SELECT 'none yet', ''
WHERE NOT EXISTS (SELECT FROM panels.sessions)
