-- save_evidence: replace the evidence of disputes.
INSERT INTO evidence (dispute_id, fields, files, updated_at)
SELECT dispute_id, fields, files, updated_at
FROM json_to_recordset(%(rows)s::json) AS r (dispute_id uuid, fields json, files json, updated_at timestamptz)
ON CONFLICT (dispute_id) DO UPDATE SET
    fields = excluded.fields, files = excluded.files, updated_at = excluded.updated_at
