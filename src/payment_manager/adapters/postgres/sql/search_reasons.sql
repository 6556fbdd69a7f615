-- search_reasons: the reasons that disputes have, each once: from one to the next by the index.
WITH RECURSIVE reasons (reason) AS (
    (SELECT reason FROM disputes ORDER BY reason LIMIT 1)
    UNION ALL
    SELECT (SELECT reason FROM disputes WHERE reason > reasons.reason ORDER BY reason LIMIT 1)
    FROM reasons
    WHERE reason IS NOT NULL
)
SELECT reason FROM reasons WHERE reason IS NOT NULL
