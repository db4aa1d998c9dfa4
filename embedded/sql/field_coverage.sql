SELECT
    time // $every * $every AS time,
    site,
    field,
    sum(items) AS items,
    sum(covered) AS covered
FROM field_coverage
WHERE time >= $start AND time < $stop AND ($site = '' OR site = $site)
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
