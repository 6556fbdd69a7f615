-- audit_order_events: the log of a share's orders.
SELECT order_id, sequence, kind, provider_event_id, data::text, created_at, correlation_id
FROM ({order_events}) AS e
WHERE order_id > %(after)s AND order_id <= %(upto)s
ORDER BY order_id, sequence, created_at
