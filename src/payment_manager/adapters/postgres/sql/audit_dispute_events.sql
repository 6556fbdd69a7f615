-- audit_dispute_events: the log of some disputes.
SELECT dispute_id, sequence, kind, provider_event_id, data::text, created_at, correlation_id
FROM ({dispute_events}) AS e
WHERE dispute_id = ANY(%(dispute_ids)s)
ORDER BY dispute_id, sequence, created_at
