SELECT
    time // $every * $every AS time,
    site,
    kind,
    currency,
    sum(amount) AS amount
FROM (
    SELECT time, site, kind, currency, amount FROM costs
    UNION ALL BY NAME
    SELECT time, '' AS site, 'proxies' AS kind, '' AS currency, cost AS amount FROM proxies
)
WHERE time >= $start AND time < $stop AND ($site = '' OR site = $site)
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4
