-- audit_bound: where the next share ends: at the 300th order, or earlier where much is stored about few. Each part is a walk
-- along an index, so that rows without events and events without rows are found alike.
SELECT min(bound)
FROM (
    (SELECT order_id AS bound FROM orders WHERE order_id > %(after)s ORDER BY order_id OFFSET 299 LIMIT 1)
    UNION ALL
    (SELECT order_id FROM ({order_events}) AS e WHERE order_id > %(after)s ORDER BY order_id OFFSET 2999 LIMIT 1)
    UNION ALL
    (SELECT order_id FROM webhook_ids WHERE order_id > %(after)s ORDER BY order_id OFFSET 2999 LIMIT 1)
    UNION ALL
    (SELECT order_id FROM parked_webhooks WHERE order_id > %(after)s ORDER BY order_id OFFSET 2999 LIMIT 1)
) AS bounds
