SELECT session_id || coalesce(', ' || search_term, '') || ', ' || to_char(begun_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')
           AS "__text",
       session_id AS "__value"
FROM panels.sessions
ORDER BY begun_at DESC
LIMIT 200
