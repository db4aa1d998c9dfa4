SELECT to_timestamp(each.day * 86400::float8) AS "time", coalesce(counted.n, 0)::bigint AS postings
FROM generate_series($__unixEpochFrom() / 86400, $__unixEpochTo() / 86400) AS each (day)
LEFT JOIN panels.postings_by_day($__unixEpochFrom() / 86400, $__unixEpochTo() / 86400,
                                 ARRAY[${search:sqlstring}]::text[], ARRAY[]::text[]) AS counted USING (day)
ORDER BY 1
