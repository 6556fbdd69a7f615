-- events_by_kind: a page of some kinds: the first page of each by its index, merged. One scan for all kinds would read
-- what it has to throw away, or sort what it has to cut off.
SELECT page.*
FROM unnest(%(kinds)s::text[]) AS asked (kind)
CROSS JOIN LATERAL (
    {events_page}
) AS page
ORDER BY page.created_at {direction}, page.event_id COLLATE "C" {direction}
LIMIT %(limit)s
