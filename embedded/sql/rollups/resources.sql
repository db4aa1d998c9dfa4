-- The rollups hold each window's mean and maximum.
SELECT
    time // $every * $every AS time,
    host,
    avg(cpu_percent) AS cpu_percent,
    max(cpu_percent_max) AS cpu_percent_max,
    avg(memory_percent) AS memory_percent,
    max(memory_percent_max) AS memory_percent_max,
    avg(swap_percent) AS swap_percent,
    avg(load_1) AS load_1
FROM host
WHERE time >= $start AND time < $stop AND ($host = '' OR host = $host)
GROUP BY 1, 2
ORDER BY 1, 2
