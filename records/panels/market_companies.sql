WITH counted AS (
    SELECT kind, value, sum(n) AS n
    FROM panels.market($__unixEpochFrom() / 86400, $__unixEpochTo() / 86400,
                       ARRAY[${search:sqlstring}]::text[], ARRAY[]::text[])
    WHERE kind IN ('posting', 'company')
    GROUP BY kind, value
    HAVING sum(n) > 0
)
SELECT value AS company, n::bigint AS postings, n::float8 / (SELECT n FROM counted WHERE kind = 'posting') AS share
FROM counted
WHERE kind = 'company'
ORDER BY n DESC, value COLLATE "C"
LIMIT 20
