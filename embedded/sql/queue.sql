SELECT
    time // $every * $every AS time,
    session_id,
    site,
    max(depth)::DOUBLE AS depth,
    max(pending)::DOUBLE AS pending,
    max(active_scrapers)::DOUBLE AS active_scrapers
FROM queue
WHERE time >= $start AND time < $stop AND ($site = '' OR site = $site)
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
