-- move_projection: move a checkpoint on from where it was thought to be.
UPDATE projections
SET build = %(build)s, seen = %(seen)s, recorded_at = %(recorded_at)s,
    order_position = greatest(order_position, %(order_position)s),
    dispute_position = greatest(dispute_position, %(dispute_position)s),
    missed_events = %(missed_events)s, moved_at = now()
WHERE name = %(name)s AND build = %(old_build)s AND seen::text = %(old_seen)s
