-- audit_webhook_ids: the known ids of a share's orders.
SELECT space, order_id, provider_event_id, content_hash, rejected_over
FROM webhook_ids
WHERE order_id > %(after)s AND order_id <= %(upto)s
