-- wipe_captures: remove the captures of these orders, before they are written anew.
DELETE FROM provider_intents WHERE order_id = ANY(%(order_ids)s) AND space = 'order'
