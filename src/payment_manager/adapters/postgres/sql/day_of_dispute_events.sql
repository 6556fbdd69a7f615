-- day_of_dispute_events: a day of the disputes' log, all columns, with the order of each, for the archive. A lost row's order is
-- read from a webhook of that day; where nothing tells it, it is no order's.
SELECT *
FROM (
    SELECT coalesce(
               d.order_id,
               (SELECT min(w.data->'payload'->>'order_id') FROM {partition} AS w WHERE w.dispute_id = e.dispute_id),
               '?' || e.dispute_id
           ) COLLATE "C" AS order_id,
           e.sequence, e.dispute_id::text AS stream, e.event_id, e.kind::text, e.provider_event_id, e.data::text, e.created_at,
           e.correlation_id, e.transaction_id::text::bigint, e.position
    FROM {partition} AS e
    LEFT JOIN disputes AS d ON d.dispute_id = e.dispute_id
) AS event
ORDER BY order_id, sequence, event_id
