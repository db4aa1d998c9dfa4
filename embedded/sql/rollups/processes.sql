-- The rollups hold each window's mean and maximum.
SELECT
    time // $every * $every AS time,
    host,
    process,
    avg(cpu_percent) AS cpu_percent,
    max(cpu_percent_max) AS cpu_percent_max,
    max(memory_max)::DOUBLE AS memory,
    max(threads_max)::DOUBLE AS threads,
    max(count_max)::DOUBLE AS count
FROM host_processes
WHERE time >= $start AND time < $stop AND ($host = '' OR host = $host)
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
