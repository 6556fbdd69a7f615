-- search_order_cells: orders by interval and status. One that was ever held remembers when that changed last.
SELECT date_trunc(%(interval)s, o.created_at), o.status, count(*), count(*) FILTER (WHERE o.hold_reason IS NOT NULL),
    count(*) FILTER (WHERE o.hold_changed_at IS NOT NULL), count(s.order_id)
FROM orders AS o
LEFT JOIN provider_intents AS s ON s.order_id = o.order_id AND s.space = 'order' AND s.status = 'success'
WHERE o.created_at >= %(start)s AND o.created_at < %(end)s AND {conditions}
GROUP BY 1, 2
