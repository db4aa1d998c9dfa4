SELECT
    time // $every * $every AS time,
    sum(scraped) AS scraped,
    sum(pages) AS pages,
    sum(ok) AS ok,
    sum(blocked) AS blocked,
    sum(errors) AS errors,
    sum(duration_count) AS duration_count,
    sum(duration_sum) AS duration_sum,
    sum(items) AS items,
    sum(valid) AS valid,
    sum(duplicates) AS duplicates
FROM (
    SELECT time, scraped FROM jobs
    UNION ALL BY NAME
    SELECT time, count AS pages, ok, blocked, duration_count, duration_sum FROM pages
    UNION ALL BY NAME
    SELECT time, count AS errors FROM errors
    UNION ALL BY NAME
    SELECT time, items, valid, duplicates FROM data_quality
)
WHERE time >= $start AND time < $stop
GROUP BY 1
ORDER BY 1
