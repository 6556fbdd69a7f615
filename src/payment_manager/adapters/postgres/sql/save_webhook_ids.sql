-- save_webhook_ids: remember what was taken; of what was parked, that it came to a rejection.
INSERT INTO webhook_ids (space, order_id, provider_event_id, content_hash, rejected_over, taken_at)
SELECT space, order_id, provider_event_id, decode(content_hash, 'hex'), rejected_over, taken_at
FROM json_to_recordset(%(rows)s::json) AS r (
    space text, order_id text, provider_event_id text, content_hash text, rejected_over text, taken_at timestamptz
)
ON CONFLICT (order_id, provider_event_id, space) DO UPDATE SET rejected_over = excluded.rejected_over
