-- The postings of our company beside all others'.
WITH counted AS (
    SELECT side.name AS side, market.kind, market.value, sum(market.n) AS n
    FROM (VALUES ('ours', ARRAY[${company:sqlstring}]::text[]), ('the market', ARRAY[]::text[])) AS side (name, companies)
    CROSS JOIN LATERAL panels.market($__unixEpochFrom() / 86400, $__unixEpochTo() / 86400,
                                     ARRAY[${search:sqlstring}]::text[], side.companies) AS market
    WHERE market.kind IN ('posting', 'remote', 'salary')
      AND NOT (side.name = 'ours' AND panels.any_of(side.companies))
    GROUP BY 1, 2, 3
    HAVING sum(market.n) > 0
), paid AS (
    SELECT side, split_part(value, ' ', 1) AS currency, split_part(value, ' ', 2)::float8 AS amount, n
    FROM counted
    WHERE kind = 'salary'
), reached AS (
    SELECT side, currency, amount,
           sum(n) OVER (PARTITION BY side, currency ORDER BY amount) AS reached,
           sum(n) OVER (PARTITION BY side, currency) AS total
    FROM paid
    -- One that both name, or else there is nothing to compare: the one that most of the market's postings name.
    WHERE currency = (SELECT currency FROM paid GROUP BY currency
                      ORDER BY count(DISTINCT side) DESC, sum(n) DESC, currency LIMIT 1)
), levels AS (
    SELECT side, max(currency) AS currency, max(total) AS salaries,
           min(amount) FILTER (WHERE reached >= 0.25::float8 * total) AS p25,
           min(amount) FILTER (WHERE reached >= 0.5::float8 * total) AS p50,
           min(amount) FILTER (WHERE reached >= 0.75::float8 * total) AS p75
    FROM reached
    GROUP BY side
), facts AS (
    SELECT side, sum(n) FILTER (WHERE kind = 'posting') AS postings,
           coalesce(sum(n) FILTER (WHERE kind = 'remote' AND value = 'yes'), 0)::float8
               / sum(n) FILTER (WHERE kind = 'remote') AS remote_share
    FROM counted
    GROUP BY side
)
SELECT facts.side, facts.postings::bigint, facts.remote_share, nullif(levels.currency, '') AS currency,
       coalesce(levels.salaries, 0)::bigint AS salaries, levels.p25, levels.p50, levels.p75
FROM facts
LEFT JOIN levels USING (side)
ORDER BY facts.side
