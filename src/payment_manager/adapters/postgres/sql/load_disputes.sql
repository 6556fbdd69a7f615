-- load_disputes: the disputes of a batch's orders.
SELECT {dispute_columns}
FROM disputes AS d
LEFT JOIN evidence AS e ON e.dispute_id = d.dispute_id
WHERE d.order_id = ANY(%(order_ids)b::text[])
