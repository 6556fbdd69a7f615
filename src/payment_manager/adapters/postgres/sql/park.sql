-- park: keep chargebacks until their orders appear; the identity column keeps the order of arrival.
INSERT INTO parked_webhooks (order_id, provider_event_id, payload, content_hash, parked_at, correlation_id)
SELECT order_id, provider_event_id, payload, decode(content_hash, 'hex'), parked_at, correlation_id
FROM json_to_recordset(%(rows)s::json) AS r (
    order_id text, provider_event_id text, payload json, content_hash text, parked_at timestamptz, correlation_id text
)
