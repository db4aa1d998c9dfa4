SELECT to_timestamp($__timeGroup(started_at,'$__interval',0)) AS "time", site_name AS metric, count(*) AS retries
FROM panels.site_executions
WHERE attempt_number > 1
  AND $__timeFilter(started_at)
  AND panels.among(site_name, ARRAY[${site:sqlstring}]::text[])
GROUP BY 1, 2
ORDER BY 1, 2
