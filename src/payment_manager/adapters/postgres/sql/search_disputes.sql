-- search_disputes: a page of disputes, newest recorded first.
SELECT {dispute_state_columns}
FROM (
    SELECT *
    FROM disputes AS d
    WHERE {conditions}
    ORDER BY d.first_event_at DESC, d.dispute_id DESC
    LIMIT %(limit)s
) AS d
JOIN orders AS o ON o.order_id = d.order_id
LEFT JOIN provider_intents AS sent
    ON sent.order_id = d.order_id AND sent.space = 'dispute' AND sent.status = 'success'
ORDER BY d.first_event_at DESC, d.dispute_id DESC
