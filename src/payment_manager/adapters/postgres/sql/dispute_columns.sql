-- dispute_columns: a dispute whole, with its evidence, and its submissions as JSON in the order of asking.
d.order_id, d.reason, d.amount_minor, d.currency, d.decision, d.progress, d.opened_at, d.evidence_due_at, d.closed_at,
d.provenance::text, d.sequence, d.first_event_at, d.last_event_at,
e.fields::text AS evidence_fields, e.files::text AS evidence_files, e.updated_at AS evidence_updated_at,
(
    SELECT json_agg(json_build_object(
        'key', i.key, 'file_ids', i.file_ids, 'fields', i.fields, 'status', i.status,
        'requested_at', i.requested_at, 'settled_at', i.settled_at, 'reference', i.reference, 'error', i.error
    ) ORDER BY i.requested_at)::text
    FROM provider_intents AS i
    WHERE i.order_id = d.order_id AND i.space = 'dispute'
) AS submissions
