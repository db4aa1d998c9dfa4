SELECT
    time // $every * $every AS time,
    provider,
    proxy,
    sum(requests) AS requests,
    sum(failures) AS failures,
    sum(bans) AS bans,
    sum(bytes) AS bytes,
    sum(cost) AS cost,
    sum(latency_sum) AS latency_sum,
    sum(latency_count) AS latency_count,
    max(latency_max) AS latency_max
FROM proxies
WHERE time >= $start AND time < $stop AND ($provider = '' OR provider = $provider)
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
