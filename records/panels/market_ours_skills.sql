WITH counted AS (
    SELECT side.name AS side, market.kind, market.value, sum(market.n) AS n
    FROM (VALUES ('ours', ARRAY[${company:sqlstring}]::text[]), ('the market', ARRAY[]::text[])) AS side (name, companies)
    CROSS JOIN LATERAL panels.market($__unixEpochFrom() / 86400, $__unixEpochTo() / 86400,
                                     ARRAY[${search:sqlstring}]::text[], side.companies) AS market
    WHERE market.kind IN ('posting', 'skill')
      AND NOT (side.name = 'ours' AND panels.any_of(side.companies))
    GROUP BY 1, 2, 3
    HAVING sum(market.n) > 0
), shares AS (
    SELECT fact.value AS skill, fact.side, fact.n, fact.n::float8 / whole.n AS share
    FROM counted AS fact
    JOIN counted AS whole ON whole.side = fact.side AND whole.kind = 'posting'
    WHERE fact.kind = 'skill'
)
SELECT skill, coalesce(max(share) FILTER (WHERE side = 'ours'), 0) AS ours,
       coalesce(max(share) FILTER (WHERE side = 'the market'), 0) AS the_market
FROM shares
WHERE EXISTS (SELECT FROM shares WHERE side = 'ours')
GROUP BY skill
ORDER BY max(share) FILTER (WHERE side = 'ours') DESC NULLS LAST, the_market DESC, skill COLLATE "C"
LIMIT 15
