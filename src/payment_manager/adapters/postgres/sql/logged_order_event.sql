-- logged_order_event: an order's event, as search takes it.
e.event_id, e.order_id, NULL::uuid AS dispute_id, e.sequence, e.kind, e.provider_event_id, e.data::text, e.created_at,
e.correlation_id, e.position
