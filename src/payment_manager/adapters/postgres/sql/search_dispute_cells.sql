-- search_dispute_cells: disputes opened, won and lost, by interval and by reason. Sums of bigint are numeric, and so exact.
WITH cells AS (
    SELECT date_trunc(%(interval)s, coalesce(d.opened_at, d.first_event_at)) AS start, d.reason, 'opened' AS what,
        d.currency, count(*) AS disputes, sum(d.amount_minor) AS amount
    FROM disputes AS d
    WHERE coalesce(d.opened_at, d.first_event_at) >= %(start)s AND coalesce(d.opened_at, d.first_event_at) < %(end)s
        AND {conditions}
    GROUP BY 1, 2, 4
    UNION ALL
    SELECT date_trunc(%(interval)s, d.closed_at), d.reason, d.decision, d.currency, count(*), sum(d.amount_minor)
    FROM disputes AS d
    WHERE d.closed_at >= %(start)s AND d.closed_at < %(end)s AND d.decision IN ('won', 'lost') AND {conditions}
    GROUP BY 1, 2, 3, 4
),
shown AS (
    SELECT reason
    FROM cells
    GROUP BY reason
    ORDER BY coalesce(sum(disputes) FILTER (WHERE what = 'opened'), 0) DESC, reason COLLATE "C"
    LIMIT %(reasons)s
)
SELECT start, NULL, what, currency, sum(disputes)::bigint, sum(amount)::numeric
FROM cells
GROUP BY start, what, currency
UNION ALL
SELECT NULL, reason, what, currency, sum(disputes)::bigint, sum(amount)::numeric
FROM cells
WHERE reason IN (SELECT reason FROM shown)
GROUP BY reason, what, currency
