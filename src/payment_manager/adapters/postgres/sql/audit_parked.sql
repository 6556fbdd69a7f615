-- audit_parked: what waits for a share's orders.
SELECT order_id, payload::text, content_hash, parked_at, correlation_id, provider_event_id
FROM parked_webhooks
WHERE order_id > %(after)s AND order_id <= %(upto)s
ORDER BY position
