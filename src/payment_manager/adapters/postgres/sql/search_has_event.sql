-- search_has_event: whether an event of a known time is in one of the logs. Their keys begin with the time.
SELECT EXISTS (
    SELECT FROM order_events WHERE created_at BETWEEN %(start)s AND %(end)s AND event_id = %(event_id)s
) OR EXISTS (
    SELECT FROM dispute_events WHERE created_at BETWEEN %(start)s AND %(end)s AND event_id = %(event_id)s
)
