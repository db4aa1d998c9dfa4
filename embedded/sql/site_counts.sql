SELECT
    $start::BIGINT AS time,
    site,
    sum(scraped) AS scraped,
    sum(saved) AS saved,
    sum(pages) AS pages,
    sum(ok) AS ok,
    sum(blocked) AS blocked,
    sum(errors) AS errors,
    sum(duration_count) AS duration_count,
    sum(duration_sum) AS duration_sum
FROM (
    SELECT time, site, count AS pages, ok, blocked, duration_count, duration_sum FROM pages
    UNION ALL BY NAME
    SELECT time, site, scraped, saved FROM jobs
    UNION ALL BY NAME
    SELECT time, site, count AS errors FROM errors
)
WHERE time >= $start AND time < $stop AND $every > 0 AND ($site = '' OR site = $site)
GROUP BY 2
ORDER BY 2
