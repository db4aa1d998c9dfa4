SELECT to_timestamp(day * 86400::float8) AS "time",
       coalesce(sum(n) FILTER (WHERE value = 'yes'), 0)::float8 / sum(n) AS remote_share
FROM panels.market($__unixEpochFrom() / 86400, $__unixEpochTo() / 86400,
                   ARRAY[${search:sqlstring}]::text[], ARRAY[]::text[], NULL)
WHERE kind = 'remote'
GROUP BY day
HAVING sum(n) > 0
ORDER BY day
