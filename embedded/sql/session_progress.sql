SELECT
    time // $every * $every AS time,
    session_id,
    site,
    max(done) AS done,
    max(total) AS total
FROM progress
WHERE time >= $start AND time < $stop
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
