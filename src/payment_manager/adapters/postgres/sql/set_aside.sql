-- set_aside: remember documents that the search server will never take.
INSERT INTO projection_rejects (build, document, document_id, error, set_aside_at)
SELECT %(build)s, document, document_id, error, set_aside_at
FROM json_to_recordset(%(rows)s::json) AS r (document text, document_id text, error text, set_aside_at timestamptz)
ON CONFLICT (build, document, document_id) DO UPDATE SET error = excluded.error, set_aside_at = excluded.set_aside_at
