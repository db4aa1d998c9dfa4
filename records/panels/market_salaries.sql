WITH paid AS (
    SELECT period.is_now, split_part(market.value, ' ', 1) AS currency, split_part(market.value, ' ', 2)::float8 AS amount,
           sum(market.n) AS n
    FROM (VALUES (true, $__unixEpochFrom() / 86400, $__unixEpochTo() / 86400),
                 (false, 2 * ($__unixEpochFrom() / 86400) - $__unixEpochTo() / 86400 - 1, $__unixEpochFrom() / 86400 - 1)
         ) AS period (is_now, first_day, last_day)
    CROSS JOIN LATERAL panels.market(period.first_day, period.last_day,
                                     ARRAY[${search:sqlstring}]::text[], ARRAY[]::text[]) AS market
    WHERE market.kind = 'salary'
    GROUP BY 1, 2, 3
    HAVING sum(market.n) > 0
), reached AS (
    SELECT is_now, currency, amount,
           sum(n) OVER (PARTITION BY is_now, currency ORDER BY amount) AS reached,
           sum(n) OVER (PARTITION BY is_now, currency) AS total
    FROM paid
), levels AS (
    SELECT is_now, currency, max(total) AS postings,
           min(amount) FILTER (WHERE reached >= 0.1::float8 * total) AS p10,
           min(amount) FILTER (WHERE reached >= 0.25::float8 * total) AS p25,
           min(amount) FILTER (WHERE reached >= 0.5::float8 * total) AS p50,
           min(amount) FILTER (WHERE reached >= 0.75::float8 * total) AS p75,
           min(amount) FILTER (WHERE reached >= 0.9::float8 * total) AS p90
    FROM reached
    GROUP BY is_now, currency
)
SELECT coalesce(nullif(now.currency, ''), 'not named') AS currency, now.postings::bigint, now.p10, now.p25, now.p50, now.p75, now.p90,
       before.p50 AS previous_p50, 100.0::float8 * (now.p50 - before.p50) / nullif(before.p50, 0) AS change_percent
FROM levels AS now
LEFT JOIN levels AS before ON before.currency = now.currency AND NOT before.is_now
WHERE now.is_now
ORDER BY now.postings DESC, now.currency
