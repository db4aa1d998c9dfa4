-- What is no number counts as none was given.
WITH given AS (
    SELECT substring(${monthly_return:sqlstring} FROM '^\s*(-?[0-9]{1,12}([.][0-9]{1,6})?)\s*$')::float8 AS monthly_return,
           nullif(substring(${investment:sqlstring} FROM '^\s*([0-9]{1,12}([.][0-9]{1,6})?)\s*$')::float8, 0) AS investment
)
SELECT (monthly_return * 12 - investment) / investment AS roi,
       CASE WHEN monthly_return > 0 THEN investment / monthly_return END AS payback_months,
       monthly_return * 12 - investment AS gain_in_a_year
FROM given
WHERE monthly_return IS NOT NULL AND investment IS NOT NULL
