-- save_orders: write the orders that a batch changed.
INSERT INTO orders (order_id, user_id, status, created_at, updated_at, amount_minor, currency, hold_reason, hold_changed_at,
                    provenance, sequence, first_event_at, last_event_at)
SELECT order_id, user_id, status, created_at, updated_at, amount_minor, currency, hold_reason, hold_changed_at,
       provenance, sequence, first_event_at, last_event_at
FROM json_to_recordset(%(rows)s::json) AS r (
    order_id text, user_id uuid, status text, created_at timestamptz, updated_at timestamptz, amount_minor bigint,
    currency text, hold_reason text, hold_changed_at timestamptz, provenance json, sequence integer,
    first_event_at timestamptz, last_event_at timestamptz
)
ON CONFLICT (order_id) DO UPDATE SET
    user_id = excluded.user_id, status = excluded.status, created_at = excluded.created_at,
    updated_at = excluded.updated_at, amount_minor = excluded.amount_minor, currency = excluded.currency,
    hold_reason = excluded.hold_reason, hold_changed_at = excluded.hold_changed_at, provenance = excluded.provenance,
    sequence = excluded.sequence, first_event_at = excluded.first_event_at, last_event_at = excluded.last_event_at
