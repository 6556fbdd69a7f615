-- dispute_state_columns: a dispute flat, with its order `o` and the submission that the provider took.
d.dispute_id, d.order_id, d.sequence, o.user_id, d.status, d.reason, d.amount_minor, d.currency, d.opened_at,
d.evidence_due_at, sent.settled_at, d.closed_at, sent.reference, coalesce(d.opened_at, d.first_event_at), d.first_event_at
