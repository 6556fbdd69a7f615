-- search_facets: how many disputes there are, and how many by each value. Counted once by all values together, of which there
-- are few; the facets are sums of those. Of reasons the most frequent, since they are free text.
WITH cells AS (
    SELECT d.status, d.reason, d.currency, date_trunc('month', coalesce(d.opened_at, d.first_event_at)) AS month,
        {search_amount_range} AS amount_range, count(*) AS disputes
    FROM disputes AS d
    WHERE {conditions}
    GROUP BY 1, 2, 3, 4, 5
),
facets AS (
    SELECT grouping(status, reason, currency, month, amount_range) AS left_out, status, reason, currency, month, amount_range,
        coalesce(sum(disputes), 0)::bigint AS disputes
    FROM cells
    GROUP BY GROUPING SETS ((), (status), (reason), (currency), (month), (amount_range))
),
ranked AS (
    SELECT facets.*, row_number() OVER (PARTITION BY left_out ORDER BY disputes DESC, reason COLLATE "C") AS place
    FROM facets
)
SELECT left_out, coalesce(status, reason, currency, to_char(month AT TIME ZONE 'UTC', 'YYYY-MM'), amount_range::text), disputes
FROM ranked
WHERE reason IS NULL OR place <= %(reasons)s
