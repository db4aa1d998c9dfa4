SELECT
    time // $every * $every AS time,
    collector,
    max(spooled)::DOUBLE AS spooled,
    max(spool_bytes)::DOUBLE AS spool_bytes,
    max(flushes_pending)::DOUBLE AS flushes_pending,
    max(oldest_age)::DOUBLE AS oldest_age,
    max(unrecorded_age)::DOUBLE AS unrecorded_age,
    max(problems)::DOUBLE AS problems
FROM collector
WHERE time >= $start AND time < $stop AND ($collector = '' OR collector = $collector)
GROUP BY 1, 2
ORDER BY 1, 2
