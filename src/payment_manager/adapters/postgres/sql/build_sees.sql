-- build_sees: what was committed when a build began, which it reads from the logs and tables; the tail has the rest.
UPDATE projections
SET seen = pg_current_snapshot(), recorded_at = statement_timestamp(), order_position = %(order_position)s,
    dispute_position = %(dispute_position)s, moved_at = now()
WHERE name = %(name)s AND build = %(build)s
RETURNING seen::text, recorded_at
