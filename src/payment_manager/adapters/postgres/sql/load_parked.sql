-- load_parked: what waits for a batch's orders; the position tells the order of parking.
SELECT position, payload::text, content_hash, parked_at, correlation_id
FROM parked_webhooks
WHERE order_id = ANY(%(order_ids)b::text[])
