-- unpark: what waited for these orders was applied in this transaction.
DELETE FROM parked_webhooks
WHERE order_id IN (SELECT json_array_elements_text(%(rows)s::json))
