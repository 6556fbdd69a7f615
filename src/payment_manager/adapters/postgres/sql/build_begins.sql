-- build_begins: from here on no batch is forgotten.
INSERT INTO projections (name, build, server, moved_at)
VALUES (%(name)s, %(build)s, {this_server}, now())
ON CONFLICT (name) DO UPDATE SET
    build = excluded.build, server = excluded.server, seen = NULL, recorded_at = NULL, order_position = 0, dispute_position = 0,
    missed_events = 0, moved_at = excluded.moved_at
