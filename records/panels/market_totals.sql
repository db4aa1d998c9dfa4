-- Whole days of UTC: those of the range, and as many before.
WITH span AS (
    SELECT $__unixEpochFrom() / 86400 AS first_day, $__unixEpochTo() / 86400 AS last_day
), counted AS (
    SELECT now.*, true AS is_now
    FROM panels.market($__unixEpochFrom() / 86400, $__unixEpochTo() / 86400,
                       ARRAY[${search:sqlstring}]::text[], ARRAY[]::text[]) AS now
    WHERE now.kind IN ('posting', 'remote', 'salary')
    UNION ALL
    SELECT before.*, false
    FROM panels.market(2 * ($__unixEpochFrom() / 86400) - $__unixEpochTo() / 86400 - 1, $__unixEpochFrom() / 86400 - 1,
                       ARRAY[${search:sqlstring}]::text[], ARRAY[]::text[]) AS before
    WHERE before.kind = 'remote'
), all_days AS (
    SELECT day, n
    FROM panels.postings_by_day(2 * ($__unixEpochFrom() / 86400) - $__unixEpochTo() / 86400 - 1, $__unixEpochTo() / 86400,
                                ARRAY[${search:sqlstring}]::text[], ARRAY[]::text[])
), postings AS (
    SELECT coalesce(sum(n) FILTER (WHERE day >= first_day), 0) AS postings,
           coalesce(sum(n) FILTER (WHERE day < first_day), 0) AS previous_postings,
           count(*) FILTER (WHERE day >= first_day) AS days_with_postings
    FROM all_days CROSS JOIN span
), looked AS (
    SELECT coalesce(sum(n) FILTER (WHERE is_now AND kind = 'posting'), 0) AS looked_at,
           sum(n) FILTER (WHERE is_now AND kind = 'salary') AS with_salary,
           sum(n) FILTER (WHERE is_now AND kind = 'remote' AND value = 'yes') AS remote,
           sum(n) FILTER (WHERE is_now AND kind = 'remote') AS said,
           sum(n) FILTER (WHERE NOT is_now AND value = 'yes') AS remote_before,
           sum(n) FILTER (WHERE NOT is_now) AS said_before
    FROM counted
)
SELECT postings::bigint, previous_postings::bigint,
       100.0::float8 * (postings - previous_postings) / nullif(previous_postings, 0) AS postings_change_percent,
       days_with_postings, looked_at::bigint,
       coalesce(remote, 0)::float8 / nullif(said, 0) AS remote_share,
       coalesce(remote_before, 0)::float8 / nullif(said_before, 0) AS previous_remote_share,
       coalesce(with_salary, 0)::float8 / nullif(looked_at, 0) AS salary_share
FROM postings CROSS JOIN looked
