-- forget_batches: forget a slice of the batches that every projection has passed, from `after` on; how many, and how far it came.
-- In one statement, so as of one moment: a projection that begins behind it sees whatever is forgotten here. Where there is
-- none, all that is committed goes; where one is being set up, nothing does.
WITH passed AS (
    SELECT CASE WHEN NOT coalesce(bool_or(seen IS NULL), false)
        THEN least(min(pg_snapshot_xmin(seen)), pg_snapshot_xmin(pg_current_snapshot())) END AS all_before
    FROM projections
), gone AS (
    DELETE FROM event_batches
    WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM event_batches
        WHERE transaction_id >= %(after)s::xid8 AND transaction_id < (SELECT all_before FROM passed)
        ORDER BY transaction_id, first_at
        LIMIT %(limit)s
    ))
    RETURNING transaction_id
)
SELECT count(*), max(transaction_id)::text FROM gone
