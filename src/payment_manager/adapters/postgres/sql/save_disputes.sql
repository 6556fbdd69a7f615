-- save_disputes: write the disputes that a batch changed.
INSERT INTO disputes (dispute_id, order_id, decision, progress, reason, amount_minor, currency, opened_at, evidence_due_at,
                      closed_at, provenance, sequence, first_event_at, last_event_at)
SELECT dispute_id, order_id, decision, progress, reason, amount_minor, currency, opened_at, evidence_due_at,
       closed_at, provenance, sequence, first_event_at, last_event_at
FROM json_to_recordset(%(rows)s::json) AS r (
    dispute_id uuid, order_id text, decision text, progress text, reason text, amount_minor bigint, currency text,
    opened_at timestamptz, evidence_due_at timestamptz, closed_at timestamptz, provenance json, sequence integer,
    first_event_at timestamptz, last_event_at timestamptz
)
ON CONFLICT (dispute_id) DO UPDATE SET
    decision = excluded.decision, progress = excluded.progress, reason = excluded.reason,
    amount_minor = excluded.amount_minor, currency = excluded.currency, opened_at = excluded.opened_at,
    evidence_due_at = excluded.evidence_due_at, closed_at = excluded.closed_at, provenance = excluded.provenance,
    sequence = excluded.sequence, first_event_at = excluded.first_event_at, last_event_at = excluded.last_event_at
