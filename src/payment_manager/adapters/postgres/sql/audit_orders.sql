-- audit_orders: the orders of a share.
SELECT {order_columns}
FROM orders AS o
WHERE o.order_id > %(after)s AND o.order_id <= %(upto)s
