-- tail_batches: the next transactions behind a checkpoint, each with all its batches, and what this very statement sees; with
-- `upto` only those that that snapshot sees. One row at least.
SELECT coalesce(%(upto)s::pg_snapshot, pg_current_snapshot())::text, statement_timestamp(),
       batch.transaction_id::text::bigint, batch.first_at, batch.last_at, batch.order_events, batch.dispute_events
FROM (VALUES (1)) AS one
LEFT JOIN event_batches AS batch ON batch.transaction_id = ANY(ARRAY(
    SELECT unread.transaction_id
    FROM ({unread_batches}) AS unread
    WHERE pg_visible_in_snapshot(unread.transaction_id, coalesce(%(upto)s::pg_snapshot, pg_current_snapshot()))
    ORDER BY unread.transaction_id, unread.first_at
    LIMIT %(limit)s
))
ORDER BY batch.transaction_id, batch.first_at
