SELECT
    time // $every * $every AS time,
    site,
    sum(items) AS items,
    sum(valid) AS valid,
    sum(duplicates) AS duplicates
FROM data_quality
WHERE time >= $start AND time < $stop AND ($site = '' OR site = $site)
GROUP BY 1, 2
ORDER BY 1, 2
