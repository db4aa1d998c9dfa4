SELECT value AS site, sum(n)::bigint AS postings
FROM panels.market($__unixEpochFrom() / 86400, $__unixEpochTo() / 86400,
                   ARRAY[${search:sqlstring}]::text[], ARRAY[]::text[])
WHERE kind = 'site'
GROUP BY value
HAVING sum(n) > 0
ORDER BY postings DESC, value COLLATE "C"
