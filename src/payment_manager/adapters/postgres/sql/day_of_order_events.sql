-- day_of_order_events: a day of the orders' log, all columns, for the archive.
SELECT order_id, sequence, order_id AS stream, event_id, kind::text, provider_event_id, data::text, created_at, correlation_id,
       transaction_id::text::bigint, position
FROM {partition}
ORDER BY order_id, sequence, event_id
