-- tail_backlog: how many events wait behind a checkpoint, at most so many batches of them, and since when.
SELECT count(*), coalesce(sum(order_events + dispute_events), 0)::bigint, min(first_at)
FROM ({unread_batches} LIMIT %(limit)s) AS batch
