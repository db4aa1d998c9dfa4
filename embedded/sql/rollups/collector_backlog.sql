-- The rollups hold each window's maximum beside its mean.
SELECT
    time // $every * $every AS time,
    collector,
    max(spooled_max)::DOUBLE AS spooled,
    max(spool_bytes_max)::DOUBLE AS spool_bytes,
    max(flushes_pending_max)::DOUBLE AS flushes_pending,
    max(oldest_age_max)::DOUBLE AS oldest_age,
    max(unrecorded_age_max)::DOUBLE AS unrecorded_age,
    max(problems_max)::DOUBLE AS problems
FROM collector
WHERE time >= $start AND time < $stop AND ($collector = '' OR collector = $collector)
GROUP BY 1, 2
ORDER BY 1, 2
