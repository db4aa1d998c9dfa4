SELECT
    time // $every * $every AS time,
    service,
    sum(checks) AS checks,
    sum(up) AS up,
    sum(response_time_sum) AS response_time_sum,
    max(response_time_max) AS response_time_max
FROM service_checks
WHERE time >= $start AND time < $stop AND ($service = '' OR service = $service)
GROUP BY 1, 2
ORDER BY 1, 2
