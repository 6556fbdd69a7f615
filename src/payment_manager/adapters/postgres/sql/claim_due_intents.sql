-- claim_due_intents: take open questions that are due, so that no other process is given them before the lease ends.
UPDATE provider_intents AS i
SET next_attempt_at = %(lease_until)s, asked = i.asked + 1
FROM (
    SELECT order_id, space, key
    FROM provider_intents
    WHERE status = 'pending' AND next_attempt_at <= %(now)s
    ORDER BY next_attempt_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
) AS due
WHERE i.order_id = due.order_id AND i.space = due.space AND i.key = due.key
RETURNING i.space, i.order_id, i.key, i.correlation_id, i.next_attempt_at, i.asked
