-- tail_events: the events of some batches that lie within a window. The window's bounds stand in the statement, so that no other
-- day is planned for or locked. OFFSET 0 keeps the batches outside and the log inside: PostgreSQL knows little of a day that
-- grows, and would rather go through all batches for each of its events.
SELECT batch.transaction_id::text::bigint, event.*
FROM unnest(%(transactions)s::text[]::xid8[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[])
    AS batch (transaction_id, first_at, last_at)
CROSS JOIN LATERAL (
    SELECT {columns}
    FROM {table} AS e
    {owner}
    WHERE e.created_at BETWEEN batch.first_at AND batch.last_at AND e.transaction_id = batch.transaction_id
        AND e.created_at >= %(start)s AND e.created_at < %(end)s
    OFFSET 0
) AS event
