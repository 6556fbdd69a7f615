-- audit_lost_disputes: disputes with events and no row. Their ids are derived from the order's and can't be turned back, so
-- the order is read from a webhook; a damaged one may be no webhook at all.
SELECT e.dispute_id, min(e.data->'payload'->>'order_id')
FROM ({dispute_events}) AS e
WHERE NOT EXISTS (SELECT FROM disputes AS d WHERE d.dispute_id = e.dispute_id)
GROUP BY e.dispute_id
