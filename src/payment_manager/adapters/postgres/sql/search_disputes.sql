-- search_disputes: a page of disputes, newest recorded first.
SELECT d.dispute_id, d.order_id, d.sequence, o.user_id, d.status, d.reason, d.amount_minor, d.currency, d.opened_at,
    d.evidence_due_at, s.settled_at, d.closed_at, s.reference, coalesce(d.opened_at, d.first_event_at), d.first_event_at
FROM (
    SELECT *
    FROM disputes AS d
    WHERE {conditions}
    ORDER BY d.first_event_at DESC, d.dispute_id DESC
    LIMIT %(limit)s
) AS d
JOIN orders AS o ON o.order_id = d.order_id
LEFT JOIN provider_intents AS s ON s.order_id = d.order_id AND s.space = 'dispute' AND s.status = 'success'
ORDER BY d.first_event_at DESC, d.dispute_id DESC
