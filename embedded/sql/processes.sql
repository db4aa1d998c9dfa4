SELECT
    time // $every * $every AS time,
    host,
    process,
    avg(cpu_percent) AS cpu_percent,
    max(cpu_percent) AS cpu_percent_max,
    max(memory)::DOUBLE AS memory,
    max(threads)::DOUBLE AS threads,
    max(count)::DOUBLE AS count
FROM host_processes
WHERE time >= $start AND time < $stop AND ($host = '' OR host = $host)
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
