SELECT CASE WHEN now() < starts_at THEN 'pending' WHEN now() < ends_at THEN 'active' ELSE 'expired' END AS state,
       (SELECT string_agg((matcher ->> 'name') || CASE WHEN (matcher ->> 'negated')::boolean THEN ' is not ' ELSE ' is ' END
                          || (matcher ->> 'value'), ' and ' ORDER BY place)
        FROM jsonb_array_elements(matchers) WITH ORDINALITY AS each (matcher, place)) AS matchers,
       comment, created_by, created_at, starts_at, ends_at, id
FROM panels.silences
WHERE ends_at >= $__timeFrom()
ORDER BY ends_at DESC
LIMIT 200
