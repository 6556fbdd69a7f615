-- events_page: a page of one log. The conditions name no value, only parameters; the partitions outside the window are pruned.
SELECT {columns}
FROM {table} AS e
WHERE {conditions}
ORDER BY e.created_at {direction}, e.event_id {direction}
LIMIT %(limit)s
