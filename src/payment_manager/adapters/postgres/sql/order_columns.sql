-- order_columns: an order whole, its captures as JSON in the order of asking.
o.order_id, o.user_id, o.status, o.created_at, o.updated_at, o.amount_minor, o.currency, o.hold_reason, o.hold_changed_at,
o.provenance::text, o.sequence, o.first_event_at, o.last_event_at,
(
    SELECT json_agg(json_build_object(
        'key', i.key, 'amount_minor', i.amount_minor, 'currency', i.currency, 'status', i.status,
        'requested_at', i.requested_at, 'settled_at', i.settled_at, 'reference', i.reference, 'error', i.error
    ) ORDER BY i.requested_at)::text
    FROM provider_intents AS i
    WHERE i.order_id = o.order_id AND i.space = 'order'
) AS captures
