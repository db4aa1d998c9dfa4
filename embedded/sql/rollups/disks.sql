-- The rollups hold each window's mean and maximum.
SELECT
    time // $every * $every AS time,
    host,
    mount,
    avg(used) AS used,
    max(total_max)::DOUBLE AS total,
    avg(percent) AS percent
FROM host_disks
WHERE time >= $start AND time < $stop AND ($host = '' OR host = $host)
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
