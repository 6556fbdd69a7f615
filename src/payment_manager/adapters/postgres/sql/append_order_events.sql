-- append_order_events: add to the log of orders.
INSERT INTO order_events (event_id, order_id, sequence, kind, provider_event_id, data, created_at, correlation_id)
SELECT event_id, stream, sequence, kind, provider_event_id, data, created_at, correlation_id
FROM json_to_recordset(%(rows)s::json) AS r (
    event_id uuid, stream text, sequence integer, kind text, provider_event_id text, data json, created_at timestamptz,
    correlation_id text
)
