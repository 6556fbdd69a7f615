-- search_event_order: the order of a dispute's event.
coalesce((SELECT d.order_id FROM disputes AS d WHERE d.dispute_id = e.dispute_id), '?' || e.dispute_id)
