WITH most AS (
    SELECT site_name, fingerprint, sum(count)::bigint AS count, count(*) AS sessions,
           min(first_seen) AS first_seen, max(last_seen) AS last_seen
    FROM panels.error_groups
    WHERE $__timeFilter(last_seen)
      AND panels.among(site_name, ARRAY[${site:sqlstring}]::text[])
    GROUP BY site_name, fingerprint
    ORDER BY count DESC, site_name, fingerprint
    LIMIT 100
), samples AS (
    SELECT DISTINCT ON (sample.site_name, sample.fingerprint)
           sample.site_name, sample.fingerprint, sample.type, sample.message, sample.url, sample.session_id
    FROM panels.error_groups AS sample
    JOIN most USING (site_name, fingerprint, last_seen)
    WHERE $__timeFilter(sample.last_seen)
)
SELECT most.site_name, samples.type, most.count, most.sessions, samples.message, samples.url,
       samples.session_id AS latest_session_id, most.first_seen, most.last_seen, most.fingerprint
FROM most
JOIN samples USING (site_name, fingerprint)
ORDER BY most.count DESC, most.site_name, most.fingerprint
