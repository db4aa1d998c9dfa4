-- The rollups hold each window's maximum, summed over the sessions.
SELECT
    time // $every * $every AS time,
    '' AS session_id,
    site,
    max(depth_max)::DOUBLE AS depth,
    max(pending_max)::DOUBLE AS pending,
    max(active_scrapers_max)::DOUBLE AS active_scrapers
FROM queue
WHERE time >= $start AND time < $stop AND ($site = '' OR site = $site)
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
