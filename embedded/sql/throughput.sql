SELECT
    time // $every * $every AS time,
    site,
    sum(scraped) AS scraped,
    sum(saved) AS saved,
    sum(duplicate) AS duplicate,
    sum(dropped) AS dropped,
    sum(invalid) AS invalid
FROM jobs
WHERE time >= $start AND time < $stop AND ($site = '' OR site = $site)
GROUP BY 1, 2
ORDER BY 1, 2
