SELECT
    time // $every * $every AS time,
    session_id,
    sum(scraped) AS scraped,
    sum(pages) AS pages,
    sum(ok) AS ok,
    sum(errors) AS errors
FROM (
    SELECT time, session_id, scraped FROM jobs
    UNION ALL BY NAME
    SELECT time, session_id, count AS pages, ok FROM pages
    UNION ALL BY NAME
    SELECT time, session_id, count AS errors FROM errors
)
WHERE time >= $start AND time < $stop
GROUP BY 1, 2
ORDER BY 1, 2
