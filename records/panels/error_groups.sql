SELECT site_name, max(type) AS type, sum(count)::bigint AS count, count(*) AS sessions,
       (array_agg(message ORDER BY last_seen DESC))[1] AS message,
       (array_agg(url ORDER BY last_seen DESC))[1] AS url,
       (array_agg(session_id ORDER BY last_seen DESC))[1] AS latest_session_id,
       min(first_seen) AS first_seen, max(last_seen) AS last_seen, fingerprint
FROM panels.error_groups
WHERE $__timeFilter(last_seen)
  AND panels.among(site_name, ARRAY[${site:sqlstring}]::text[])
GROUP BY site_name, fingerprint
ORDER BY count DESC, site_name, fingerprint
LIMIT 100
