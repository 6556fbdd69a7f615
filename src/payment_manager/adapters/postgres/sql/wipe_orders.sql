-- wipe_orders: remove orders that no event tells of.
DELETE FROM orders WHERE order_id = ANY(%(order_ids)s)
