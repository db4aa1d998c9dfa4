SELECT site_name AS "__text", site_name AS "__value"
FROM (
    SELECT site_name FROM panels.site_executions
    UNION
    SELECT value FROM panels.market_days WHERE kind = 'site' AND day > extract(epoch FROM now()) / 86400 - 90
) AS named
ORDER BY 1
LIMIT 200
