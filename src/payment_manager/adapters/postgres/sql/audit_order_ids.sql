-- audit_order_ids: every order of a share, whatever tells of it; to be locked.
SELECT order_id FROM orders WHERE order_id > %(after)s AND order_id <= %(upto)s
UNION SELECT order_id FROM ({order_events}) AS e WHERE order_id > %(after)s AND order_id <= %(upto)s
UNION SELECT order_id FROM webhook_ids WHERE order_id > %(after)s AND order_id <= %(upto)s
UNION SELECT order_id FROM parked_webhooks WHERE order_id > %(after)s AND order_id <= %(upto)s
