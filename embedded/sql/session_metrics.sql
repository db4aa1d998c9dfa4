SELECT
    time // $every * $every AS time,
    coalesce(site, '') AS site,
    coalesce(type, '') AS type,
    sum(scraped) AS scraped,
    sum(pages) AS pages,
    sum(ok) AS ok,
    sum(duration_count) AS duration_count,
    sum(duration_sum) AS duration_sum,
    sum(errors) AS errors,
    max(depth) AS depth,
    max(active_scrapers) AS active_scrapers,
    max(memory_mb) AS memory_mb,
    avg(cpu_percent) AS cpu_percent
FROM (
    SELECT time, session_id, site, scraped FROM jobs
    UNION ALL BY NAME
    SELECT time, session_id, site, count AS pages, ok, duration_count, duration_sum FROM pages
    UNION ALL BY NAME
    SELECT time, session_id, site, type, count AS errors FROM errors
    UNION ALL BY NAME
    SELECT time, session_id, site, depth, active_scrapers FROM queue
    UNION ALL BY NAME
    SELECT time, session_id, memory_mb, cpu_percent FROM resources
)
WHERE time >= $start AND time < $stop AND session_id = $session_id
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
