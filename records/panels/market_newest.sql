SELECT first_seen AS "time", title, company, place, site_name, yearly_min, yearly_max, yearly_currency, is_remote, job_type, url, session_id
FROM panels.newest_postings($__unixEpochFrom() / 86400, $__unixEpochTo() / 86400,
                            ARRAY[${search:sqlstring}]::text[], ARRAY[${company:sqlstring}]::text[], 100)
WHERE $__timeFilter(first_seen)
ORDER BY first_seen DESC
