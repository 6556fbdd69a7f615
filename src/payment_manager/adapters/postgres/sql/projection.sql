-- projection: how far a projection has come; nothing, where it was about another server's transactions, or about some that this
-- one has not come to yet.
SELECT build, seen::text, recorded_at, order_position, dispute_position, missed_events
FROM projections
WHERE name = %(name)s AND server = {this_server} AND pg_snapshot_xmax(seen) <= pg_snapshot_xmax(pg_current_snapshot())
