-- tail_events: the events of some batches that lie within a window. The window's bounds stand in the statement, so that no other
-- day is planned for or locked.
SELECT e.transaction_id::text::bigint, {columns}
FROM unnest(%(transactions)s::text[]::xid8[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[])
    AS batch (transaction_id, first_at, last_at)
JOIN {table} AS e ON e.created_at BETWEEN batch.first_at AND batch.last_at AND e.transaction_id = batch.transaction_id
{owner}
WHERE e.created_at >= %(start)s AND e.created_at < %(end)s
