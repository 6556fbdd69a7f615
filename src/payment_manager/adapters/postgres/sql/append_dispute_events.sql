-- append_dispute_events: add to the log of disputes.
INSERT INTO dispute_events (event_id, dispute_id, sequence, kind, provider_event_id, data, created_at, correlation_id)
SELECT event_id, stream, sequence, kind, provider_event_id, data, created_at, correlation_id
FROM json_to_recordset(%(rows)s::json) AS r (
    event_id uuid, stream uuid, sequence integer, kind text, provider_event_id text, data json, created_at timestamptz,
    correlation_id text
)
