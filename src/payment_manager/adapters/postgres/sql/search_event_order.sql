-- search_event_order: the order of a dispute's event. Where the dispute's row is lost, its payload may name the order.
coalesce(
    (SELECT d.order_id FROM disputes AS d WHERE d.dispute_id = e.dispute_id), e.data->'payload'->>'order_id',
    '?' || e.dispute_id
)
