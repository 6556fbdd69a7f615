-- search_ids: which of these are orders, and which are disputes.
SELECT order_id, NULL::uuid FROM orders WHERE order_id = ANY(%(order_ids)s)
UNION ALL
SELECT NULL, dispute_id FROM disputes WHERE dispute_id = ANY(%(dispute_ids)s::uuid[])
