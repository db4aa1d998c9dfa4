SELECT first_seen AS "time", title, company, place, site_name, yearly_min, yearly_max, yearly_currency, is_remote, job_type, url, session_id
FROM panels.postings
WHERE $__timeFilter(first_seen)
  AND panels.among(search_key, panels.search_keys(ARRAY[${search:sqlstring}]::text[]))
  AND panels.among(company, ARRAY[${company:sqlstring}]::text[])
ORDER BY first_seen DESC
LIMIT 100
