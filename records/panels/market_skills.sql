WITH now AS (
    SELECT kind, value, sum(n) AS n
    FROM panels.market($__unixEpochFrom() / 86400, $__unixEpochTo() / 86400,
                       ARRAY[${search:sqlstring}]::text[], ARRAY[]::text[])
    WHERE kind IN ('posting', 'skill')
    GROUP BY kind, value
    HAVING sum(n) > 0
), before AS (
    SELECT kind, value, sum(n) AS n
    FROM panels.market(2 * ($__unixEpochFrom() / 86400) - $__unixEpochTo() / 86400 - 1, $__unixEpochFrom() / 86400 - 1,
                       ARRAY[${search:sqlstring}]::text[], ARRAY[]::text[])
    WHERE kind IN ('posting', 'skill')
    GROUP BY kind, value
), shares AS (
    SELECT now.value AS skill, now.n AS postings, now.n::float8 / (SELECT n FROM now WHERE kind = 'posting') AS share,
           coalesce(before.n, 0)::float8 / (SELECT nullif(n, 0) FROM before WHERE kind = 'posting') AS previous_share
    FROM now
    LEFT JOIN before ON before.kind = 'skill' AND before.value = now.value
    WHERE now.kind = 'skill'
)
SELECT skill, postings::bigint, share, previous_share,
       100.0::float8 * (share - previous_share) / nullif(previous_share, 0) AS change_percent
FROM shares
ORDER BY postings DESC, skill COLLATE "C"
LIMIT 20
