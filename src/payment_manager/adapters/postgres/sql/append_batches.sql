-- append_batches: where the events of this transaction are, for those who follow the logs.
INSERT INTO event_batches (first_at, last_at, order_events, dispute_events)
SELECT first_at, last_at, order_events, dispute_events
FROM json_to_recordset(%(rows)s::json) AS r (
    first_at timestamptz, last_at timestamptz, order_events integer, dispute_events integer
)
