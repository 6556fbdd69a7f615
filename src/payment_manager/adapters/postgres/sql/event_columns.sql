-- event_columns: of an event what lists show. Ids as text: they are only shown.
e.event_id::text AS event_id, e.{id}::text AS stream, e.kind, e.provider_event_id, e.data::text AS data, e.created_at, e.sequence
