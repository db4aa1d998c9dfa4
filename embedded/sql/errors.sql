SELECT
    time // $every * $every AS time,
    site,
    type,
    sum(count) AS count
FROM errors
WHERE time >= $start AND time < $stop AND ($site = '' OR site = $site)
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
