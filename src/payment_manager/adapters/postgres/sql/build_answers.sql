-- build_answers: what was built is the projection now. Nothing, where this build is not the one that is known.
WITH built AS (
    DELETE FROM projections WHERE name = %(build_name)s AND build = %(build)s RETURNING build, server
)
INSERT INTO projections (name, build, server, seen, recorded_at, order_position, dispute_position, missed_events, moved_at)
SELECT %(name)s, built.build, built.server, %(seen)s, %(recorded_at)s, %(order_position)s, %(dispute_position)s,
       %(missed_events)s, now()
FROM built
ON CONFLICT (name) DO UPDATE SET
    build = excluded.build, server = excluded.server, seen = excluded.seen, recorded_at = excluded.recorded_at,
    order_position = excluded.order_position, dispute_position = excluded.dispute_position,
    missed_events = excluded.missed_events, moved_at = excluded.moved_at
