-- save_intents: questions to the provider, newly requested or settled. Who asked and when to ask again is only set once.
INSERT INTO provider_intents (space, order_id, key, amount_minor, currency, file_ids, fields, status, requested_at,
                              settled_at, reference, error, correlation_id, next_attempt_at)
SELECT space, order_id, key, amount_minor, currency, file_ids, fields, status, requested_at,
       settled_at, reference, error, correlation_id, next_attempt_at
FROM json_to_recordset(%(rows)s::json) AS r (
    space text, order_id text, key text, amount_minor bigint, currency text, file_ids json, fields json, status text,
    requested_at timestamptz, settled_at timestamptz, reference text, error text, correlation_id text,
    next_attempt_at timestamptz
)
ON CONFLICT (order_id, space, key) DO UPDATE SET
    status = excluded.status, settled_at = excluded.settled_at, reference = excluded.reference, error = excluded.error
