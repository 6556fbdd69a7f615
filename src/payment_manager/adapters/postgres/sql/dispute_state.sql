-- dispute_state: disputes' rows, flat, with the submission that the provider took and the user of the order.
SELECT d.dispute_id, d.order_id, d.sequence, o.user_id, d.status, d.reason, d.amount_minor, d.currency, d.opened_at,
       d.evidence_due_at, sent.settled_at, d.closed_at, sent.reference, coalesce(d.opened_at, d.first_event_at), d.first_event_at
FROM disputes AS d {sampled}
JOIN orders AS o ON o.order_id = d.order_id
LEFT JOIN LATERAL (
    SELECT i.settled_at, i.reference
    FROM provider_intents AS i
    WHERE i.order_id = d.order_id AND i.space = 'dispute' AND i.status = 'success'
    LIMIT 1
) AS sent ON true
WHERE {conditions}
