SELECT
    time // $every * $every AS time,
    site,
    sum(duration_count) AS duration_count,
    sum(duration_sum) AS duration_sum
FROM pages
WHERE time >= $start AND time < $stop AND ($site = '' OR site = $site)
GROUP BY 1, 2
ORDER BY 1, 2
