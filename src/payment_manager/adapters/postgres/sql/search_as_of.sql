-- search_as_of: the time, and of each log the largest position among its newest few events. The windows are those where the
-- newest are.
SELECT clock_timestamp(), (
    SELECT coalesce(max(position), 0)
    FROM (
        SELECT position FROM order_events
        WHERE created_at >= %(orders_start)s AND created_at < %(orders_end)s
        ORDER BY created_at DESC, event_id DESC
        LIMIT 10
    ) AS newest
), (
    SELECT coalesce(max(position), 0)
    FROM (
        SELECT position FROM dispute_events
        WHERE created_at >= %(disputes_start)s AND created_at < %(disputes_end)s
        ORDER BY created_at DESC, event_id DESC
        LIMIT 10
    ) AS newest
)
