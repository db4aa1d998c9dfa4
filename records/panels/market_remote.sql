-- Of a search at most 200 postings of each day are looked at.
SELECT to_timestamp(day * 86400::float8) AS "time",
       coalesce(sum(n) FILTER (WHERE value = 'yes'), 0)::float8 / sum(n) AS remote_share
FROM generate_series($__unixEpochFrom() / 86400, $__unixEpochTo() / 86400) AS each (of_day)
CROSS JOIN LATERAL panels.market(each.of_day, each.of_day, ARRAY[${search:sqlstring}]::text[], ARRAY[]::text[], 200)
WHERE kind = 'remote'
GROUP BY day
HAVING sum(n) > 0
ORDER BY day
