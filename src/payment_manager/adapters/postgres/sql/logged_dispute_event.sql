-- logged_dispute_event: a dispute's event, as search takes it. Where its row is lost, the payload names the order; where
-- nothing does, it is no order's.
e.event_id, coalesce(d.order_id, e.data->'payload'->>'order_id', '?' || e.dispute_id) AS order_id, e.dispute_id, e.sequence,
e.kind, e.provider_event_id, e.data::text, e.created_at, e.correlation_id, e.position
