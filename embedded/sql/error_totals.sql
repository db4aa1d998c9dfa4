SELECT
    $start::BIGINT AS time,
    site,
    type,
    sum(count) AS count
FROM errors
WHERE time >= $start AND time < $stop AND $every > 0 AND ($site = '' OR site = $site)
GROUP BY 2, 3
ORDER BY 2, 3
