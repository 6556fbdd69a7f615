-- unpark: what waited for these orders was applied in this transaction.
DELETE FROM parked_webhooks WHERE order_id = ANY(%(order_ids)b::text[])
