-- dispute_state: disputes' rows, flat, with the submission that the provider took and the user of the order.
SELECT {dispute_state_columns}
FROM disputes AS d {sampled}
JOIN orders AS o ON o.order_id = d.order_id
LEFT JOIN LATERAL (
    SELECT i.settled_at, i.reference
    FROM provider_intents AS i
    WHERE i.order_id = d.order_id AND i.space = 'dispute' AND i.status = 'success'
    LIMIT 1
) AS sent ON true
WHERE {conditions}
