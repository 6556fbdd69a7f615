-- ask_again_at: schedule the next asking of a question that is still open.
UPDATE provider_intents SET next_attempt_at = %(when)s
WHERE order_id = %(order_id)s AND space = %(space)s AND key = %(key)s AND status = 'pending'
