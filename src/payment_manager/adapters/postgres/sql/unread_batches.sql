-- unread_batches: the batches of transactions that a checkpoint does not see, in the order of transactions: of those that were
-- running when it was taken, and of all behind its end. So what it sees is not even looked at, however long ago it began.
SELECT unread.transaction_id, unread.first_at, unread.last_at, unread.order_events, unread.dispute_events
FROM (
    (
        SELECT * FROM event_batches
        WHERE transaction_id = ANY(%(running)s::xid8[])
        ORDER BY transaction_id, first_at LIMIT %(limit)s
    )
    UNION ALL
    (
        SELECT * FROM event_batches
        WHERE transaction_id >= %(xmax)s::xid8
        ORDER BY transaction_id, first_at LIMIT %(limit)s
    )
) AS unread
