-- lock_orders: hold these orders and their disputes, there or not, until the transaction ends. Sorted by key, so that two
-- transactions never wait for each other in a ring; a lock on a key, because an order that is not there has no row to lock.
SELECT count(pg_advisory_xact_lock(key))
FROM (
    SELECT DISTINCT hashtextextended(order_id, 20260102) AS key
    FROM unnest(%(order_ids)b::text[]) AS order_id
    ORDER BY key
) AS keys
