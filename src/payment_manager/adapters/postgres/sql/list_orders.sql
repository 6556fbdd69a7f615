-- list_orders: a page of orders.
SELECT {order_columns}
FROM orders AS o
WHERE {conditions}
ORDER BY o.{sort} {direction}, o.order_id {direction}
LIMIT %(limit)s
