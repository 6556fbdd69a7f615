-- load_orders: the orders of a batch.
SELECT {order_columns}
FROM orders AS o
WHERE o.order_id = ANY(%(order_ids)b::text[])
