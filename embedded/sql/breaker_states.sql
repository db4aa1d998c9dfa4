SELECT
    time // $every * $every AS time,
    site,
    arg_max(state, time) AS state, -- of those that are not NULL
    sum(transitions) AS transitions,
    sum(opened) AS opened
FROM breakers
WHERE time >= $start AND time < $stop AND ($site = '' OR site = $site)
GROUP BY 1, 2
ORDER BY 1, 2
