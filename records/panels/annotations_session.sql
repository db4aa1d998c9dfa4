SELECT begun_at AS "time", completed_at AS timeend, session_id || ': ' || coalesce(verdict, status) AS text,
       'session,' || coalesce(verdict, status) AS tags
FROM panels.sessions
WHERE session_id = ${session:sqlstring}
