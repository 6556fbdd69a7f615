-- events_page: a page of one log. The conditions name no value, only parameters; the partitions outside the window are pruned.
SELECT e.event_id::text AS event_id, e.{id}::text AS stream, e.kind, e.provider_event_id, e.data::text AS data, e.created_at, e.sequence
FROM {table} AS e
WHERE {conditions}
ORDER BY e.created_at {direction}, e.event_id {direction}
LIMIT %(limit)s
