-- whole_events: a page of a log, or of a day that was kept, in the order of time. The window's bounds stand in the statement, so
-- that no other day is planned for or locked.
SELECT {columns}
FROM {table} AS e
{owner}
WHERE (e.created_at, e.event_id) > (%(after_time)s, %(after_id)s) AND e.created_at >= %(start)s AND e.created_at < %(end)s
ORDER BY e.created_at, e.event_id
LIMIT %(limit)s
