SELECT
    time // $every * $every AS time,
    collector,
    sum(accepted) AS accepted,
    sum(delivered) AS delivered,
    sum(dead_lettered) AS dead_lettered,
    sum(duplicates) AS duplicates,
    sum(requests) AS requests,
    sum(rejected) AS rejected,
    sum(refused) AS refused,
    sum(live_dropped) AS live_dropped,
    sum(sampler_seconds) AS sampler_seconds
FROM collector
WHERE time >= $start AND time < $stop AND ($collector = '' OR collector = $collector)
GROUP BY 1, 2
ORDER BY 1, 2
