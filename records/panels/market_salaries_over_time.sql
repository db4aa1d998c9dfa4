-- By weeks that begin on Thursdays, as those of the epoch do; of the currency that most postings name. Of a search at most
-- 200 postings of each day are looked at.
WITH paid AS (
    SELECT market.day - market.day % 7 AS week, split_part(market.value, ' ', 1) AS currency,
           split_part(market.value, ' ', 2)::float8 AS amount, sum(market.n) AS n
    FROM generate_series($__unixEpochFrom() / 86400, $__unixEpochTo() / 86400) AS each (of_day)
    CROSS JOIN LATERAL panels.market(each.of_day, each.of_day, ARRAY[${search:sqlstring}]::text[], ARRAY[]::text[], 200) AS market
    WHERE market.kind = 'salary'
    GROUP BY 1, 2, 3
    HAVING sum(market.n) > 0
), reached AS (
    SELECT week, amount, sum(n) OVER (PARTITION BY week ORDER BY amount) AS reached, sum(n) OVER (PARTITION BY week) AS total
    FROM paid
    WHERE currency = (SELECT currency FROM paid GROUP BY currency ORDER BY sum(n) DESC, currency LIMIT 1)
)
SELECT to_timestamp(week * 86400::float8) AS "time",
       min(amount) FILTER (WHERE reached >= 0.25::float8 * total) AS p25,
       min(amount) FILTER (WHERE reached >= 0.5::float8 * total) AS p50,
       min(amount) FILTER (WHERE reached >= 0.75::float8 * total) AS p75
FROM reached
GROUP BY week
ORDER BY week
