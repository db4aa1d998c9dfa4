SELECT site_name, type, count, message, url, first_seen, last_seen, fingerprint
FROM panels.error_groups
WHERE session_id = ${session:sqlstring}
  AND panels.among(site_name, ARRAY[${site:sqlstring}]::text[])
ORDER BY count DESC, site_name, fingerprint
LIMIT 200
