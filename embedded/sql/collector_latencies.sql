SELECT
    time // $every * $every AS time,
    collector,
    sum(ack_sum) AS ack_sum,
    sum(ack_count) AS ack_count,
    max(ack_max) AS ack_max,
    sum(commit_sum) AS commit_sum,
    sum(commit_count) AS commit_count,
    max(commit_max) AS commit_max,
    sum(fold_sum) AS fold_sum,
    sum(fold_count) AS fold_count,
    max(fold_max) AS fold_max,
    sum(write_series_sum) AS write_series_sum,
    sum(write_series_count) AS write_series_count,
    max(write_series_max) AS write_series_max,
    sum(apply_records_sum) AS apply_records_sum,
    sum(apply_records_count) AS apply_records_count,
    max(apply_records_max) AS apply_records_max,
    sum(COLUMNS('^h\d\d$'))
FROM collector
WHERE time >= $start AND time < $stop AND ($collector = '' OR collector = $collector)
GROUP BY 1, 2
ORDER BY 1, 2
