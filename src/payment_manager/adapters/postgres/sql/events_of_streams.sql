-- events_of_streams: a page of the events of some orders or disputes. The row knows between which times its events lie,
-- so only those days are looked into.
SELECT page.*
FROM {owners} AS owner
CROSS JOIN LATERAL (
    {events_page}
) AS page
WHERE owner.{id} = ANY(%(streams)s)
ORDER BY page.created_at {direction}, page.event_id COLLATE "C" {direction}
LIMIT %(limit)s
