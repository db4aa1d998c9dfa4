-- Always a row: Grafana 9.4 stumbles over none.
(
    SELECT search_term AS "__text", search_term AS "__value"
    FROM panels.sessions
    WHERE search_term IS NOT NULL
    GROUP BY search_term
    ORDER BY max(begun_at) DESC
    LIMIT 200
)
UNION ALL
SELECT 'none yet', ''
WHERE NOT EXISTS (SELECT FROM panels.sessions WHERE search_term IS NOT NULL)
