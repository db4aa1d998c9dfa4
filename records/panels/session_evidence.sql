SELECT piece.value ->> 'rule' AS rule, piece.value ->> 'text' AS evidence
FROM panels.sessions AS session
CROSS JOIN jsonb_array_elements(session.verdict_evidence) WITH ORDINALITY AS piece (value, place)
WHERE session.session_id = ${session:sqlstring}
ORDER BY piece.place
