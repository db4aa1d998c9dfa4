-- A price that is no number counts as none was given.
WITH given AS (
    SELECT substring(${competitor_price:sqlstring} FROM '^\s*([0-9]{1,9}([.][0-9]{1,6})?)\s*$')::float8 AS price
), found AS (
    SELECT count(*) AS sessions, coalesce(sum(total_jobs_saved), 0)::bigint AS valid_results,
           coalesce(sum(duration_seconds), 0) / 3600 AS hours,
           coalesce(sum(total_jobs_saved) FILTER (WHERE verdict IS DISTINCT FROM 'healthy'), 0)::float8
               / nullif(sum(total_jobs_saved), 0) AS doubtful_share
    FROM panels.sessions
    WHERE $__timeFilter(begun_at)
)
SELECT found.sessions, found.valid_results, found.hours, found.doubtful_share,
       found.valid_results * given.price / 1000 AS competitor_cost
FROM found CROSS JOIN given
