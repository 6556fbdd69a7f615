-- drop_stalled_projections: projections that have not moved since, though something has waited for as long: nobody follows the
-- logs for them, and batches would be kept for ever.
DELETE FROM projections
WHERE moved_at < %(since)s AND (
    seen IS NULL
    OR EXISTS (
        SELECT FROM event_batches
        WHERE transaction_id >= pg_snapshot_xmin(seen) AND NOT pg_visible_in_snapshot(transaction_id, seen)
            AND last_at < %(since)s
    )
)
RETURNING name, build
