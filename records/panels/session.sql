SELECT session_id, status, status_reason, verdict, source, search_term, location, (SELECT string_agg(site, ', ') FROM jsonb_array_elements_text(sites) AS site) AS sites,
       begun_at, completed_at, last_event_at,
       coalesce(duration_seconds, extract(epoch FROM last_event_at - started_at)::float8) AS duration_seconds,
       total_jobs_found, total_jobs_saved, duplicates_skipped, jobs_dropped, jobs_invalid, total_pages,
       pages_ok::float8 / nullif(pages_ok + greatest(total_pages - pages_ok, errors_count), 0) AS success_rate,
       pages_blocked::float8 / nullif(total_pages, 0) AS blocked_share,
       errors_count, total_sites, successful_sites, failed_sites, events
FROM panels.sessions
WHERE session_id = ${session:sqlstring}
