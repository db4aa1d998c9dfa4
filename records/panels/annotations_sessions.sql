SELECT begun_at AS "time", completed_at AS timeend,
       session_id || ': ' || coalesce(verdict, status) || coalesce(', ' || search_term, '') AS text,
       'session,' || coalesce(verdict, status) AS tags
FROM panels.sessions
WHERE $__timeFilter(begun_at)
  AND panels.among(search_term, ARRAY[${search:sqlstring}]::text[])
ORDER BY begun_at DESC
LIMIT 40
