-- search_event_columns: of an event all that is searched; `walked` is for counting those that were walked over.
NULL::bigint AS walked, e.event_id::text AS event_id, {order_id} AS order_id, {dispute_id} AS dispute_id, e.sequence, e.kind, e.provider_event_id,
e.data::text AS data, e.created_at, e.correlation_id, e.position
