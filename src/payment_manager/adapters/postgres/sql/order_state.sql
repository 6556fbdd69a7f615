-- order_state: orders' rows, flat. What was captured is the newest attempt's, if that went well: after a success no other begins.
SELECT o.order_id, o.sequence, o.user_id, o.status, o.hold_reason IS NOT NULL, o.hold_changed_at IS NOT NULL,
       o.amount_minor, o.currency, capture.status,
       CASE capture.status WHEN 'success' THEN capture.amount_minor END,
       CASE capture.status WHEN 'success' THEN capture.currency END,
       capture.settled_at, o.created_at, o.updated_at, o.first_event_at
FROM orders AS o {sampled}
LEFT JOIN LATERAL (
    SELECT i.status, i.amount_minor, i.currency, i.settled_at
    FROM provider_intents AS i
    WHERE i.order_id = o.order_id AND i.space = 'order'
    ORDER BY i.requested_at DESC
    LIMIT 1
) AS capture ON true
WHERE {conditions}
