SELECT
    time // $every * $every AS time,
    site,
    sum(pages) AS pages,
    sum(ok) AS ok,
    sum(blocked) AS blocked,
    sum(errors) AS errors
FROM (
    SELECT time, site, count AS pages, ok, blocked FROM pages
    UNION ALL BY NAME
    SELECT time, site, count AS errors FROM errors
)
WHERE time >= $start AND time < $stop AND ($site = '' OR site = $site)
GROUP BY 1, 2
ORDER BY 1, 2
