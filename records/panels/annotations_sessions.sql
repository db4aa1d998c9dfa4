-- Of a range of more than two days only those that went wrong: so many marks that none can be told from another help nobody.
SELECT begun_at AS "time", completed_at AS timeend,
       session_id || ': ' || coalesce(verdict, status) || coalesce(', ' || search_term, '') AS text,
       'session,' || coalesce(verdict, status) AS tags
FROM panels.sessions
WHERE $__timeFilter(begun_at)
  AND panels.among(search_term, ARRAY[${search:sqlstring}]::text[])
  AND ($__unixEpochTo() - $__unixEpochFrom() <= 172800 OR verdict IN ('blocked', 'empty', 'stalled', 'missing'))
ORDER BY begun_at DESC
LIMIT 25
