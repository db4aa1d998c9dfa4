-- Of the currency that most postings name, in bands of about a tenth of its median.
WITH paid AS (
    SELECT split_part(market.value, ' ', 1) AS currency, split_part(market.value, ' ', 2)::float8 AS amount, sum(market.n) AS n
    FROM panels.market($__unixEpochFrom() / 86400, $__unixEpochTo() / 86400,
                       ARRAY[${search:sqlstring}]::text[], ARRAY[]::text[]) AS market
    WHERE market.kind = 'salary'
    GROUP BY 1, 2
    HAVING sum(market.n) > 0
), reached AS (
    SELECT amount, currency, n, sum(n) OVER (ORDER BY amount) AS reached, sum(n) OVER () AS total
    FROM paid
    WHERE currency = (SELECT currency FROM paid GROUP BY currency ORDER BY sum(n) DESC, currency LIMIT 1)
), scale AS MATERIALIZED (
    SELECT to_char(greatest(min(amount) FILTER (WHERE reached >= 0.5::float8 * total), 1) / 10, '9EEEE')::float8 AS width
    FROM reached
), bands AS (
    -- What is paid to few, far above, is one band.
    SELECT least(floor(amount / width), 30) * width AS band_from, sum(n)::bigint AS postings, max(currency) AS currency
    FROM reached CROSS JOIN scale
    GROUP BY 1
)
SELECT CASE WHEN band_from < 1000000 THEN round(band_from / 1000) || 'k' ELSE round((band_from / 1000000)::numeric, 1) || 'M' END
           || ' ' || currency AS band,
       band_from, postings, currency
FROM bands
ORDER BY band_from
