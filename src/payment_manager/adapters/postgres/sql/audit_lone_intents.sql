-- audit_lone_intents: submissions of disputes that are not there; no row of a dispute would show them.
SELECT DISTINCT i.order_id
FROM provider_intents AS i
WHERE i.space = 'dispute' AND i.order_id > %(after)s AND i.order_id <= %(upto)s
    AND NOT EXISTS (SELECT FROM disputes AS d WHERE d.order_id = i.order_id)
